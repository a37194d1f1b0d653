package storetest

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Model is what a store must hold.
type Model struct {
	Revision store.Revision
	Objects  map[store.Key]store.Object
	kinds    store.Kinds
}

// NewModel is empty.
func NewModel() *Model { return &Model{Objects: map[store.Key]store.Object{}, kinds: Kinds()} }

// Clone is a copy. Objects are shared: nobody changes them.
func (m *Model) Clone() *Model {
	return &Model{Revision: m.Revision, Objects: maps.Clone(m.Objects), kinds: m.kinds}
}

// Apply moves the model on by d. An error says how d does not follow from the model.
func (m *Model) Apply(d store.Delta) error {
	for _, c := range d.Changes {
		k := m.kinds.Key(c.Object())
		was := m.Objects[k]
		switch {
		case c.Revision != m.Revision+1:
			return fmt.Errorf("%s changes at %d, after %d", k, c.Revision, m.Revision)
		case (was == nil) != (c.Old == nil) || was != nil && store.RevisionOf(was) != store.RevisionOf(c.Old):
			return fmt.Errorf("%s, changed at %d, is not what it was before", k, c.Revision)
		case c.New != nil && store.RevisionOf(c.New) != c.Revision:
			return fmt.Errorf("%s, changed at %d, says that it is of %s", k, c.Revision, c.New.GetResourceVersion())
		}
		m.Revision = c.Revision
		m.Objects[k] = c.New
		if c.New == nil {
			delete(m.Objects, k)
		}
	}
	if d.Revision != m.Revision {
		return fmt.Errorf("the delta of %d ends at %d", d.Revision, m.Revision)
	}
	return nil
}

// Diff says how objects differ from the model's, "" if they do not.
func (m *Model) Diff(revision store.Revision, objects iter.Seq[store.Object]) string {
	if revision != m.Revision {
		return fmt.Sprintf("it is at revision %d, not %d", revision, m.Revision)
	}
	missing := maps.Clone(m.Objects)
	for o := range objects {
		k := m.kinds.Key(o)
		want, ok := missing[k]
		if !ok {
			return fmt.Sprintf("%s should not be there, or not twice", k)
		}
		if !equality.Semantic.DeepEqual(want, o) {
			return fmt.Sprintf("%s (-want +got):\n%s", k, cmp.Diff(want, o))
		}
		delete(missing, k)
	}
	if len(missing) > 0 {
		return fmt.Sprintf("%d objects are missing, such as %s", len(missing), slices.Collect(maps.Keys(missing))[0])
	}
	return ""
}

// DiffModel says how other differs from the model, "" if it does not.
func (m *Model) DiffModel(other *Model) string {
	return m.Diff(other.Revision, maps.Values(other.Objects))
}

// DiffSnapshot says how s differs from the model, "" if it does not.
func (m *Model) DiffSnapshot(s *store.Snapshot) string {
	return m.Diff(s.Revision(), s.List(store.Query{}))
}

// Sizes bound what Group makes.
type Sizes struct {
	Deltas, Changes int // at least one
	Bytes           int // of an object's text
	Keys            int // how many objects there are at most
}

// Group makes deltas that follow from the model, and does not apply them. It depends on nothing but the model and r.
func (m *Model) Group(r *rand.Rand, s Sizes) []store.Delta {
	ahead := m.Clone()
	var ds []store.Delta
	for range 1 + r.IntN(s.Deltas) {
		d := store.Delta{Revision: ahead.Revision, Why: "a test"}
		taken := map[int]bool{}
		for range 1 + r.IntN(s.Changes) {
			if n := r.IntN(s.Keys); !taken[n] {
				taken[n] = true
				d.Revision++
				d.Changes = append(d.Changes, ahead.change(r, n, d.Revision, s.Bytes))
			}
		}
		if err := ahead.Apply(d); err != nil {
			panic(err)
		}
		ds = append(ds, d)
	}
	return ds
}

// Large makes one delta that changes n objects.
func (m *Model) Large(r *rand.Rand, n, bytes int) []store.Delta {
	d := store.Delta{Revision: m.Revision, Why: "a large test"}
	for i := range n {
		d.Revision++
		d.Changes = append(d.Changes, m.change(r, i, d.Revision, bytes))
	}
	return []store.Delta{d}
}

// change is one of the object with number n.
func (m *Model) change(r *rand.Rand, n int, at store.Revision, bytes int) store.Change {
	c := store.Change{Revision: at, Old: m.Objects[m.kinds.Key(blank(n))]}
	switch {
	case c.Old == nil:
		c.New = fresh(r, n, bytes)
	case r.IntN(4) > 0:
		c.New = varied(r, c.Old, bytes)
	default:
		return c
	}
	c.New.GetObjectKind().SetGroupVersionKind(m.kinds.Of(c.New))
	c.New.SetResourceVersion(at.String())
	return c
}

// Rand is a source of chance that another run can repeat: it prints its seed, and takes it from STORETEST_SEED.
func Rand(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("STORETEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal("STORETEST_SEED:", err)
		}
	}
	t.Logf("again with STORETEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
