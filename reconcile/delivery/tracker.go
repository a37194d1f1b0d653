package delivery

import (
	"cmp"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/health"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// sourceKind is the kind of what delivery follows.
var sourceKind = schema.GroupKind{Group: v1alpha1.GroupVersion.Group, Kind: "GitSource"}

// A tracker knows which of the objects that came from Git are not well. It looks only at what a change may have touched:
// the objects themselves, and those that own what changed.
type tracker struct {
	ill map[store.Key]map[store.Key]health.Status // by source, then object; what is healthy is not here
}

// newTracker looks at everything once.
func newTracker(s *store.Snapshot) *tracker {
	t := &tracker{ill: map[store.Key]map[store.Key]health.Status{}}
	for inv := range store.List[*v1alpha1.Inventory](s) {
		for _, e := range inv.Spec.Objects {
			t.look(s, sourceOf(inv), store.Key{Kind: schema.GroupKind{Group: e.Group, Kind: e.Kind}, Namespace: e.Namespace, Name: e.Name})
		}
	}
	return t
}

func sourceOf(inv *v1alpha1.Inventory) store.Key {
	return store.Key{Kind: sourceKind, Namespace: inv.Namespace, Name: inv.Spec.Source}
}

// look judges one object, and tells whether the judgement is another than before.
func (t *tracker) look(s *store.Snapshot, source, k store.Key) bool {
	was, wasIll := t.ill[source][k]
	is := health.At(s, k)
	if is.State == health.Healthy {
		delete(t.ill[source], k)
		return wasIll
	}
	if t.ill[source] == nil {
		t.ill[source] = map[store.Key]health.Status{}
	}
	t.ill[source][k] = is
	return !wasIll || was != is
}

// follow judges anew what a delta may have touched, on a snapshot that has it, and returns the sources of which something
// is otherwise than before.
func (t *tracker) follow(s *store.Snapshot, d store.Delta) []store.Key {
	changed := map[store.Key]bool{}
	for _, c := range d.Changes {
		if inv, ok := c.Object().(*v1alpha1.Inventory); ok {
			t.inventory(s, inv, c, changed)
			continue
		}
		for _, k := range lineage(s, c.Object()) {
			for inv := range apply.Listing(s, k) {
				if t.look(s, sourceOf(inv), k) {
					changed[sourceOf(inv)] = true
				}
			}
		}
	}
	return slices.SortedFunc(maps.Keys(changed), store.Key.Compare)
}

// inventory looks at what a source has gained and lost.
func (t *tracker) inventory(s *store.Snapshot, inv *v1alpha1.Inventory, c store.Change, changed map[store.Key]bool) {
	source := sourceOf(inv)
	for _, o := range []store.Object{c.Old, c.New} {
		if o == nil {
			continue
		}
		for _, e := range o.(*v1alpha1.Inventory).Spec.Objects {
			k := store.Key{Kind: schema.GroupKind{Group: e.Group, Kind: e.Kind}, Namespace: e.Namespace, Name: e.Name}
			listed := false
			for by := range apply.Listing(s, k) {
				listed = listed || sourceOf(by) == source
			}
			if !listed {
				_, was := t.ill[source][k]
				delete(t.ill[source], k)
				changed[source] = changed[source] || was
			} else if t.look(s, source, k) {
				changed[source] = true
			}
		}
	}
	if c.New != nil && c.Old == nil {
		changed[source] = true
	}
}

// lineage is o's key, and those of the objects that control it, up to the last.
func lineage(s *store.Snapshot, o store.Object) []store.Key {
	keys := []store.Key{s.Key(o)}
	for range 5 { // a Pod, its ReplicaSet, its Deployment: no more than this, even if they should go in circles
		r := metav1.GetControllerOf(o)
		if r == nil {
			break
		}
		gv, err := schema.ParseGroupVersion(r.APIVersion)
		if err != nil {
			break
		}
		k := store.Key{Kind: schema.GroupKind{Group: gv.Group, Kind: r.Kind}, Namespace: o.GetNamespace(), Name: r.Name}
		keys = append(keys, k)
		owner, ok := s.Get(k)
		if !ok {
			break
		}
		o = owner
	}
	return keys
}

// An Ailment is an object that is not well.
type Ailment struct {
	Key    store.Key
	Status health.Status
}

// of lists what is not well of a source, the worst first.
func (t *tracker) of(source store.Key) []Ailment {
	var out []Ailment
	for k, s := range t.ill[source] {
		out = append(out, Ailment{k, s})
	}
	slices.SortFunc(out, func(a, b Ailment) int {
		return cmp.Or(cmp.Compare(badness(b.Status), badness(a.Status)), a.Key.Compare(b.Key))
	})
	return out
}

func badness(s health.Status) int {
	n := 0
	if s.Stuck {
		n += 4
	}
	if s.State != health.Progressing {
		n += 2
	}
	if s.Cause != "" {
		n++
	}
	return n
}

// forget drops a source that is gone.
func (t *tracker) forget(source store.Key) { delete(t.ill, source) }

// Unwell lists what is not well of a source, the worst first.
func Unwell(s *store.Snapshot, source *v1alpha1.GitSource) []Ailment {
	return newTracker(s).of(s.Key(source))
}
