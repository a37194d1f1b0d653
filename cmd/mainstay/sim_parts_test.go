package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/dataplane/hostport"
	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/nodes/agent"
	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/reconcile/access/rbac"
	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/network"
	"github.com/mainstay-gitops/mainstay/reconcile/schedule"
	"github.com/mainstay-gitops/mainstay/reconcile/schedule/plugin"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A simPart is one thing of the cluster that takes steps. It may pause in the middle of one.
type simPart struct {
	name  string
	idle  bool
	due   func() (time.Time, bool)
	next  func() (bool, bool)
	stop  func()
	yield func(bool) bool
	until time.Time // while it waits in the middle of a step: for how long at most
	slow  time.Time // it does nothing before: its disk or its core is somebody else's
}

// part makes a part of what takes a step, and says when the next one is due by itself; nil: never.
func (w *sim) part(ctx context.Context, name string, step func() bool, due func() (time.Time, bool)) *simPart {
	p := &simPart{name: name}
	p.due = func() (time.Time, bool) {
		switch {
		case w.now.Before(p.slow):
			return p.slow, true
		case !p.until.IsZero():
			return p.until, true
		case due == nil:
			return time.Time{}, false
		}
		return due()
	}
	p.next, p.stop = iter.Pull(func(yield func(bool) bool) {
		p.yield = yield
		for ctx.Err() == nil && yield(step()) {
		}
	})
	return p
}

// resume lets p go on until it pauses or its step is over. It returns whether it did something.
func (p *simPart) resume(w *sim) bool {
	w.current = p
	busy, _ := p.next()
	w.current = nil
	p.idle = !busy
	return busy
}

// end has p find out that it is dead.
func (p *simPart) end(w *sim) {
	w.current = p
	p.stop()
	w.current = nil
}

// pause lets others go first, sometimes. It returns false if the one that paused is dead by then.
func (w *sim) pause() bool {
	if w.current == nil || w.life == nil || w.rng.IntN(2) == 0 {
		return true
	}
	return w.current.yield(true) && w.life.ctx.Err() == nil
}

// await lets others go first until something may have happened, or the time has come.
func (w *sim) await(until time.Time) bool {
	p := w.current
	p.until = until
	alive := p.yield(false) && w.life.ctx.Err() == nil
	p.until = time.Time{}
	return alive
}

var errDead = fmt.Errorf("the daemon has died: %w", context.Canceled)

// A simLife is all that a daemon has in memory.
type simLife struct {
	sim       *sim
	ctx       context.Context
	kill      context.CancelFunc
	doomed    bool // the store has stopped: there is nothing left but to start again
	rng       *rand.Rand
	store     *store.Memory
	carrier   *control.Carrier
	planned   *store.Snapshot // what the controllers looked at last
	plannedAt time.Time
	busy      bool // the controllers have something to do
	engine    *control.Engine
	scheduler *schedule.Scheduler
	services  *service.Loop
	ports     *hostport.Loop
	failed    time.Time // when a write to the tables last did
	agent     *agent.Agent
	followed  store.Revision // by the agent
	retry     time.Time      // when the commit that was refused is tried again
	parts     []*simPart
}

// begin starts a daemon on what is kept.
func (w *sim) begin() {
	l := &simLife{sim: w, rng: rand.New(rand.NewPCG(w.rng.Uint64(), w.rng.Uint64())), carrier: control.NewCarrier(w.scheme)}
	l.ctx, l.kill = context.WithCancel(context.Background())
	w.life = l
	var err error
	keep := []int{0, 0, 5}[w.rng.IntN(3)] // with few of them, who is slow must begin anew
	l.store, err = store.Open(w.ledger, w.scheme.Stored, store.Options{Indexes: []store.Index{apply.Index(), network.Index(), rbac.Index()}, Keep: keep, Guard: w.guard})
	w.must(err)
	opts := control.Options{Now: w.clock, Rand: l.rng}
	l.engine = control.NewEngine(simPlanner{simStore{l.store, w}, l}, l.carrier, opts,
		w.witnessed(controllers(w.scheme, simUsage{w}, w.clock(), simServices, netip.MustParseAddrPort("10.244.0.1:6443"), simKeys(w.t)))...)
	l.scheduler = schedule.New(simStore{l.store, w}, l.carrier, plugin.Default(), opts)
	l.services, err = service.New(l.ctx, service.Config{Store: l.store, Node: simNode, Tables: w.faultyTables(), Grace: w.grace, Now: w.clock})
	w.must(err)
	l.ports = hostport.New(hostport.Config{Store: l.store, Node: simNode, Machine: w.ports, Now: w.clock})
	l.newAgent()
	step := func(f func(context.Context) bool) func() bool { return func() bool { return f(l.ctx) } }
	l.parts = []*simPart{
		w.part(l.ctx, "controllers", l.plan, l.engine.Next),
		w.part(l.ctx, "scheduler", step(l.scheduler.Step), l.scheduler.Next),
		w.part(l.ctx, "agent", step(l.agent.Step), l.agent.Next),
		w.part(l.ctx, "agent's ear", l.follow, nil),
		w.part(l.ctx, "services", step(l.services.Step), l.servicesDue),
		w.part(l.ctx, "reaper", step(l.services.Reap), l.servicesDue),
		w.part(l.ctx, "host ports", step(l.ports.Step), l.ports.Next),
		w.part(l.ctx, "delivery", l.deliver, l.deliveryDue),
		w.part(l.ctx, "holder", l.letGo, nil),
	}
	w.check.begin()
	w.rouse()
}

