package target_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/dataplane/target"
	"github.com/mainstay-gitops/mainstay/dataplane/target/targettest"
)

type key int

func (k key) Compare(o key) int { return cmp.Compare(k, o) }

type (
	entry = target.Entry[key, string]
	step  = target.Step[key, string]
	table = target.Target[key, string]
)

func TestAMapIsATarget(t *testing.T) {
	targettest.Run(t, func(*testing.T) table { return target.NewMemory[key, string]() },
		func(n int) key { return key(n) }, func(n int) string { return fmt.Sprint(n) })
}

func TestATargetThatNeverFailsIsATarget(t *testing.T) {
	never := func() (error, error) { return nil, nil }
	targettest.Run(t, func(*testing.T) table {
		return target.Faulty[key, string]{Target: target.NewMemory[key, string](), Fail: never}
	},
		func(n int) key { return key(n) }, func(n int) string { return fmt.Sprint(n) })
}

func TestPlan(t *testing.T) {
	for _, row := range []struct{ says, have, want, plan string }{
		{"nothing and nothing is nothing", "", "", ""},
		{"what is wanted is put, in order", "", "1a 2b", "+1a +2b"},
		{"what is there is not put again", "1a 2b", "1a 2b", ""},
		{"another value is put over the old one", "1a 2b", "1a 2c", "+2c"},
		{"puts come before deletes", "1a 2b", "2b 3c", "+3c -1a"},
		{"what nobody wants is deleted", "1a 2b 3c", "", "-1a -2b -3c"},
	} {
		t.Run(row.says, func(t *testing.T) {
			if got := show(target.Plan(parse(row.have), parse(row.want))); got != row.plan {
				t.Errorf("from %q to %q: %q, want %q", row.have, row.want, got, row.plan)
			}
		})
	}
}

func TestAPlanCarriedOutWithFaultsAndAgainUntilItSucceedsLeavesNothingToPlan(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	broken := errors.New("broken")
	for range 200 {
		memory := target.NewMemory[key, string]()
		faulty := target.Faulty[key, string]{Target: memory, Fail: func() (before, after error) {
			switch rng.IntN(6) {
			case 0:
				return broken, nil
			case 1:
				return nil, broken
			}
			return nil, nil
		}}
		if err := target.Sync(t.Context(), memory, rows(rng)); err != nil {
			t.Fatal(err)
		}
		want := rows(rng)
		for target.Sync(t.Context(), faulty, want) != nil {
		}
		have, err := target.Read(t.Context(), memory)
		if err != nil {
			t.Fatal(err)
		}
		if left := target.Plan(have, want); len(left) > 0 {
			t.Fatalf("left to do: %s", show(left))
		}
	}
}

func TestAStepThatFailsStopsThePlan(t *testing.T) {
	broken := errors.New("broken")
	memory := target.NewMemory[key, string]()
	if err := memory.Put(t.Context(), 1, "a"); err != nil {
		t.Fatal(err)
	}
	faulty := target.Faulty[key, string]{Target: memory, Fail: func() (error, error) { return broken, nil }}
	err := target.Sync(t.Context(), faulty, parse("2b"))
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "put 2") {
		t.Errorf("%v: want the cause and the row", err)
	}
	if have, _ := target.Read(t.Context(), table(memory)); len(have) != 1 || have[0] != (entry{1, "a"}) {
		t.Errorf("the delete was carried out although the put had failed: %v", have)
	}
}

func TestNothingIsWrittenAfterTheContextEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	memory := target.NewMemory[key, string]()
	if err := target.Execute(ctx, table(memory), []step{{Entry: entry{1, "a"}}}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	if have, _ := memory.All(t.Context()); len(have) > 0 {
		t.Errorf("written: %v", have)
	}
}

func rows(rng *rand.Rand) []entry {
	var es []entry
	for k := range 12 {
		if rng.IntN(2) == 0 {
			es = append(es, entry{key(k), string(rune('a' + rng.IntN(3)))})
		}
	}
	return es
}

// parse reads rows such as "1a 2b".
func parse(s string) (rows []entry) {
	for _, f := range strings.Fields(s) {
		rows = append(rows, entry{key(f[0] - '0'), f[1:]})
	}
	return rows
}

// show prints steps such as "+1a -2b".
func show(steps []step) string {
	var words []string
	for _, s := range steps {
		sign := "+"
		if s.Delete {
			sign = "-"
		}
		words = append(words, fmt.Sprintf("%s%d%s", sign, s.Key, s.Value))
	}
	return strings.Join(words, " ")
}
