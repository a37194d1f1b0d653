package scheme

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/columns"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/defaults"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/validate"
)

// Finalizers of volumes and claims: who uses them is let finish first.
const (
	ClaimProtection  = "kubernetes.io/pvc-protection"
	VolumeProtection = "kubernetes.io/pv-protection"
)

func storageKinds() []*Kind {
	return []*Kind{
		typed(Kind{GroupVersionKind: core("PersistentVolume"), Plural: "persistentvolumes", Short: list("pv"), Status: true}, rules[*corev1.PersistentVolume]{
			defaults: defaults.PersistentVolume, create: func(v *corev1.PersistentVolume, _ time.Time) { protect(v, VolumeProtection) },
			validate: validate.PersistentVolume, update: validate.PersistentVolumeUpdate, status: validate.PersistentVolumeStatusUpdate,
			table: columns.PersistentVolumes(), labels: list("name"),
			fields: func(v *corev1.PersistentVolume, set fields.Set) { set["name"] = v.Name },
		}),
		typed(Kind{GroupVersionKind: core("PersistentVolumeClaim"), Plural: "persistentvolumeclaims", Short: list("pvc"), Namespaced: true, Status: true}, rules[*corev1.PersistentVolumeClaim]{
			defaults: defaults.PersistentVolumeClaim, create: func(c *corev1.PersistentVolumeClaim, _ time.Time) { protect(c, ClaimProtection) },
			validate: validate.PersistentVolumeClaim, update: validate.PersistentVolumeClaimUpdate, status: validate.PersistentVolumeClaimStatusUpdate,
			table: columns.PersistentVolumeClaims(), labels: list("name"),
			fields: func(c *corev1.PersistentVolumeClaim, set fields.Set) { set["name"] = c.Name },
		}),
		typed(Kind{GroupVersionKind: storagev1.SchemeGroupVersion.WithKind("StorageClass"), Plural: "storageclasses", Short: list("sc")}, rules[*storagev1.StorageClass]{
			defaults: defaults.StorageClass, validate: validate.StorageClass, update: validate.StorageClassUpdate, table: columns.StorageClasses(),
		}),
	}
}

// protect holds a new volume or claim back from deletion while it is in use.
func protect(o interface {
	GetFinalizers() []string
	SetFinalizers([]string)
}, finalizer string) {
	if all := o.GetFinalizers(); !slices.Contains(all, finalizer) {
		o.SetFinalizers(append(all, finalizer))
	}
}
