package storetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A listener watches until it has seen a revision.
type listener struct {
	from store.Revision
	q    store.Query
	seen []store.Change
}

func (l *listener) wants(c store.Change) bool {
	k := Kinds().Key(c.Object())
	return c.Revision > l.from && (l.q.Kind.Empty() || k.Kind == l.q.Kind) && (l.q.Namespace == "" || k.Namespace == l.q.Namespace)
}

// listen follows s to the transaction that says that it is the end.
func (l *listener) listen(ctx context.Context, s store.Reader) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	last := l.from
	for d, err := range store.Watch(ctx, s, l.from, l.q) {
		if err != nil {
			return err
		}
		if len(d.Changes) == 0 || d.Revision <= last || d.Revision > s.Snapshot().Revision() {
			return errors.New("a delta is empty, out of order, or heard of before it can be seen")
		}
		last = d.Revision
		l.seen = append(l.seen, d.Changes...)
		if d.Why == theEnd {
			return nil
		}
	}
	return errors.New("the watch ended without an error")
}

const theEnd = "the end"

func watchers(t *testing.T, place func() store.Backend) {
	r, s := Rand(t), open(t, place(), 100_000)
	defer closeStore(t, s)
	kinds := append(slices.Collect(kindsOf()), schema.GroupKind{}, schema.GroupKind{})
	var writers, readers sync.WaitGroup
	ls := []*listener{{}} // the first hears all
	listen := func() {
		l := &listener{from: store.Revision(r.Uint64N(uint64(s.Snapshot().Revision()) + 1)), q: store.Query{Kind: kinds[r.IntN(len(kinds))]}}
		if r.IntN(3) == 0 {
			l.q.Namespace = namespace(r)
		}
		ls = append(ls, l)
		readers.Go(func() {
			if err := l.listen(t.Context(), s); err != nil {
				t.Error(err)
			}
		})
	}
	for range 20 {
		listen()
		for range 4 {
			seed := r.Uint64()
			writers.Go(func() { write(t, s, rand.New(rand.NewPCG(seed, 0)), 8) })
		}
		listen()
	}
	writers.Wait()
	if _, err := s.Update(t.Context(), theEnd, func(tx *store.Tx) error { return touchAll(r, tx) }); err != nil {
		t.Fatal(err)
	}
	readers.Wait()
	all := ls[0]
	if err := all.listen(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if len(all.seen) != int(s.Snapshot().Revision()) {
		t.Errorf("%d changes up to revision %d", len(all.seen), s.Snapshot().Revision())
	}
	for _, l := range ls {
		want := slices.DeleteFunc(slices.Clone(all.seen), func(c store.Change) bool { return !l.wants(c) })
		if !slices.Equal(l.seen, want) {
			t.Errorf("from %d, %+v: %d changes, not %d", l.from, l.q, len(l.seen), len(want))
		}
	}
}

// write makes n random transactions.
func write(t testing.TB, s store.Store, r *rand.Rand, n int) {
	for range n {
		if _, err := s.Update(t.Context(), "a test", func(tx *store.Tx) error { scramble(r, tx, 60); return nil }); err != nil {
			t.Error(err)
		}
	}
}

// touchAll changes an object of each kind in each namespace.
func touchAll(r *rand.Rand, tx *store.Tx) error {
	for n := range 5 * namespaces {
		o := fresh(r, n, 10)
		k := tx.Key(o)
		if _, ok := tx.Get(k); ok {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		if err := tx.Create(o); err != nil {
			return err
		}
	}
	return nil
}

func slowAndQuiet(t *testing.T, place func() store.Backend) {
	r, s := Rand(t), open(t, place(), 100)
	defer closeStore(t, s)
	put := func(n int) {
		t.Helper()
		_, err := s.Update(t.Context(), "a test", func(tx *store.Tx) error {
			if old, ok := tx.Get(tx.Key(blank(n))); ok {
				return tx.Update(varied(r, old, 10))
			}
			return tx.Create(fresh(r, n, 10))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	const pod, service = 0, 1
	put(pod)
	put(service)
	from := s.Snapshot().Revision()
	services := store.Query{Kind: Kinds().Of(&corev1.Service{}).GroupKind()}
	quiet, err := s.Since(from, services)
	if err != nil {
		t.Fatal(err)
	}
	for range 300 {
		put(pod)
	}
	for _, q := range []store.Query{{}, {Kind: Kinds().Of(&corev1.Pod{}).GroupKind()}} {
		for _, err := range store.Watch(t.Context(), s, from, q) {
			if !errors.Is(err, store.ErrCompacted) {
				t.Errorf("slow: %v", err)
			}
		}
	}
	select {
	case <-quiet.More:
		t.Error("who waits for services is woken by pods")
	default:
	}
	put(service)
	<-quiet.More
	b, err := s.Since(quiet.Upto, services)
	if err != nil || len(b.Deltas) != 1 || len(b.Deltas[0].Changes) != 1 {
		t.Errorf("quiet: %d deltas, %v", len(b.Deltas), err)
	}
	if b, err := s.Since(0, store.Query{Kind: Kinds().Of(&corev1.ConfigMap{}).GroupKind()}); err != nil || len(b.Deltas) > 0 {
		t.Errorf("a kind of which there is nothing: %d deltas, %v", len(b.Deltas), err)
	}
	if _, err := s.Since(s.Snapshot().Revision()+1, store.Query{}); !errors.Is(err, store.ErrFuture) {
		t.Errorf("ahead: %v", err)
	}
}

func heardIsSeen(t *testing.T, place func() store.Backend) {
	r, s := Rand(t), open(t, place(), 0)
	defer closeStore(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for d, err := range store.Watch(ctx, s, 0, store.Query{}) {
				if err != nil {
					return
				}
				now := s.Snapshot()
				for _, c := range d.Changes {
					o, ok := now.Get(now.Key(c.Object()))
					if seen := ok && store.RevisionOf(o) >= c.Revision; !seen && (c.New != nil && now.Revision() == d.Revision || now.Revision() < d.Revision) {
						t.Errorf("%s of %d is not in the snapshot of %d", now.Key(c.Object()), c.Revision, now.Revision())
					}
				}
			}
		})
	}
	for range 200 {
		if _, err := s.Update(t.Context(), "a test", func(tx *store.Tx) error { scramble(r, tx, 20); return nil }); err != nil {
			t.Error(err)
		}
	}
	cancel()
	wg.Wait()
}
