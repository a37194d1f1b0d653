// Package lifecycle holds the controllers that see to it that what lives together ends together: garbage by owner,
// namespaces with their contents, nodes that fell silent; and that what every cluster has is there.
package lifecycle

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Garbage deletes what has owners of which none is there any more, and carries out foreground deletion and orphaning.
type Garbage struct{}

func (Garbage) Name() string { return "garbage-collector" }

func (Garbage) Owns() []control.Owned { return []control.Owned{{Part: control.Existing}} }

func (Garbage) Watches() []control.Watch { return []control.Watch{{Keys: garbageKeys}} }

func garbageKeys(s *store.Snapshot, c store.Change) []store.Key {
	if c.New == nil {
		keys := ownerKeys(s, c.Old) // one that waits for its last dependent
		for o := range s.List(store.Select(schema.GroupKind{}, store.OwnedBy(c.Old.GetUID()))) {
			keys = append(keys, s.Key(o))
		}
		return keys
	}
	owned := len(c.New.GetOwnerReferences()) > 0 && (c.Old == nil || !slices.EqualFunc(c.Old.GetOwnerReferences(), c.New.GetOwnerReferences(), sameOwner))
	ending := c.New.GetDeletionTimestamp() != nil && (has(c.New, metav1.FinalizerDeleteDependents) || has(c.New, metav1.FinalizerOrphanDependents))
	if owned || ending {
		return []store.Key{s.Key(c.New)}
	}
	return nil
}

func sameOwner(a, b metav1.OwnerReference) bool { return a.UID == b.UID }

func has(o metav1.Object, finalizer string) bool {
	return slices.Contains(o.GetFinalizers(), finalizer)
}

// ownerKeys are the keys of o's owners that are there.
func ownerKeys(s *store.Snapshot, o store.Object) []store.Key {
	var keys []store.Key
	for _, r := range o.GetOwnerReferences() {
		if owner, ok := find(s, o.GetNamespace(), r); ok {
			keys = append(keys, s.Key(owner))
		}
	}
	return keys
}

// find returns the owner that r means: in the namespace of what it owns, or of the whole cluster.
func find(s *store.Snapshot, namespace string, r metav1.OwnerReference) (store.Object, bool) {
	gv, err := schema.ParseGroupVersion(r.APIVersion)
	if err != nil {
		return nil, false
	}
	for _, ns := range []string{namespace, ""} {
		k := store.Key{Kind: schema.GroupKind{Group: gv.Group, Kind: r.Kind}, Namespace: ns, Name: r.Name}
		if o, ok := s.Get(k); ok && o.GetUID() == r.UID {
			return o, true
		}
	}
	return nil, false
}

// Plan decides about one object: as an owner that is ending, and as something that is owned.
func (Garbage) Plan(w control.World, key store.Key) (control.Plan, error) {
	var p control.Plan
	o, ok := w.Get(key)
	if !ok {
		return p, nil
	}
	if o.GetDeletionTimestamp() != nil {
		switch {
		case has(o, metav1.FinalizerOrphanDependents):
			orphan(&p, w.Snapshot, o)
		case has(o, metav1.FinalizerDeleteDependents):
			deleteDependents(&p, w.Snapshot, o)
		}
		return p, nil
	}
	collect(&p, w.Snapshot, o)
	return p, nil
}

// orphan frees the dependents of o, then o itself.
func orphan(p *control.Plan, s *store.Snapshot, o store.Object) {
	for d := range dependents(s, o) {
		c := d.DeepCopyObject().(store.Object)
		c.SetOwnerReferences(slices.DeleteFunc(c.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == o.GetUID() }))
		p.Update(c, "its owner is deleted without it")
	}
	p.Update(without(o, metav1.FinalizerOrphanDependents), "its dependents are free")
}

// deleteDependents deletes those dependents of o that no other owner keeps, and lets o go once none is left that it must wait
// for: not one that itself waits for o.
func deleteDependents(p *control.Plan, s *store.Snapshot, o store.Object) {
	waiting := false
	for d := range dependents(s, o) {
		ending := d.GetDeletionTimestamp() != nil
		if left := keepers(s, d); !ending && len(left) > 0 {
			c := d.DeepCopyObject().(store.Object)
			c.SetOwnerReferences(left)
			p.Update(c, "one of its owners is being deleted")
			continue
		}
		waiting = waiting || blocks(d, o) && !(has(d, metav1.FinalizerDeleteDependents) && descends(s, o, d.GetUID(), map[types.UID]bool{}))
		if !ending {
			p.Writes = append(p.Writes, control.Write{Op: control.Delete, Object: d, Why: "its owner is being deleted", Propagation: metav1.DeletePropagationForeground})
		}
	}
	if !waiting {
		p.Update(without(o, metav1.FinalizerDeleteDependents), "its dependents are gone")
	}
}

// keepers are the references of d to owners that are there and do not wait for it to be deleted.
func keepers(s *store.Snapshot, d store.Object) []metav1.OwnerReference {
	return slices.DeleteFunc(slices.Clone(d.GetOwnerReferences()), func(r metav1.OwnerReference) bool {
		owner, ok := find(s, d.GetNamespace(), r)
		return !ok || owner.GetDeletionTimestamp() != nil && has(owner, metav1.FinalizerDeleteDependents)
	})
}

// blocks tells whether owner must not go before d.
func blocks(d, owner store.Object) bool {
	return slices.ContainsFunc(d.GetOwnerReferences(), func(r metav1.OwnerReference) bool {
		return r.UID == owner.GetUID() && r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion
	})
}

// descends tells whether ancestor is among the owners of o, or theirs. Those that were seen are not asked again: there may be
// circles.
func descends(s *store.Snapshot, o store.Object, ancestor types.UID, seen map[types.UID]bool) bool {
	for _, r := range o.GetOwnerReferences() {
		if r.UID == ancestor {
			return true
		}
		if owner, ok := find(s, o.GetNamespace(), r); ok && !seen[r.UID] {
			seen[r.UID] = true
			if descends(s, owner, ancestor, seen) {
				return true
			}
		}
	}
	return false
}

func dependents(s *store.Snapshot, o store.Object) func(func(store.Object) bool) {
	return s.List(store.Select(schema.GroupKind{}, store.OwnedBy(o.GetUID())))
}

// collect deletes o if none of its owners is left, or removes those of its owner references that point to nothing.
func collect(p *control.Plan, s *store.Snapshot, o store.Object) {
	refs := o.GetOwnerReferences()
	left := slices.DeleteFunc(slices.Clone(refs), func(r metav1.OwnerReference) bool {
		_, ok := find(s, o.GetNamespace(), r)
		return !ok
	})
	switch {
	case len(refs) == 0 || len(left) == len(refs):
	case len(left) == 0:
		p.Delete(o, "its owner is gone")
	default:
		c := o.DeepCopyObject().(store.Object)
		c.SetOwnerReferences(left)
		p.Update(c, "one of its owners is gone")
	}
}

func without(o store.Object, finalizer string) store.Object {
	c := o.DeepCopyObject().(store.Object)
	c.SetFinalizers(slices.DeleteFunc(c.GetFinalizers(), func(f string) bool { return f == finalizer }))
	return c
}
