package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Store is the suite for a store on any backend.
func Store(t *testing.T, place Place) {
	for name, test := range map[string]func(*testing.T, func() store.Backend){
		"random transactions do what they do to a map":          randomTransactions,
		"a snapshot stays what it was":                          snapshotsStay,
		"the state at a kept revision is the model's":           stateAt,
		"an index finds what looking at every object finds":     indexesFindAll,
		"a list in a transaction shows what was when it began":  listInTransaction,
		"deleted and created again is two changes":              recreated,
		"a failed transaction changes nothing":                  failedTransaction,
		"concurrent transfers keep the sum":                     transfers,
		"watchers see each change once and in order":            watchers,
		"who is too slow is told, who has nothing to hear, not": slowAndQuiet,
		"who hears of a change sees it in the next snapshot":    heardIsSeen,
		"without room nothing changes, and later it works":      noRoom,
		"what cannot be kept fails, and the store goes on":      unstorable,
		"another failure stops writes, and reading goes on":     stops,
		"reopened it is what it was":                            reopened,
	} {
		t.Run(name, func(t *testing.T) { test(t, place(t)) })
	}
}

// open opens a store that finds those who write to its objects.
func open(t testing.TB, b store.Backend, keep int) *store.Memory {
	t.Helper()
	s, err := store.Open(b, Kinds(), store.Options{Keep: keep, Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStore(t testing.TB, s *store.Memory) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error("close:", err)
	}
}

// A script is a random transaction, and what it should do.
type script struct {
	r    *rand.Rand
	want map[store.Key]string // the nonce of each object
	keys int
}

func (m *Model) script(r *rand.Rand, keys int) *script {
	s := &script{r: r, want: map[store.Key]string{}, keys: keys}
	for k, o := range m.Objects {
		s.want[k] = o.GetAnnotations()[nonce]
	}
	return s
}

// run makes up to n random changes, possible and impossible ones, several of one object too.
func (s *script) run(tx *store.Tx, n int) error {
	for range 1 + s.r.IntN(n) {
		if err := s.step(tx); err != nil {
			return err
		}
	}
	return nil
}

func (s *script) step(tx *store.Tx) error {
	n := s.r.IntN(s.keys)
	k := Kinds().Key(blank(n))
	old, ok := tx.Get(k)
	if w, want := s.want[k]; ok != want || ok && old.GetAnnotations()[nonce] != w {
		return fmt.Errorf("%s in a transaction is not what it should be", k)
	}
	var err, want error
	switch o := fresh(s.r, n, 100); s.r.IntN(5) {
	case 0:
		if err = tx.Create(o); ok {
			want = store.ErrExists
		}
		s.done(k, o, err)
	case 1:
		if err = tx.Delete(k); !ok {
			want = store.ErrNotFound
		}
		s.done(k, nil, err)
	case 2: // another UID, or none there
		err, want = tx.Update(o), store.ErrNotFound
	case 3:
		if !ok {
			return nil
		}
		o = varied(s.r, old, 100)
		o.SetResourceVersion("1000000000")
		err, want = tx.Update(o), store.ErrConflict
	case 4:
		if !ok {
			return nil
		}
		o = varied(s.r, old, 100)
		if s.r.IntN(2) == 0 {
			o.SetResourceVersion("")
		}
		err = tx.Update(o)
		s.done(k, o, err)
	}
	if !errors.Is(err, want) {
		return fmt.Errorf("%s: %v, not %v", k, err, want)
	}
	return nil
}

func (s *script) done(k store.Key, o store.Object, err error) {
	switch {
	case err != nil:
	case o == nil:
		delete(s.want, k)
	default:
		s.want[k] = o.GetAnnotations()[nonce]
	}
}

// follow applies to m what happened since.
func (m *Model) follow(t testing.TB, s store.Reader) {
	t.Helper()
	for {
		b, err := s.Since(m.Revision, store.Query{})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range b.Deltas {
			if err := m.Apply(d); err != nil {
				t.Fatal(err)
			}
		}
		if b.Upto == s.Snapshot().Revision() {
			return
		}
	}
}

// change makes n random transactions, and moves m on.
func change(t testing.TB, r *rand.Rand, s *store.Memory, m *Model, n, keys int) {
	t.Helper()
	for range n {
		sc := m.script(r, keys)
		revision, err := s.Update(t.Context(), "a test", func(tx *store.Tx) error { return sc.run(tx, 12) })
		if err != nil {
			t.Fatal(err)
		}
		m.follow(t, s)
		if diff := m.DiffSnapshot(s.Snapshot()); diff != "" || revision != m.Revision {
			t.Fatalf("after revision %d: %s", revision, diff)
		}
		if got := m.script(r, keys).want; !equalMaps(sc.want, got) {
			t.Fatalf("after revision %d: want %v, got %v", revision, sc.want, got)
		}
	}
}

func equalMaps(a, b map[store.Key]string) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

func randomTransactions(t *testing.T, place func() store.Backend) {
	s, m := open(t, place(), 0), NewModel()
	defer closeStore(t, s)
	change(t, Rand(t), s, m, 150, 40)
}

func snapshotsStay(t *testing.T, place func() store.Backend) {
	type kept struct {
		*store.Snapshot
		*Model
	}
	r, s, m := Rand(t), open(t, place(), 0), NewModel()
	defer closeStore(t, s)
	var all []kept
	for range 30 {
		change(t, r, s, m, 4, 40)
		all = append(all, kept{s.Snapshot(), m.Clone()})
	}
	for _, k := range all {
		if diff := k.DiffSnapshot(k.Snapshot); diff != "" {
			t.Fatalf("the snapshot of revision %d, later: %s", k.Model.Revision, diff)
		}
	}
}

func stateAt(t *testing.T, place func() store.Backend) {
	r, s, m := Rand(t), open(t, place(), 100), NewModel()
	defer closeStore(t, s)
	past := map[store.Revision]*Model{0: m.Clone()}
	for range 100 {
		change(t, r, s, m, 1, 40)
		past[m.Revision] = m.Clone()
	}
	told := 0
	for revision, then := range past {
		got, err := s.At(revision)
		if errors.Is(err, store.ErrCompacted) && revision+100 < m.Revision {
			told++
			continue
		}
		if err != nil {
			t.Fatalf("at %d, now %d: %v", revision, m.Revision, err)
		}
		if diff := then.DiffSnapshot(got); diff != "" {
			t.Fatalf("at %d: %s", revision, diff)
		}
	}
	if _, err := s.At(m.Revision + 1); !errors.Is(err, store.ErrFuture) {
		t.Error("at a revision that is not reached:", err)
	}
	if told == 0 {
		t.Error("nothing was compacted")
	}
	for revision := m.Revision - 90; revision <= m.Revision; revision++ { // in the middle of deltas too
		if got, err := s.At(revision); err != nil || got.Revision() != revision {
			t.Errorf("at %d: %v", revision, err)
		}
	}
}

func indexesFindAll(t *testing.T, place func() store.Backend) {
	r, s, m := Rand(t), open(t, place(), 0), NewModel()
	defer closeStore(t, s)
	kinds := append(slices.Collect(kindsOf()), schema.GroupKind{}, schema.GroupKind{Kind: "Unknown"})
	for range 20 {
		change(t, r, s, m, 5, 60)
		now := s.Snapshot()
		for range 20 {
			q, match := randomQuery(r, kinds)
			var want []store.Object
			for o := range now.List(store.Query{}) {
				if match(now.Key(o)) && q.match(o) {
					want = append(want, o)
				}
			}
			if got := slices.Collect(now.List(q.Query)); !slices.Equal(got, want) {
				t.Fatalf("query %+v: got %d objects, want %d", q.Query, len(got), len(want))
			}
		}
	}
}

func kindsOf() func(func(schema.GroupKind) bool) {
	return func(yield func(schema.GroupKind) bool) {
		for _, gvk := range Kinds() {
			if !yield(gvk.GroupKind()) {
				return
			}
		}
	}
}

// A bruteQuery says the same twice: match is asked of every object.
type bruteQuery struct {
	store.Query
	match func(store.Object) bool
}

func randomQuery(r *rand.Rand, kinds []schema.GroupKind) (bruteQuery, func(store.Key) bool) {
	q := bruteQuery{Query: store.Query{Kind: kinds[r.IntN(len(kinds))]}, match: func(store.Object) bool { return true }}
	if r.IntN(2) == 0 {
		q.Namespace = namespace(r)
	}
	switch r.IntN(6) {
	case 0:
		uid := owner(r)
		store.OwnedBy(uid)(&q.Query)
		q.match = func(o store.Object) bool {
			for _, ref := range o.GetOwnerReferences() {
				if ref.UID == uid {
					return true
				}
			}
			return false
		}
	case 1:
		n := node(r)
		store.OnNode(n)(&q.Query)
		q.match = func(o store.Object) bool { p, ok := o.(*corev1.Pod); return ok && p.Spec.NodeName == n }
	case 2:
		store.Active(&q.Query)
		q.match = func(o store.Object) bool {
			p, ok := o.(*corev1.Pod)
			return !ok || p.Status.Phase != corev1.PodSucceeded
		}
	case 3:
		name := service(r)
		store.OfService(name)(&q.Query)
		q.match = func(o store.Object) bool {
			_, ok := o.(*discoveryv1.EndpointSlice)
			return ok && o.GetLabels()[discoveryv1.LabelServiceName] == name
		}
	case 4:
		color := labels.SelectorFromSet(labels.Set{"color": pick(r, "red", "yellow")})
		store.Labelled(color)(&q.Query)
		q.match = func(o store.Object) bool { return color.Matches(labels.Set(o.GetLabels())) }
	}
	return q, func(k store.Key) bool {
		return (q.Kind.Empty() || k.Kind == q.Kind) && (q.Namespace == "" || k.Namespace == q.Namespace)
	}
}

func listInTransaction(t *testing.T, place func() store.Backend) {
	r, s, m := Rand(t), open(t, place(), 0), NewModel()
	defer closeStore(t, s)
	change(t, r, s, m, 40, 60)
	for _, q := range []store.Query{{}, {Kind: Kinds().Of(&corev1.Pod{}).GroupKind()}, {Index: "owner", Value: "a"}} {
		_, err := s.Update(t.Context(), "a test", func(tx *store.Tx) error {
			want := slices.Collect(tx.List(q))
			var got []store.Object
			for o := range tx.List(q) {
				got = append(got, o)
				for _, n := range []int{r.IntN(60), r.IntN(60)} { // among them what is still to come
					k := tx.Key(blank(n))
					if _, ok := tx.Get(k); ok {
						_ = tx.Delete(k)
					} else {
						_ = tx.Create(fresh(r, n, 10))
					}
				}
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("a list of %d showed %d", len(want), len(got))
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	m.follow(t, s)
	if diff := m.DiffSnapshot(s.Snapshot()); diff != "" {
		t.Error(diff)
	}
}

func recreated(t *testing.T, place func() store.Backend) {
	r, s := Rand(t), open(t, place(), 0)
	defer closeStore(t, s)
	first, second := fresh(r, 0, 10), fresh(r, 0, 10)
	if _, err := s.Update(t.Context(), "a test", func(tx *store.Tx) error { return tx.Create(first) }); err != nil {
		t.Fatal(err)
	}
	_, err := s.Update(t.Context(), "a test", func(tx *store.Tx) error {
		return errors.Join(tx.Delete(tx.Key(first)), tx.Create(second), tx.Update(varied(r, second, 10)))
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Since(1, store.Query{})
	if err != nil || len(b.Deltas) != 1 {
		t.Fatalf("%d deltas, %v", len(b.Deltas), err)
	}
	cs := b.Deltas[0].Changes
	if len(cs) != 2 || cs[0].Old != first || cs[0].New != nil || cs[1].Old != nil || cs[1].New.GetUID() != second.GetUID() || b.Upto != 3 {
		t.Errorf("up to %d: %v", b.Upto, cs)
	}
}

func failedTransaction(t *testing.T, place func() store.Backend) {
	r, s, m := Rand(t), open(t, place(), 0), NewModel()
	defer closeStore(t, s)
	change(t, r, s, m, 20, 40)
	mine := errors.New("mine")
	var wg sync.WaitGroup
	for range 8 { // beside others, which may be of the same group
		seed := r.Uint64()
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			for range 20 {
				_, err := s.Update(t.Context(), "a test", func(tx *store.Tx) error {
					scramble(r, tx, 40)
					if r.IntN(2) == 0 {
						return mine
					}
					return nil
				})
				if err != nil && err != mine {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	m.follow(t, s)
	if diff := m.DiffSnapshot(s.Snapshot()); diff != "" {
		t.Error(diff)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = s.Update(t.Context(), "a test", func(tx *store.Tx) error {
			scramble(r, tx, 40)
			panic("a mistake")
		})
	}()
	change(t, r, s, m, 5, 40)
}

// scramble makes possible changes.
func scramble(r *rand.Rand, tx *store.Tx, keys int) {
	for range 1 + r.IntN(8) {
		n := r.IntN(keys)
		k := tx.Key(blank(n))
		old, ok := tx.Get(k)
		switch {
		case !ok:
			_ = tx.Create(fresh(r, n, 100))
		case r.IntN(3) == 0:
			_ = tx.Delete(k)
		default:
			_ = tx.Update(varied(r, old, 100))
		}
	}
}

func reopened(t *testing.T, place func() store.Backend) {
	r, m := Rand(t), NewModel()
	for range 5 {
		s := open(t, place(), 0)
		if diff := m.DiffSnapshot(s.Snapshot()); diff != "" {
			t.Fatal(diff)
		}
		if m.Revision > 0 {
			if _, err := s.Since(m.Revision-1, store.Query{}); !errors.Is(err, store.ErrCompacted) {
				t.Error("what was before the start:", err)
			}
		}
		change(t, r, s, m, 20, 40)
		closeStore(t, s)
		if _, err := s.Update(t.Context(), "a test", func(*store.Tx) error { return nil }); !errors.Is(err, store.ErrStopped) {
			t.Error("after closing:", err)
		}
	}
}
