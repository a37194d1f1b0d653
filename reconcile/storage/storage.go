// Package storage holds the controllers that bring claims and volumes together: binding, making volumes as folders of a
// node, reclaiming them, and holding back what is in use. They follow the documented behaviour of Kubernetes. How much a
// folder holds is not enforced.
package storage

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-helpers/storage/ephemeral"
	helper "k8s.io/component-helpers/storage/volume"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const (
	// Driver is what makes volumes here: each is a folder of one node.
	Driver = "local.mainstay.dev"
	// FolderFinalizer holds a volume of Driver until its node has removed the folder.
	FolderFinalizer = Driver + "/folder"
	// DefaultClass is the class that every cluster has.
	DefaultClass = "local"

	isDefault     = "storageclass.kubernetes.io/is-default-class"
	noProvisioner = "kubernetes.io/no-provisioner"
)

var (
	claimKind  = schema.GroupKind{Kind: "PersistentVolumeClaim"}
	volumeKind = schema.GroupKind{Kind: "PersistentVolume"}
	podKind    = schema.GroupKind{Kind: "Pod"}
	nodeKind   = schema.GroupKind{Kind: "Node"}
	classKind  = schema.GroupKind{Group: "storage.k8s.io", Kind: "StorageClass"}
)

// ClaimName is the claim that a volume of a pod is; empty if it is none.
func ClaimName(p *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return ephemeral.VolumeClaimName(p, v)
	}
	return ""
}

// Delayed tells whether claims of a class are bound only when a pod that uses them has a node.
func Delayed(c *storagev1.StorageClass) bool {
	return c != nil && c.VolumeBindingMode != nil && *c.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// Bound tells whether a claim has its volume.
func Bound(c *corev1.PersistentVolumeClaim) bool {
	return c.Spec.VolumeName != "" && c.Annotations[helper.AnnBindCompleted] != ""
}

// ClassOf is the class that a claim names, or will get if it names none; nil if there is no such class.
func ClassOf(s *store.Snapshot, c *corev1.PersistentVolumeClaim) *storagev1.StorageClass {
	name := helper.GetPersistentVolumeClaimClass(c)
	if unclassified(c) {
		name = defaultClass(s)
	}
	class, ok := store.Get[*storagev1.StorageClass](s, "", name)
	if !ok {
		return nil
	}
	return class
}

// unclassified tells whether a claim leaves it to the cluster of which class it is.
func unclassified(c *corev1.PersistentVolumeClaim) bool {
	_, beta := c.Annotations[corev1.BetaStorageClassAnnotation]
	return !beta && c.Spec.StorageClassName == nil
}

// defaultClass is the class of claims that name none: of several the newest, and of these the first by name.
func defaultClass(s *store.Snapshot) string {
	var all []*storagev1.StorageClass
	for c := range store.List[*storagev1.StorageClass](s) {
		if c.Annotations[isDefault] == "true" && c.DeletionTimestamp == nil {
			all = append(all, c)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return slices.MinFunc(all, func(a, b *storagev1.StorageClass) int {
		if c := b.CreationTimestamp.Compare(a.CreationTimestamp.Time); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	}).Name
}

// Match is the smallest volume that suits a claim, or the one that is meant for it; nil if there is none. node, if not nil,
// must be able to reach it. taken are volumes that are somebody else's by now.
func Match(s *store.Snapshot, c *corev1.PersistentVolumeClaim, node *corev1.Node, delayed bool) *corev1.PersistentVolume {
	var all []*corev1.PersistentVolume
	for v := range store.List[*corev1.PersistentVolume](s) {
		if helper.IsVolumeBoundToClaim(v, c) || helper.CheckAccessModes(c, v) {
			all = append(all, v)
		}
	}
	v, err := helper.FindMatchingVolume(c, all, node, nil, delayed, true)
	if err != nil {
		return nil // its selector cannot be read, which validation refused
	}
	return v
}

// tell adds an event unless the very same was told before: claims that wait are looked at often.
func tell(p *control.Plan, w control.World, by string, e control.Event) {
	o := control.NewEvent(w, by, e)
	if _, told := store.Get[*corev1.Event](w.Snapshot, o.Namespace, o.Name); !told {
		p.Events = append(p.Events, e)
	}
}

// Class keeps the class that claims get if nothing else is said. Who wants another one as default says so in its annotation,
// and in that of this one; it comes back only when it is deleted.
type Class struct{}

func (Class) Name() string { return "default-class-controller" }

func (Class) Owns() []control.Owned { return []control.Owned{{Kind: classKind}} }

func (Class) Watches() []control.Watch { return []control.Watch{{Kind: classKind}} }

// FirstKey implements control.Starter.
func (Class) FirstKey() store.Key { return store.Key{Kind: classKind, Name: DefaultClass} }

// Plan makes the class if there is none.
func (c Class) Plan(w control.World, key store.Key) (control.Plan, error) {
	var p control.Plan
	if _, ok := w.Get(c.FirstKey()); ok || key != c.FirstKey() {
		return p, nil
	}
	wait, yes := storagev1.VolumeBindingWaitForFirstConsumer, true
	p.Create(&storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: DefaultClass, Annotations: map[string]string{
			isDefault: "true", "kubernetes.io/description": "A folder on the node of the first pod that uses the claim. Its capacity is not enforced.",
		}},
		Provisioner: Driver, VolumeBindingMode: &wait, AllowVolumeExpansion: &yes,
	}, "every cluster has it")
	return p, nil
}
