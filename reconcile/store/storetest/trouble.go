package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// transfers moves money between accounts in many goroutines, some of which fail for want of room; nobody ever sees another
// sum.
func transfers(t *testing.T, place func() store.Backend) {
	r, b := Rand(t), &Faulty{Backend: place()}
	s := open(t, b, 0)
	defer closeStore(t, s)
	const accounts, each = 16, 100
	_, err := s.Update(t.Context(), "a test", func(tx *store.Tx) error {
		for i := range accounts {
			if err := tx.Create(account(i, each)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var appends atomic.Int64
	b.Before(func([]store.Delta) error {
		if appends.Add(1)%7 == 0 {
			return store.ErrNoRoom
		}
		return nil
	})
	var wg sync.WaitGroup
	for range 8 {
		seed := r.Uint64()
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			for range 50 {
				from, to, n := r.IntN(accounts), r.IntN(accounts), r.IntN(20)
				_, err := s.Update(t.Context(), "a transfer", func(tx *store.Tx) error { return transfer(tx, from, to, n) })
				if err != nil && !errors.Is(err, store.ErrNoRoom) && !errors.Is(err, errPoor) {
					t.Error(err)
				}
				if got := total(s.Snapshot()); got != accounts*each {
					t.Errorf("the sum is %d", got)
				}
			}
		})
	}
	wg.Wait()
}

var errPoor = errors.New("not enough money")

func account(i, money int) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "bank", Name: strconv.Itoa(i)}, Data: map[string]string{"money": strconv.Itoa(money)},
	}
}

func transfer(tx *store.Tx, from, to, n int) error {
	if err := pay(tx, to, n); err != nil {
		return err
	}
	return pay(tx, from, -n)
}

func pay(tx *store.Tx, i, n int) error {
	a, _ := store.Get[*corev1.ConfigMap](tx.Snapshot, "bank", strconv.Itoa(i))
	has, err := strconv.Atoi(a.Data["money"])
	if err != nil {
		return err
	}
	if has+n < 0 {
		return errPoor
	}
	return tx.Update(account(i, has+n))
}

func total(s *store.Snapshot) (sum int) {
	for a := range store.List[*corev1.ConfigMap](s) {
		n, _ := strconv.Atoi(a.Data["money"])
		sum += n
	}
	return sum
}

func noRoom(t *testing.T, place func() store.Backend) {
	refused(t, place, fmt.Errorf("append: %w", store.ErrNoRoom))
}

func unstorable(t *testing.T, place func() store.Backend) {
	refused(t, place, fmt.Errorf("append: %w", store.ErrUnstorable))
}

// refused has appends fail with why, then work again.
func refused(t *testing.T, place func() store.Backend, why error) {
	r, m, b := Rand(t), NewModel(), &Faulty{Backend: place()}
	s := open(t, b, 0)
	change(t, r, s, m, 20, 40)
	for range 5 {
		b.Before(func([]store.Delta) error { return why })
		failTogether(t, r, s, why)
		if diff := m.DiffSnapshot(s.Snapshot()); diff != "" {
			t.Fatal(diff)
		}
		b.Before(nil)
		change(t, r, s, m, 3, 40)
	}
	closeStore(t, s)
	s = open(t, place(), 0)
	defer closeStore(t, s)
	if diff := m.DiffSnapshot(s.Snapshot()); diff != "" {
		t.Fatal(diff)
	}
}

// failTogether has several writers fail with why.
func failTogether(t *testing.T, r *rand.Rand, s *store.Memory, why error) {
	var wg sync.WaitGroup
	for i := range 6 {
		o := fresh(r, 1000+i, 10)
		wg.Go(func() {
			_, err := s.Update(t.Context(), "a test", func(tx *store.Tx) error { return tx.Create(o) })
			if !errors.Is(err, why) {
				t.Errorf("%v, not %v", err, why)
			}
		})
	}
	wg.Wait()
}

func stops(t *testing.T, place func() store.Backend) {
	r, m, b := Rand(t), NewModel(), &Faulty{Backend: place()}
	s := open(t, b, 0)
	change(t, r, s, m, 20, 40)
	broken := errors.New("the disk is gone")
	b.After(func([]store.Delta) error { return broken })
	failTogether(t, r, s, broken)
	b.After(nil)
	failTogether(t, r, s, store.ErrStopped)
	if _, err := s.Update(t.Context(), "a test", func(*store.Tx) error { return nil }); !errors.Is(err, store.ErrStopped) {
		t.Error("a transaction without changes:", err)
	}
	if diff := m.DiffSnapshot(s.Snapshot()); diff != "" {
		t.Fatal(diff)
	}
	if _, err := s.Since(0, store.Query{}); err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
