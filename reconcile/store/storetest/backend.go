package storetest

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Place makes a new, empty place to keep objects in. What it returns opens it: once, and again whenever the Backend that
// it returned before was closed.
type Place func(t testing.TB) (open func() store.Backend)

// Backend is the suite for a backend.
func Backend(t *testing.T, place Place) {
	for name, test := range map[string]func(*testing.T, func() store.Backend){
		"a new one is empty":                               newIsEmpty,
		"what was appended is loaded, also when reopened":  appendedIsLoaded,
		"of several changes of a key in a group, the last": lastWins,
		"who is behind or ahead is fenced":                 fenced,
		"a large transaction is kept":                      largeIsKept,
		"a group without changes is nothing":               emptyGroup,
		"loading may be ended early":                       endedEarly,
		"records are kept beside the objects":              recordsAreKept,
	} {
		t.Run(name, func(t *testing.T) { test(t, place(t)) })
	}
}

func newIsEmpty(t *testing.T, open func() store.Backend) {
	b := open()
	defer shut(t, b)
	compare(t, NewModel(), b)
}

// recordsAreKept compares records with a map, through restarts and groups above any limit.
func recordsAreKept(t *testing.T, open func() store.Backend) {
	r, m, b := Rand(t), NewModel(), open()
	want := map[string]string{}
	for round := range 10 {
		ds := m.Group(r, Sizes{Deltas: 3, Changes: 4, Bytes: 300, Keys: 40})
		if round == 5 {
			ds = m.Group(r, Sizes{Deltas: 1, Changes: 4, Bytes: 300, Keys: 40})
			for i := range 6000 {
				ds[0].Records = append(ds[0].Records, keep(want, fmt.Sprintf("large/%d", i), strings.Repeat("x", 4000)))
			}
		}
		if round%3 == 1 { // no object
			ds = []store.Delta{{Revision: m.Revision}}
		}
		for i := range ds {
			for range r.IntN(6) {
				ds[i].Records = append(ds[i].Records, keep(want, fmt.Sprintf("%c/%d", 'a'+r.IntN(2), r.IntN(8)), strings.Repeat("v", r.IntN(9))))
			}
		}
		push(t, b, m, ds)
		if r.IntN(2) == 0 {
			shut(t, b)
			b = open()
		}
		compare(t, m, b)
		compareRecords(t, b, want)
	}
	shut(t, b)
}

// keep is a record, and notes it in want.
func keep(want map[string]string, key, value string) store.Record {
	if want[key] = value; value == "" {
		delete(want, key)
	}
	return store.Record{Key: key, Value: []byte(value)}
}

func compareRecords(t testing.TB, b store.Backend, want map[string]string) {
	t.Helper()
	for _, prefix := range []string{"", "a/", "b/7", "c"} {
		var keys []string
		for r, err := range b.RecordsUnder(prefix) {
			if err != nil {
				t.Fatal(err)
			}
			if keys = append(keys, r.Key); want[r.Key] != string(r.Value) {
				t.Errorf("record %s is not what was written", r.Key)
			}
		}
		expected := slices.DeleteFunc(slices.Sorted(maps.Keys(want)), func(k string) bool { return !strings.HasPrefix(k, prefix) })
		if !slices.Equal(keys, expected) {
			t.Errorf("%d records under %q, want %d", len(keys), prefix, len(expected))
		}
	}
	for _, key := range []string{"a/1", "b/2", "none"} {
		if v, err := b.Record(key); string(v) != want[key] || err != nil {
			t.Errorf("record %s is %q, %v; want %q", key, v, err, want[key])
		}
	}
	for range b.RecordsUnder("") {
		break // it may be ended early
	}
}

func appendedIsLoaded(t *testing.T, open func() store.Backend) {
	r, m, b := Rand(t), NewModel(), open()
	for range 12 {
		for range 1 + r.IntN(8) {
			push(t, b, m, m.Group(r, Sizes{Deltas: 4, Changes: 8, Bytes: 3000, Keys: 60}))
		}
		if r.IntN(2) == 0 {
			shut(t, b)
			b = open()
		}
		compare(t, m, b)
	}
	shut(t, b)
}

