package disk

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/storetest"
)

// killRounds kills a child at any moment while it writes, lets children repair what is left, and kills some of them too.
func killRounds(t *testing.T, rounds int) verdict {
	return killLoop(t, "write", mixed, rounds, 200*time.Millisecond)
}

// killLarge kills a child while it writes 10,000 objects in a transaction.
func killLarge(t *testing.T, rounds int) verdict {
	return killLoop(t, "write large", large, rounds, 1500*time.Millisecond)
}

// counts counts what happens, by what the log says.
type counts map[string]int

func (counts) Enabled(context.Context, slog.Level) bool { return true }
func (c counts) WithAttrs([]slog.Attr) slog.Handler     { return c }
func (c counts) WithGroup(string) slog.Handler          { return c }
func (c counts) Handle(_ context.Context, r slog.Record) error {
	c.add(r.Message)
	return nil
}

func (c counts) add(message string) {
	for _, word := range []string{"finished", "removed", "removing"} {
		if strings.HasPrefix(message, word) {
			c[word]++
			return
		}
	}
	c["other: "+message]++
}

func killLoop(t *testing.T, does string, next nextGroup, rounds int, longest time.Duration) (v verdict) {
	dir, m, r, seen := t.TempDir(), storetest.NewModel(), storetest.Rand(t), counts{}
	seed := r.Uint64()
	groups, beyond := 0, 0
	for round := range rounds {
		after := acknowledged
		if round%4 == 1 {
			after = opened
		}
		done, err := killed(does, dir, seed, after, rand.N(longest))
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		groups += done.groups
		for _, message := range done.log {
			seen.add(message)
		}
		if round%4 == 3 && round < rounds-1 { // let a child repair it, and be killed while it does
			again, err := killed(does, dir, seed, started, longest/20+rand.N(longest/2))
			if err != nil {
				t.Fatalf("round %d, at once again: %v", round, err)
			}
			done.acked = max(done.acked, again.acked)
		}
		if v.judge(t, verify(dir, seed, next, m, done.acked, seen)); !v.clean() {
			return v // the model does not follow what came after
		}
		if m.Revision > done.acked && done.acked > 0 {
			beyond++
		}
	}
	if groups == 0 {
		t.Error("no child wrote anything")
	}
	v.note("%d groups, %d revisions", groups, m.Revision)
	v.note("%d times more there than acknowledged", beyond)
	v.note("%d finished, %d swept, %d empty files removed", seen["finished"], seen["removed"], seen["removing"])
	return v
}

// verify opens dir and compares it with m, moved on to the group that dir ends with.
func verify(dir string, seed uint64, next nextGroup, m *storetest.Model, acked store.Revision, seen counts) (err error) {
	b, err := Open(dir, newCodec(), Options{Log: slog.New(seen)})
	if err != nil {
		return err
	}
	defer func() {
		if e := b.Close(); err == nil {
			err = e
		}
	}()
	if err := advance(seed, next, m, b.state.revision); err != nil {
		return err
	}
	if m.Revision < acked {
		return fmt.Errorf("%w: it ends at %d, %d was acknowledged", errLost, m.Revision, acked)
	}
	got, err := storetest.Loaded(b)
	if err != nil {
		return err
	}
	if diff := m.DiffModel(got); diff != "" {
		return fmt.Errorf("%w: %s", errHalf, diff)
	}
	return nil
}

// advance moves m on to revision, group by group.
func advance(seed uint64, next nextGroup, m *storetest.Model, revision store.Revision) error {
	for m.Revision < revision {
		for _, d := range next(seed, m) {
			if err := m.Apply(d); err != nil {
				return err
			}
		}
	}
	if m.Revision != revision {
		return fmt.Errorf("%w: it ends at %d, in the middle of the group that ends at %d", errHalf, revision, m.Revision)
	}
	return nil
}