func (w *sim) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (l *simLife) plan() bool {
	l.busy = true
	did := l.engine.Step(l.ctx)
	if !did {
		l.busy = false
		clear(l.sim.check.resized)
	}
	return did
}

// servicesDue looks now and then whether what failed is tried again: the loop does not say when it will.
func (l *simLife) servicesDue() (time.Time, bool) {
	now := l.sim.now
	return now.Add(50 * time.Millisecond), !l.failed.IsZero() && now.Before(l.failed.Add(15*time.Second))
}

func (l *simLife) newAgent() {
	w := l.sim
	puller := image.NewPuller(w.images, 3)
	puller.Now = w.clock
	a, err := agent.New(agent.Config{
		Tokens: simTokens{w},
		Node:   agent.Node{Name: simNode, Address: netip.MustParseAddr("192.0.2.1"), Resolv: "/nowhere", PodRange: simPods.String()},
		Reader: l.store, Writer: simWriter{&agent.Local{Store: simStore{l.store, w}, Now: w.clock, UID: func() types.UID { return control.UID(l.rng) }}},
		Runtime: w.fake, Network: w.net, Images: puller, Volumes: w.volumes, Starts: 2, Now: w.clock,
	})
	w.must(err)
	l.agent = a
	w.fake.Notify = a.Wake
	l.followed = l.store.Snapshot().Revision()
	w.must(a.Begin(l.ctx))
}

// follow tells the agent of one thing that happened in the store.
func (l *simLife) follow() bool {
	b, err := l.store.Since(l.followed, store.Query{})
	if errors.Is(err, store.ErrCompacted) {
		l.sim.lost++
		l.followed = l.store.Snapshot().Revision()
		l.sim.must(l.agent.Begin(l.ctx)) // Run would only look at all pods again, which is less
		return true
	}
	l.sim.must(err)
	if len(b.Deltas) == 0 {
		l.followed = b.Upto
		return false
	}
	l.agent.Followed(b.Deltas[0])
	l.followed = b.Deltas[0].Revision
	return true
}

// A simStore is the store as a part has it: others may come first whenever it writes.
type simStore struct {
	*store.Memory
	sim *sim
}

func (s simStore) Update(ctx context.Context, why string, fn func(*store.Tx) error) (store.Revision, error) {
	if !s.sim.pause() {
		return 0, errDead
	}
	r, err := s.Memory.Update(ctx, why, fn)
	if errors.Is(err, store.ErrStopped) {
		s.sim.life.doomed = true
	}
	return r, err
}

// A simPlanner remembers on what the controllers plan.
type simPlanner struct {
	simStore
	life *simLife
}

func (s simPlanner) Snapshot() *store.Snapshot {
	s.life.planned, s.life.plannedAt = s.Memory.Snapshot(), s.sim.now
	return s.life.planned
}

// A simWriter makes the node one that is the same on every machine, and small.
type simWriter struct{ agent.Writer }

func (s simWriter) Write(ctx context.Context, r agent.Report) error {
	if r.Node != nil {
		r.Node = r.Node.DeepCopy()
		has := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi"), corev1.ResourcePods: resource.MustParse("22")}
		r.Node.Status.Capacity, r.Node.Status.Allocatable, r.Node.Status.NodeInfo = has, has, corev1.NodeSystemInfo{}
	}
	return s.Writer.Write(ctx, r)
}
