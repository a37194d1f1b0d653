package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/storetest"
)

func TestAKeyPrintsAsPeopleNameTheObject(t *testing.T) {
	for want, k := range map[string]store.Key{
		"Deployment hello/web": {Kind: schema.GroupKind{Group: "apps", Kind: "Deployment"}, Namespace: "hello", Name: "web"},
		"Node mine":            {Kind: schema.GroupKind{Kind: "Node"}, Name: "mine"},
	} {
		if k.String() != want {
			t.Errorf("%q, not %q", k, want)
		}
	}
}

func TestARevisionIsANumber(t *testing.T) {
	for text, want := range map[string]store.Revision{"": 0, "0": 0, "18446744073709551615": 1<<64 - 1} {
		if r, err := store.ParseRevision(text); err != nil || r != want {
			t.Errorf("%q is %d, %v", text, r, err)
		}
	}
	for _, text := range []string{"-1", "1a", " 1", "18446744073709551616"} {
		if r, err := store.ParseRevision(text); err == nil {
			t.Errorf("%q is %d", text, r)
		}
	}
}

func openWith(t *testing.T, b store.Backend) *store.Memory {
	t.Helper()
	s, err := store.Open(b, storetest.Kinds(), store.Options{Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func create(t *testing.T, s store.Store, os ...store.Object) {
	t.Helper()
	_, err := s.Update(t.Context(), "a test", func(tx *store.Tx) error {
		for _, o := range os {
			if err := tx.Create(o); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func named(namespace, name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func TestAListCanBeReadInPages(t *testing.T) {
	s := openWith(t, volatile(t)())
	for _, name := range []string{"a", "b", "c"} {
		create(t, s, named("one", name), named("two", name))
	}
	now := s.Snapshot()
	var got []string
	for o := range now.From(store.Key{Kind: now.Key(named("", "")).Kind, Namespace: "one", Name: "bb"}) {
		got = append(got, o.GetNamespace()+"/"+o.GetName())
	}
	if diff := cmp.Diff([]string{"one/c", "two/a", "two/b", "two/c"}, got); diff != "" {
		t.Error(diff)
	}
	if n := now.Len(now.Key(named("", "")).Kind); n != 6 {
		t.Errorf("there are %d", n)
	}
	if got := slices.Collect(store.List[*corev1.ConfigMap](now, store.InNamespace("two"))); len(got) != 3 || got[0].Namespace != "two" {
		t.Errorf("in a namespace: %v", got)
	}
}

func TestTheGuardFindsWhoWritesToAStoredObject(t *testing.T) {
	s := openWith(t, volatile(t)())
	create(t, s, named("hello", "web"))
	o, _ := store.Get[*corev1.ConfigMap](s.Snapshot(), "hello", "web")
	o.Data = map[string]string{"a": "mistake"}
	defer func() {
		if r, _ := recover().(string); !strings.Contains(r, "mistake") {
			t.Error(r)
		}
	}()
	_ = s.Close()
}

func TestWhatATransactionRefuses(t *testing.T) {
	s := openWith(t, volatile(t)())
	create(t, s, named("hello", "web"))
	old, _ := store.Get[*corev1.ConfigMap](s.Snapshot(), "hello", "web")
	for what, c := range map[string]struct {
		fn   func(tx *store.Tx) error
		want string
	}{
		"an object without a name": {func(tx *store.Tx) error { return tx.Create(named("hello", "")) },
			"create *v1.ConfigMap: it has no kind or no name"},
		"an object of no kind": {func(tx *store.Tx) error { return tx.Create(&metav1.PartialObjectMetadata{}) },
			"create *v1.PartialObjectMetadata: it has no kind or no name"},
		"what is there": {func(tx *store.Tx) error { return tx.Create(named("hello", "web")) },
			"create ConfigMap hello/web: already exists"},
		"the stored object itself": {func(tx *store.Tx) error { return tx.Update(old) },
			"update ConfigMap hello/web: it is the stored object itself, which may not be edited: DeepCopy it"},
		"an update of what is not there": {func(tx *store.Tx) error { return tx.Update(named("hello", "db")) },
			"update ConfigMap hello/db: not found"},
		"a deletion of what is not there": {func(tx *store.Tx) error { return tx.Delete(tx.Key(named("hello", "db"))) },
			"delete ConfigMap hello/db: not found"},
	} {
		if revision, err := s.Update(t.Context(), "a test", c.fn); err == nil || err.Error() != c.want || revision != 0 {
			t.Errorf("%s: %d, %v", what, revision, err)
		}
	}
}

func TestAnOverlayIsApartFromWhatItIsLaidOver(t *testing.T) {
	s := openWith(t, volatile(t)())
	const many = 200
	for i := range many {
		create(t, s, named("hello", fmt.Sprint("a", i)))
	}
	count := func(s *store.Snapshot) int { return len(slices.Collect(store.List[*corev1.ConfigMap](s))) }
	_, err := s.Update(t.Context(), "a test", func(tx *store.Tx) error {
		for i := range many { // so that what is listed is the transaction's own
			if err := tx.Update(named("hello", fmt.Sprint("a", i))); err != nil {
				return err
			}
		}
		overlay := tx.With(named("hello", "laid"), named("hello", "a1"))
		for i := range many {
			if err := errors.Join(tx.Delete(tx.Key(named("hello", fmt.Sprint("a", i)))), tx.Create(named("hello", fmt.Sprint("b", i)))); err != nil {
				return err
			}
		}
		_, laid := store.Get[*corev1.ConfigMap](tx.Snapshot, "hello", "laid")
		if over, under := count(overlay), count(tx.Snapshot); over != many+1 || under != many || laid {
			t.Errorf("%d over %d", over, under)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// held is a backend whose appends wait for a turn each.
type held struct {
	store.Backend
	turn    chan struct{}
	appends [][]store.Delta
}

func (h *held) Append(ctx context.Context, after store.Revision, ds []store.Delta) error {
	<-h.turn
	h.appends = append(h.appends, ds)
	return h.Backend.Append(ctx, after, ds)
}

func TestTransactionsThatArriveDuringAnAppendAreAppendedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &held{Backend: volatile(t)(), turn: make(chan struct{})}
		s := openWith(t, h)
		var wg sync.WaitGroup
		for _, name := range []string{"a", "b", "c", "d"} {
			wg.Go(func() { create(t, s, named("hello", name)) })
			synctest.Wait()
		}
		for range 2 {
			h.turn <- struct{}{}
			synctest.Wait()
		}
		wg.Wait()
		if len(h.appends) != 2 || len(h.appends[0]) != 1 || len(h.appends[1]) != 3 {
			t.Errorf("%d appends: %v", len(h.appends), h.appends)
		}
	})
}

func TestATransactionWithoutChangesWaitsUntilWhatItSawIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &held{Backend: volatile(t)(), turn: make(chan struct{})}
		s := openWith(t, h)
		var wg sync.WaitGroup
		wg.Go(func() { create(t, s, named("hello", "web")) })
		synctest.Wait()
		saw, done := false, false
		wg.Go(func() {
			revision, err := s.Update(t.Context(), "a look", func(tx *store.Tx) error {
				_, saw = tx.Get(tx.Key(named("hello", "web")))
				return nil
			})
			done = true
			if err != nil || revision != 1 {
				t.Errorf("%d, %v", revision, err)
			}
		})
		synctest.Wait()
		if !saw || done {
			t.Errorf("it saw %v, it returned %v", saw, done)
		}
		if s.Snapshot().Revision() != 0 {
			t.Error("what is not durable is visible")
		}
		h.turn <- struct{}{}
		wg.Wait()
	})
}

func TestClosingWaitsForWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &held{Backend: volatile(t)(), turn: make(chan struct{})}
		s := openWith(t, h)
		var wg sync.WaitGroup
		for _, name := range []string{"a", "b"} {
			wg.Go(func() { create(t, s, named("hello", name)) })
			synctest.Wait()
		}
		wg.Go(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if len(h.appends) != 2 {
				t.Errorf("closed after %d appends", len(h.appends))
			}
		})
		synctest.Wait()
		if _, err := s.Update(t.Context(), "late", func(*store.Tx) error { return nil }); !errors.Is(err, store.ErrStopped) {
			t.Error("a write after closing:", err)
		}
		h.turn <- struct{}{}
		h.turn <- struct{}{}
		wg.Wait()
	})
}

func TestAWatchEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openWith(t, volatile(t)())
		ctx, cancel := context.WithCancel(t.Context())
		var last error
		var wg sync.WaitGroup
		wg.Go(func() {
			for _, err := range store.Watch(ctx, s, 0, store.Query{}) {
				last = err
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
		if !errors.Is(last, context.Canceled) {
			t.Error(last)
		}
	})
}
