package patch

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// An Owner is who writes from inside, and the fields that he writes, which do not depend on what he writes there: so
// nothing has to be computed at each write. Make it once.
type Owner struct{ entry metav1.ManagedFieldsEntry }

// NewOwner is the owner of fields such as "spec.replicas" or "metadata.labels" of a kind in version gv, written through a
// subresource, "" for the object itself.
func NewOwner(manager string, gv schema.GroupVersion, subresource string, fields ...string) (Owner, error) {
	set := fieldpath.NewSet()
	for _, f := range fields {
		var parts []any
		for name := range strings.SplitSeq(f, ".") {
			parts = append(parts, name)
		}
		path, err := fieldpath.MakePath(parts...)
		if err != nil {
			return Owner{}, fmt.Errorf("make an owner of %s: %w", f, err)
		}
		set.Insert(path)
	}
	e, err := entry(manager, metav1.ManagedFieldsOperationUpdate, gv, subresource, set)
	if err != nil {
		return Owner{}, fmt.Errorf("make the owner %s: %w", manager, err)
	}
	return Owner{e}, nil
}

// Sign notes in o, which must not be stored yet, that the owner wrote it. It costs nothing if o says so already: what is
// copied from a stored object does.
func (w Owner) Sign(o store.Object, now time.Time) {
	all := o.GetManagedFields()
	i := slices.IndexFunc(all, func(e metav1.ManagedFieldsEntry) bool { return sameOwner(e, w.entry) })
	if i >= 0 && sameFields(all[i], w.entry) {
		return
	}
	mine := w.entry
	mine.Time = stamp(now)
	next := slices.Clone(all)
	if i >= 0 {
		next[i] = mine
	} else {
		next = append(next, mine)
	}
	slices.SortFunc(next, compareEntries)
	o.SetManagedFields(next)
}
