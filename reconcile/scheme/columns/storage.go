package columns

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	helper "k8s.io/component-helpers/storage/volume"
)

const unsetText = "<unset>"

// PersistentVolumes shows how large they are, and whose.
func PersistentVolumes() Table[*corev1.PersistentVolume] {
	return Table[*corev1.PersistentVolume]{
		header("Name,Capacity,Access Modes,Reclaim Policy,Status,Claim,StorageClass,VolumeAttributesClass,Reason,Age,VolumeMode*"),
		func(v *corev1.PersistentVolume, now time.Time) []any {
			claim := ""
			if r := v.Spec.ClaimRef; r != nil {
				claim = r.Namespace + "/" + r.Name
			}
			phase := string(v.Status.Phase)
			if v.DeletionTimestamp != nil {
				phase = "Terminating"
			}
			return []any{
				v.Name, v.Spec.Capacity.Storage().String(), accessModes(v.Spec.AccessModes), string(v.Spec.PersistentVolumeReclaimPolicy), phase, claim,
				helper.GetPersistentVolumeClass(v), deref(v.Spec.VolumeAttributesClassName), v.Status.Reason, created(v, now), deref(v.Spec.VolumeMode),
			}
		},
	}
}

// PersistentVolumeClaims shows what they have got.
func PersistentVolumeClaims() Table[*corev1.PersistentVolumeClaim] {
	return Table[*corev1.PersistentVolumeClaim]{
		header("Name,Status,Volume,Capacity,Access Modes,StorageClass,VolumeAttributesClass,Age,VolumeMode*"),
		func(c *corev1.PersistentVolumeClaim, now time.Time) []any {
			phase, size, modes := string(c.Status.Phase), "", ""
			if c.DeletionTimestamp != nil {
				phase = "Terminating"
			}
			if c.Spec.VolumeName != "" {
				size, modes = c.Status.Capacity.Storage().String(), accessModes(c.Status.AccessModes)
			}
			return []any{
				c.Name, phase, c.Spec.VolumeName, size, modes, helper.GetPersistentVolumeClaimClass(c),
				deref(c.Spec.VolumeAttributesClassName), created(c, now), deref(c.Spec.VolumeMode),
			}
		},
	}
}

// StorageClasses shows who makes their volumes, and when.
func StorageClasses() Table[*storagev1.StorageClass] {
	return Table[*storagev1.StorageClass]{
		header("Name,Provisioner,ReclaimPolicy,VolumeBindingMode,AllowVolumeExpansion,Age"),
		func(c *storagev1.StorageClass, now time.Time) []any {
			name := c.Name
			for _, a := range []string{"storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"} {
				if c.Annotations[a] == "true" {
					name = c.Name + " (default)"
				}
			}
			reclaim, binding := string(corev1.PersistentVolumeReclaimDelete), deref(c.VolumeBindingMode)
			if c.ReclaimPolicy != nil {
				reclaim = string(*c.ReclaimPolicy)
			}
			return []any{name, c.Provisioner, reclaim, binding, c.AllowVolumeExpansion != nil && *c.AllowVolumeExpansion, created(c, now)}
		},
	}
}

func deref[T ~string](s *T) string {
	if s == nil {
		return unsetText
	}
	return string(*s)
}

// accessModes says "RWO,RWX", each once, in that order.
func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var all []string
	for _, m := range []struct {
		mode  corev1.PersistentVolumeAccessMode
		short string
	}{{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"}} {
		if slices.Contains(modes, m.mode) {
			all = append(all, m.short)
		}
	}
	return strings.Join(all, ",")
}
