package disk

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/storetest"
)

// rounds is how often a child is killed: more with ROUNDS in the environment.
func rounds(t *testing.T, n int) int {
	if text := os.Getenv("ROUNDS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal("ROUNDS:", err)
		}
	}
	return n
}

func TestKilledAtAnyMomentNothingIsLostOrHalfApplied(t *testing.T) {
	killLoop(t, "write", mixed, rounds(t, 60), opened, 200*time.Millisecond)
}

func TestKilledWhileWritingTenThousandObjectsNothingIsLostOrHalfApplied(t *testing.T) {
	killLoop(t, "write large", large, rounds(t, 60)/10, acknowledged, 1500*time.Millisecond)
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

func killLoop(t *testing.T, does string, next nextGroup, rounds int, after moment, longest time.Duration) {
	dir, m, r, seen := t.TempDir(), storetest.NewModel(), storetest.Rand(t), counts{}
	seed := r.Uint64()
	groups, beyond := 0, 0
	for round := range rounds {
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
		if err := verify(dir, seed, next, m, done.acked, seen); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if m.Revision > done.acked && done.acked > 0 {
			beyond++
		}
	}
	t.Logf("%d rounds, %d groups, %d revisions: 0 lost, 0 half-applied (more there than acknowledged %d times, %v)",
		rounds, groups, m.Revision, beyond, seen)
	if groups == 0 {
		t.Error("no child wrote anything")
	}
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
		return fmt.Errorf("lost: it ends at %d, %d was acknowledged", m.Revision, acked)
	}
	got, err := storetest.Loaded(b)
	if err != nil {
		return err
	}
	if diff := m.DiffModel(got); diff != "" {
		return fmt.Errorf("lost or half-applied: %s", diff)
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
		return fmt.Errorf("half-applied: it ends at %d, in the middle of the group that ends at %d", revision, m.Revision)
	}
	return nil
}