func lastWins(t *testing.T, open func() store.Backend) {
	r, m, b := Rand(t), NewModel(), open()
	push(t, b, m, m.Group(r, Sizes{Deltas: 40, Changes: 1, Bytes: 100, Keys: 1}))
	compare(t, m, b)
	push(t, b, m, m.Group(r, Sizes{Deltas: 40, Changes: 2, Bytes: 100, Keys: 2}))
	shut(t, b)
	b = open()
	defer shut(t, b)
	compare(t, m, b)
}

func fenced(t *testing.T, open func() store.Backend) {
	r, m, b := Rand(t), NewModel(), open()
	defer func() { shut(t, b) }()
	push(t, b, m, m.Group(r, Sizes{Deltas: 3, Changes: 3, Bytes: 10, Keys: 10}))
	for _, after := range []store.Revision{0, m.Revision - 1, m.Revision + 1} {
		if after == m.Revision {
			continue
		}
		stale := m.Clone()
		stale.Revision = after
		if err := b.Append(t.Context(), after, stale.Group(r, Sizes{Deltas: 1, Changes: 1, Bytes: 10, Keys: 10})); !errors.Is(err, store.ErrFenced) {
			t.Errorf("append after %d, when the end is %d: %v", after, m.Revision, err)
		}
	}
	compare(t, m, b)
	push(t, b, m, m.Group(r, Sizes{Deltas: 3, Changes: 3, Bytes: 10, Keys: 10}))
	compare(t, m, b)
}

func largeIsKept(t *testing.T, open func() store.Backend) {
	r, m, b := Rand(t), NewModel(), open()
	push(t, b, m, m.Large(r, 10_000, 4000))
	push(t, b, m, m.Group(r, Sizes{Deltas: 4, Changes: 4, Bytes: 10, Keys: 10}))
	compare(t, m, b)
	shut(t, b)
	b = open()
	defer shut(t, b)
	compare(t, m, b)
}

func emptyGroup(t *testing.T, open func() store.Backend) {
	m, b := NewModel(), open()
	defer shut(t, b)
	push(t, b, m, nil)
	compare(t, m, b)
}

func endedEarly(t *testing.T, open func() store.Backend) {
	m, b := NewModel(), open()
	defer shut(t, b)
	push(t, b, m, m.Group(Rand(t), Sizes{Deltas: 100, Changes: 100, Bytes: 100, Keys: 1000}))
	_, objects := b.Load()
	for _, err := range objects {
		if err != nil {
			t.Error(err)
		}
		break
	}
	compare(t, m, b)
}

// push appends ds to b, which holds what m says, and to m.
func push(t testing.TB, b store.Backend, m *Model, ds []store.Delta) {
	t.Helper()
	if err := b.Append(t.Context(), m.Revision, ds); err != nil {
		t.Fatal(err)
	}
	for _, d := range ds {
		if err := m.Apply(d); err != nil {
			t.Fatal(err)
		}
	}
}

// compare loads b, and fails if it holds something else than m says.
func compare(t testing.TB, m *Model, b store.Backend) {
	t.Helper()
	got, err := Loaded(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := m.DiffModel(got); diff != "" {
		t.Fatal(diff)
	}
}

// Loaded is the model of what b keeps.
func Loaded(b store.Backend) (*Model, error) {
	m := NewModel()
	var objects iter.Seq2[store.Object, error]
	m.Revision, objects = b.Load()
	for o, err := range objects {
		if err != nil {
			return nil, err
		}
		o.GetObjectKind().SetGroupVersionKind(m.kinds.Of(o)) // a backend need not keep it
		k := m.kinds.Key(o)
		if _, ok := m.Objects[k]; ok {
			return nil, fmt.Errorf("%s is there twice", k)
		}
		m.Objects[k] = o
	}
	return m, nil
}

func shut(t testing.TB, b store.Backend) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatal("close:", err)
	}
}
