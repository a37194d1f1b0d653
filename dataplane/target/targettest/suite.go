// Package targettest is the suite that every target.Target passes.
package targettest

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/dataplane/target"
)

// Run checks that what open returns, empty tables, keep the contract of target.Target. key and value make rows: key(n) and
// value(n) differ for different n below 64.
func Run[K target.Key[K], V comparable](t *testing.T, open func(*testing.T) target.Target[K, V], key func(int) K, value func(int) V) {
	row := func(k, v int) target.Entry[K, V] { return target.Entry[K, V]{Key: key(k), Value: value(v)} }

	t.Run("an empty table holds nothing", func(t *testing.T) {
		same(t, open(t))
	})
	t.Run("what is put is there, once, with its last value", func(t *testing.T) {
		table := open(t)
		put(t, table, row(1, 1), row(2, 2), row(1, 3))
		same(t, table, row(1, 3), row(2, 2))
	})
	t.Run("what is deleted is gone, and may be deleted again", func(t *testing.T) {
		table := open(t)
		put(t, table, row(1, 1), row(2, 2))
		for range 2 {
			if err := table.Delete(t.Context(), key(1)); err != nil {
				t.Fatal(err)
			}
		}
		same(t, table, row(2, 2))
	})
	t.Run("sync makes it hold what is wanted and nothing else", func(t *testing.T) {
		table := open(t)
		put(t, table, row(1, 1), row(2, 2), row(3, 3))
		want := []target.Entry[K, V]{row(2, 2), row(3, 4), row(5, 5)}
		target.Sort(want)
		if err := target.Sync(t.Context(), table, want); err != nil {
			t.Fatal(err)
		}
		same(t, table, want...)
	})
	t.Run("it agrees with a map after random writes", func(t *testing.T) {
		random(t, open(t), key, value)
	})
	t.Run("it may be read while it is written", func(t *testing.T) {
		table := open(t)
		put(t, table, row(1, 1))
		stop, done := make(chan struct{}), make(chan error)
		go func() {
			done <- churn(t.Context(), table, stop, func(n int) target.Entry[K, V] { return row(2+n%60, n%64) })
		}()
		for range 50 {
			rows, err := target.Read(t.Context(), table)
			if err != nil {
				t.Fatal(err)
			}
			if n := count(rows, key(1)); n != 1 {
				t.Errorf("a row that nobody wrote was read %d times", n)
			}
		}
		close(stop)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func random[K target.Key[K], V comparable](t *testing.T, table target.Target[K, V], key func(int) K, value func(int) V) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	model := map[K]V{}
	for range 500 {
		k, v := key(rng.IntN(40)), value(rng.IntN(64))
		if rng.IntN(3) == 0 {
			delete(model, k)
			if err := table.Delete(t.Context(), k); err != nil {
				t.Fatal(err)
			}
			continue
		}
		model[k] = v
		if err := table.Put(t.Context(), k, v); err != nil {
			t.Fatal(err)
		}
	}
	var want []target.Entry[K, V]
	for k, v := range model {
		want = append(want, target.Entry[K, V]{Key: k, Value: v})
	}
	same(t, table, want...)
}

func churn[K target.Key[K], V comparable](ctx context.Context, table target.Target[K, V], stop <-chan struct{}, row func(int) target.Entry[K, V]) error {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		r := row(n)
		if err := table.Put(ctx, r.Key, r.Value); err != nil {
			return err
		}
		if err := table.Delete(ctx, row(n/2).Key); err != nil {
			return err
		}
	}
}

func put[K target.Key[K], V comparable](t *testing.T, table target.Target[K, V], rows ...target.Entry[K, V]) {
	t.Helper()
	for _, r := range rows {
		if err := table.Put(t.Context(), r.Key, r.Value); err != nil {
			t.Fatal(err)
		}
	}
}

func same[K target.Key[K], V comparable](t *testing.T, table target.Target[K, V], want ...target.Entry[K, V]) {
	t.Helper()
	have, err := target.Read(t.Context(), table)
	if err != nil {
		t.Fatal(err)
	}
	target.Sort(want)
	if len(have) == 0 && len(want) == 0 {
		return
	}
	if d := cmp.Diff(want, have, cmp.Comparer(func(a, b target.Entry[K, V]) bool { return a == b })); d != "" {
		t.Errorf("the table differs (-want +have):\n%s", d)
	}
}

func count[K target.Key[K], V comparable](rows []target.Entry[K, V], k K) (n int) {
	for _, r := range rows {
		if r.Key == k {
			n++
		}
	}
	return n
}
