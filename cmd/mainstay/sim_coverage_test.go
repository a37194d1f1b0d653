package main

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/dataplane/hostport"
	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A simSeen counts what stories have come by.
type simSeen map[string]int

func (s simSeen) add(other simSeen) {
	for what, n := range other {
		s[what] += n
	}
}

// allControllers are those of the daemon, to be counted and not to be run.
func allControllers(t testing.TB) []control.Controller {
	return controllers(scheme.New(scheme.Options{}), nil, time.Time{}, netip.Prefix{}, netip.AddrPort{}, simKeys(t))
}

// misses says what of the cluster no story has come by: controllers that wrote nothing, and calls that were made and never
// failed.
func (s simSeen) misses(t testing.TB) (all []string) {
	for _, c := range allControllers(t) {
		if s["plan of "+c.Name()] == 0 {
			all = append(all, "no plan of the controller "+c.Name()+" wrote anything")
		}
	}
	for what := range s {
		if call, ok := strings.CutPrefix(what, "call of "); ok && s["failure of "+call] == 0 {
			all = append(all, call+" never failed")
		}
	}
	for _, what := range []string{"death", "call of a table", "call of SetHostPorts", "refused append", "stopped append"} {
		if s[what] == 0 {
			all = append(all, "there was no "+what)
		}
	}
	slices.Sort(all)
	return all
}

// witnessed has a controller's plans counted.
func (w *sim) witnessed(all []control.Controller) []control.Controller {
	for i, c := range all {
		seen := simWitness{c, w}
		if s, ok := c.(control.Starter); ok {
			all[i] = simStarter{seen, s}
		} else {
			all[i] = seen
		}
	}
	return all
}

type simWitness struct {
	control.Controller
	sim *sim
}

func (s simWitness) Plan(w control.World, key store.Key) (control.Plan, error) {
	p, err := s.Controller.Plan(w, key)
	if len(p.Writes) > 0 {
		s.sim.seen["plan of "+s.Name()]++
	}
	return p, err
}

type simStarter struct {
	simWitness
	starter control.Starter
}

func (s simStarter) FirstKey() store.Key { return s.starter.FirstKey() }

// simPorts are the machine's ports: what leads them outlives the daemon. Now and then some process has one.
type simPorts struct {
	sim  *sim
	rows []hostport.Row
}

func (p *simPorts) HostPorts(context.Context) ([]hostport.Row, error) {
	if !p.sim.pause() {
		return nil, errDead
	}
	if p.sim.fails("HostPorts") {
		return nil, errLuck
	}
	return slices.Clone(p.rows), nil
}

func (p *simPorts) SetHostPorts(_ context.Context, rows []hostport.Row) error {
	if !p.sim.pause() {
		return errDead
	}
	failed := p.sim.fails("SetHostPorts")
	if !failed || p.sim.rng.IntN(2) == 0 {
		p.rows = slices.Clone(rows)
	}
	if failed {
		return errLuck
	}
	return nil
}

func (p *simPorts) Listener(f service.Frontend) (netip.AddrPort, bool, error) {
	return f.AddrPort, p.sim.chance(), nil
}

// fails tells whether a call fails, and counts both.
func (w *sim) fails(call string) bool {
	w.seen["call of "+call]++
	if !w.chance() {
		return false
	}
	w.seen["failure of "+call]++
	return true
}

func TestWhatNoStoryComesByIsNamed(t *testing.T) {
	s := simSeen{"call of Create": 1}
	for _, c := range allControllers(t)[1:] {
		s["plan of "+c.Name()] = 1
	}
	missed := s.misses(t)
	for _, want := range []string{"Create never failed", "no plan of the controller " + allControllers(t)[0].Name() + " wrote anything", "there was no death"} {
		if !slices.Contains(missed, want) {
			t.Errorf("%q is not among %q", want, missed)
		}
	}
}
