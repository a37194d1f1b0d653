package usage

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestWhatIsUsedIsTheDifferenceOfTwoReadings(t *testing.T) {
	old, young, unknown := runtime.ID{Name: "old"}, runtime.ID{Name: "young"}, runtime.ID{Name: "unknown"}
	from := Reading{At: noon, Node: Counted{CPU: time.Hour, Memory: 7}, Containers: map[runtime.ID]Counted{
		old: {Since: noon.Add(-time.Hour), CPU: time.Minute, Memory: 1}, {Name: "gone"}: {CPU: time.Second},
	}}
	to := Reading{At: noon.Add(10 * time.Second), Node: Counted{CPU: time.Hour + 15*time.Second, Memory: 8}, Containers: map[runtime.ID]Counted{
		old: {Since: noon.Add(-time.Hour), CPU: time.Minute + 5*time.Second, Memory: 2}, young: {Since: noon.Add(8 * time.Second), CPU: time.Second, Memory: 3}, unknown: {CPU: time.Hour},
	}}
	want := Measurement{At: to.At, Node: Used{Cores: 1.5, Memory: 8, Window: 10 * time.Second, CPU: time.Hour + 15*time.Second}, Containers: map[runtime.ID]Used{
		old: {Cores: 0.5, Memory: 2, Window: 10 * time.Second, CPU: time.Minute + 5*time.Second}, young: {Cores: 0.5, Memory: 3, Window: 2 * time.Second, CPU: time.Second},
	}}
	if d := cmp.Diff(want, Rates(from, to)); d != "" {
		t.Error(d)
	}
}

func TestTheMachinesNumbersAreRead(t *testing.T) {
	cpu, err := busy("cpu  100 20 30 5000 600 7 8 900 10 11\ncpu0 1 2 3\n")
	if err != nil || cpu != 165*tick {
		t.Errorf("busy for %s (%v), want %s", cpu, err, 165*tick)
	}
	for _, bad := range []string{"", "cpu 1 2", "intr 1 2 3 4 5 6 7 8", "cpu a b c d e f g h"} {
		if _, err := busy(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if got := workingSet("MemTotal:  1000 kB\nMemFree:   300 kB\nInactive(file): 200 kB\nHugePages_Total: 0\n"); got != 500<<10 {
		t.Errorf("the working set is %d, want %d", got, 500<<10)
	}
}

// none is a runtime with nothing in it. It counts how often it is looked at.
type none struct{ looks int }

func (n *none) Sandboxes(context.Context) ([]runtime.Sandbox, error) {
	n.looks++
	return nil, nil
}

func TestNobodyIsMeasuredWhileNobodyAsks(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"stat": "cpu  1 0 0 0 0 0 0 0\n", "meminfo": "MemTotal: 1 kB\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var n none
		m := &Meter{Runtime: &n, Proc: dir, Now: time.Now}
		for _, row := range []struct {
			name          string
			after, window time.Duration
			looks         int
		}{
			{"the first time takes a second", 0, time.Second, 2},
			{"at once again is the same", 4 * time.Second, time.Second, 2},
			{"a little later is since then", 4 * time.Second, 8 * time.Second, 3},
			{"after a long time it begins anew", time.Hour, time.Second, 5},
		} {
			time.Sleep(row.after)
			got, err := m.Measure(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got.Node.Window != row.window || n.looks != row.looks {
				t.Errorf("%s: over %s after %d looks, want %s after %d", row.name, got.Node.Window, n.looks, row.window, row.looks)
			}
		}
	})
}
