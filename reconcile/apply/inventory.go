package apply

import (
	"fmt"
	"hash/fnv"
	"iter"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/gitsource"
	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const appliedIndex = "applied"

// Index finds the inventories that list an object. A store that is applied to must have it.
func Index() store.Index {
	return store.Index{Name: appliedIndex, Values: func(o store.Object) []string {
		inv, ok := o.(*v1alpha1.Inventory)
		if !ok {
			return nil
		}
		keys := make([]string, len(inv.Spec.Objects))
		for i, e := range inv.Spec.Objects {
			keys[i] = indexValue(entryKey(e))
		}
		return keys
	}}
}

func indexValue(k store.Key) string { return k.Kind.String() + "/" + k.Namespace + "/" + k.Name }

func entryKey(e v1alpha1.InventoryObject) store.Key {
	return store.Key{Kind: schema.GroupKind{Group: e.Group, Kind: e.Kind}, Namespace: e.Namespace, Name: e.Name}
}

// Listing are the inventories that list the object at k: one, if it came from Git.
func Listing(s *store.Snapshot, k store.Key) iter.Seq[*v1alpha1.Inventory] {
	return store.List[*v1alpha1.Inventory](s, store.By(appliedIndex, indexValue(k)))
}

// Entry is the entry of the object at k; false if inv does not list it.
func Entry(inv *v1alpha1.Inventory, k store.Key) (v1alpha1.InventoryObject, bool) {
	for _, e := range inv.Spec.Objects {
		if entryKey(e) == k {
			return e, true
		}
	}
	return v1alpha1.InventoryObject{}, false
}

// Inventories are all those of a source.
func Inventories(s *store.Snapshot, src Source) iter.Seq[*v1alpha1.Inventory] {
	return store.List[*v1alpha1.Inventory](s, store.InNamespace(src.Namespace), store.OwnedBy(src.UID))
}

// inventoryName is the same for the same file of the same source.
func inventoryName(src Source, path string) string {
	h := fnv.New64a()
	h.Write([]byte(path))
	return fmt.Sprintf("%s-%016x", src.Name, h.Sum64())
}

// inventoryOf is the empty inventory of a file.
func inventoryOf(src Source, commit gitsource.Commit, f gitsource.File) *v1alpha1.Inventory {
	owner := metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "GitSource", Name: src.Name, UID: src.UID}
	return &v1alpha1.Inventory{
		ObjectMeta: metav1.ObjectMeta{Namespace: src.Namespace, Name: inventoryName(src, f.Path), OwnerReferences: []metav1.OwnerReference{owner}},
		Spec:       v1alpha1.InventorySpec{Source: src.Name, Path: f.Path, Blob: f.Blob.String(), Commit: commit.Hash.String()},
	}
}

// belongsTo tells whether inv is one of src's.
func belongsTo(inv *v1alpha1.Inventory, src Source) bool {
	return inv.Namespace == src.Namespace && metav1.GetControllerOfNoCopy(inv) == nil && len(inv.OwnerReferences) > 0 && inv.OwnerReferences[0].UID == src.UID
}

// Wanted are the keys of the documents of a change.
func Wanted(kinds decode.Kinds, src Source, c gitsource.Change) iter.Seq[store.Key] {
	return func(yield func(store.Key) bool) {
		for _, f := range c.Files {
			for _, d := range f.Documents {
				if !yield(keyOf(d.ID(kinds, src.Default))) {
					return
				}
			}
		}
	}
}

// Growth is by how many objects the source grows when p is executed on s.
func (p *Plan) Growth(s *store.Snapshot) int {
	n := 0
	for _, inv := range p.emptied {
		n -= len(inv.Spec.Objects)
	}
	for _, inv := range p.inventories {
		n += len(inv.Spec.Objects)
		if live, ok := store.Get[*v1alpha1.Inventory](s, inv.Namespace, inv.Name); ok {
			n -= len(live.Spec.Objects)
		}
	}
	return n
}
