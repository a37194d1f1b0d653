package main

import (
	"strings"
	"testing"
)

func TestAnAimIsMissedByTheMedianOnly(t *testing.T) {
	for _, c := range []struct {
		why    string
		row    row
		missed bool
	}{
		{"without an aim nothing is missed", row{Ours: []float64{9}}, false},
		{"one slow round of three does not count", row{Ours: []float64{1, 99, 2}, Aim: 3}, false},
		{"the median of two is between them", row{Ours: []float64{2, 5}, Aim: 3}, true},
		{"a ratio is of the rounds, not of the medians", row{Ours: []float64{1, 10, 30}, Floor: []float64{1, 10, 10}, AimRatio: 1.1}, false},
		{"a ratio can be missed where the aim is met", row{Ours: []float64{2}, Floor: []float64{1}, Aim: 3, AimRatio: 1.5}, true},
		{"a floor that failed in the last round is no floor of it", row{Ours: []float64{1, 9}, Floor: []float64{1}, AimRatio: 1.1}, false},
	} {
		if got := c.row.missed(); got != c.missed {
			t.Errorf("%s: missed is %v", c.why, got)
		}
	}
}

func TestTheTableShowsWhatWasMeasuredAndWhatFailed(t *testing.T) {
	r := report{
		Host: "a host",
		Rows: []*row{
			{Name: "push", Unit: "ms", Ours: []float64{30, 10, 20}, Floor: []float64{10, 10, 10}, FloorIs: "plain", AimRatio: 1.3},
			{Name: "never measured", Unit: "ms"},
		},
		Failures: []failure{{"ready", "no pod"}},
	}
	var b strings.Builder
	if err := r.write(&b, false); err != nil {
		t.Fatal(err)
	}
	want := `
a host

MEASURE   OURS                       FLOOR                            RATIO   AIM              
push      20.0 ms (10.0-30.0, 3)     10.0 ms (10.0-10.0, 3) plain     2.00x   1.30x (missed)   

FAILED ready: no pod
`
	// How wide the columns are does not matter.
	if got, want := strings.Fields(b.String()), strings.Fields(want); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestAProcessIsKnownByItsCgroup(t *testing.T) {
	n := &node{name: "bench-7-1"}
	for _, c := range []struct{ why, groups, role string }{
		{"the daemon's own, in a hierarchy of version 1", "4:memory:/mainstay-bench-7-1/daemon\n", "daemon"},
		{"containerd and its shims share one", "0::/mainstay-bench-7-1/containerd\n", "containerd"},
		{"that of a container is not counted", "0::/mainstay-bench-7-1/pods/besteffort/x/web\n", ""},
		{"that of another node is not ours", "0::/mainstay-bench-7-10/daemon\n", ""},
	} {
		if got := n.roleIn(c.groups); got != c.role {
			t.Errorf("%s: role is %q", c.why, got)
		}
	}
}

func TestAPushSaysHowLongItTookToApply(t *testing.T) {
	for line, want := range map[string]string{
		"remote: applied in 12ms        ":   "12ms",
		"remote: applied in 3.284s        ": "3.284s",
		"remote: applied in 0s        ":     "0s",
		"remote: healthy in 1.0s        ":   "",
	} {
		got := ""
		if m := appliedLine.FindStringSubmatch(line); m != nil {
			got = m[1]
		}
		if got != want {
			t.Errorf("%q: found %q, want %q", line, got, want)
		}
	}
}
