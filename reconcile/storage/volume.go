package storage

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	helper "k8s.io/component-helpers/storage/volume"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const reclaimer = "persistentvolume-reclaimer"

// Volumes says of each volume whose it is, and does with one that its claim has left as its reclaim policy says.
type Volumes struct{}

func (Volumes) Name() string { return reclaimer }

func (Volumes) Owns() []control.Owned { return []control.Owned{{Kind: volumeKind}} }

func (Volumes) Watches() []control.Watch {
	return []control.Watch{
		{Kind: volumeKind},
		{Kind: claimKind, Keys: volumesOfClaim},
		{Kind: nodeKind, Keys: foldersOfNode},
	}
}

// volumesOfClaim are the volumes that a claim has, or had, or that are meant for it.
func volumesOfClaim(s *store.Snapshot, c store.Change) []store.Key {
	var keys []store.Key
	for _, o := range []store.Object{c.Old, c.New} {
		if o == nil {
			continue
		}
		if name := o.(*corev1.PersistentVolumeClaim).Spec.VolumeName; name != "" {
			keys = append(keys, store.Key{Kind: volumeKind, Name: name})
		}
	}
	if c.New != nil && len(keys) > 0 {
		return keys
	}
	for v := range store.List[*corev1.PersistentVolume](s) {
		if r := v.Spec.ClaimRef; r != nil && r.Namespace == c.Object().GetNamespace() && r.Name == c.Object().GetName() {
			keys = append(keys, s.Key(v))
		}
	}
	return keys
}

// foldersOfNode are the volumes that waited for a node which is gone.
func foldersOfNode(s *store.Snapshot, c store.Change) []store.Key {
	if c.New != nil {
		return nil
	}
	var keys []store.Key
	for v := range store.List[*corev1.PersistentVolume](s) {
		if v.DeletionTimestamp != nil {
			keys = append(keys, s.Key(v))
		}
	}
	return keys
}

// Plan moves one volume on.
func (Volumes) Plan(w control.World, key store.Key) (control.Plan, error) {
	var p control.Plan
	v, ok := store.Get[*corev1.PersistentVolume](w.Snapshot, "", key.Name)
	if !ok {
		return p, nil
	}
	next := v.DeepCopy()
	released := settle(w, next)
	switch {
	case v.DeletionTimestamp != nil:
		letVolumeGo(w.Snapshot, next)
	case released:
		reclaim(&p, w, v, next)
	}
	if !equality.Semantic.DeepEqual(v, next) {
		p.Update(next, "its claim")
	}
	return p, nil
}

// settle says of v whose it is, and tells whether it was somebody's who is gone.
func settle(w control.World, v *corev1.PersistentVolume) (released bool) {
	r := v.Spec.ClaimRef
	if r == nil || r.UID == "" {
		phase(v, corev1.VolumeAvailable, w.Now)
		return false
	}
	c, ok := store.Get[*corev1.PersistentVolumeClaim](w.Snapshot, r.Namespace, r.Name)
	switch {
	case ok && c.UID == r.UID && c.Spec.VolumeName == v.Name:
		phase(v, corev1.VolumeBound, w.Now)
		return false
	case ok && c.UID == r.UID && c.Spec.VolumeName == "":
		return false // it is about to be bound
	case ok && c.UID == r.UID && v.Annotations[helper.AnnDynamicallyProvisioned] == "":
		if v.Annotations[helper.AnnBoundByController] != "" { // the claim has another one
			v.Spec.ClaimRef = nil
			delete(v.Annotations, helper.AnnBoundByController)
			phase(v, corev1.VolumeAvailable, w.Now)
		}
		return false
	}
	if v.Status.Phase != corev1.VolumeFailed {
		phase(v, corev1.VolumeReleased, w.Now)
	}
	return true
}

// letVolumeGo lets a volume that is to go go when it is nobody's. It does not wait for the folder to be removed if that is to
// be kept, or if the node that has it is gone.
func letVolumeGo(s *store.Snapshot, v *corev1.PersistentVolume) {
	v.Finalizers = slices.DeleteFunc(v.Finalizers, func(f string) bool {
		switch f {
		case scheme.VolumeProtection:
			return v.Status.Phase != corev1.VolumeBound
		case FolderFinalizer:
			return v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete || Ours(v) && !onNode(s, v)
		}
		return false
	})
}

func onNode(s *store.Snapshot, v *corev1.PersistentVolume) bool {
	for n := range store.List[*corev1.Node](s) {
		if Reaches(v, n) {
			return true
		}
	}
	return false
}

// reclaim does with a volume that was somebody's as its policy says.
func reclaim(p *control.Plan, w control.World, v, next *corev1.PersistentVolume) {
	by := v.Annotations[helper.AnnDynamicallyProvisioned]
	fail := func(reason, why string) {
		phase(next, corev1.VolumeFailed, w.Now)
		next.Status.Message = why
		tell(p, w, reclaimer, control.Event{About: v, Type: corev1.EventTypeWarning, Reason: reason, Message: why})
	}
	switch v.Spec.PersistentVolumeReclaimPolicy {
	case corev1.PersistentVolumeReclaimDelete:
		switch {
		case Ours(v):
			if slices.Contains(next.Finalizers, FolderFinalizer) || by == "" {
				p.Delete(v, "its claim is gone")
				*next = *v.DeepCopy() // its phase is of no interest any more
			}
		case by == "":
			fail("VolumeFailedDelete", fmt.Sprintf("nothing here deletes volumes of this kind (%s): remove it by hand", Source(v)))
		}
	case corev1.PersistentVolumeReclaimRecycle:
		fail("VolumeFailedRecycle", "Recycle is not supported: use Retain or Delete")
	}
}
