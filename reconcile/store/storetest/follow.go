package storetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

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

// listen follows s until stop has been reached.
func (l *listener) listen(ctx context.Context, s store.Reader, stop <-chan store.Revision) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	last := l.from
	go func() { // all is written: who has seen its last need not wait for more
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	for d, err := range store.Watch(ctx, s, l.from, l.q) {
		if errors.Is(err, context.Canceled) {
			return l.rest(s, last)
		}
		if err != nil {
			return err
		}
		if len(d.Changes) == 0 || d.Revision <= last || d.Revision > s.Snapshot().Revision() {
			return errors.New("a delta is empty, out of order, or heard of before it can be seen")
		}
		last = d.Revision
		l.seen = append(l.seen, d.Changes...)
	}
	return errors.New("the watch ended without an error")
}

// rest reads what is left without waiting.
func (l *listener) rest(s store.Reader, last store.Revision) error {
	for {
		b, err := s.Since(last, l.q)
		if err != nil {
			return err
		}
		for _, d := range b.Deltas {
			l.seen = append(l.seen, d.Changes...)
		}
		if last = b.Upto; b.More != nil {
			return nil
		}
	}
}

func watchers(t *testing.T, place func() store.Backend) {
	r, s := Rand(t), open(t, place(), 100_000)
	defer closeStore(t, s)
	kinds := append(slices.Collect(kindsOf()), schema.GroupKind{}, schema.GroupKind{})
	stop := make(chan store.Revision)
	var writers, readers sync.WaitGroup
	var ls []*listener
	listen := func() {
		l := &listener{from: store.Revision(r.Uint64N(uint64(s.Snapshot().Revision()) + 1)), q: store.Query{Kind: kinds[r.IntN(len(kinds))]}}
		if r.IntN(3) == 0 {
			l.q.Namespace = namespace(r)
		}
		ls = append(ls, l)
		readers.Go(func() {
			if err := l.listen(t.Context(), s, stop); err != nil {
				t.Error(err)
			}
		})
	}
	for range 20 {
		listen()
		for range 4 {
			seed := r.Uint64()
			writers.Go(func() {
				r := rand.New(rand.NewPCG(seed, 0))
				for range 8 {
					if _, err := s.Update(t.Context(), "a test", func(tx *store.Tx) error { scramble(r, tx, 60); return nil }); err != nil {
						t.Error(err)
					}
				}
			})
		}
		listen()
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	all := &listener{}
	if err := all.rest(s, 0); err != nil {
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

func slowAndQuiet(t *testing.T, place func() store.Backend) {
	r, s := Rand(t), open(t, place(), 100)
	defer closeStore(t, s)
	write := func(n int) {
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
	const pod, service, configMap = 0, 1, 4
	write(pod)
	write(service)
	from := s.Snapshot().Revision()
	services := store.Query{Kind: Kinds().Of(&corev1.Service{}).GroupKind()}
	quiet, err := s.Since(from, services)
	if err != nil {
		t.Fatal(err)
	}
	for range 300 {
		write(pod)
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
	write(service)
	<-quiet.More
	b, err := s.Since(quiet.Upto, services)
	if err != nil || len(b.Deltas) != 1 || len(b.Deltas[0].Changes) != 1 {
		t.Errorf("quiet: %d deltas, %v", len(b.Deltas), err)
	}
	if b, err := s.Since(0, store.Query{Kind: Kinds().Of(&corev1.ConfigMap{}).GroupKind()}); err != nil || b.More == nil {
		t.Errorf("a kind of which there is nothing: %v", err)
	}
	if _, err := s.Since(s.Snapshot().Revision()+1, store.Query{}); !errors.Is(err, store.ErrFuture) {
		t.Errorf("ahead: %v", err)
	}
	write(configMap)
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
