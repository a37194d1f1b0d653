package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/loop"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Options of an Engine.
type Options struct {
	Now  func() time.Time // nil: the clock
	Rand *rand.Rand       // nil: seeded by chance
	Log  *slog.Logger     // nil: none
}

// An Engine runs controllers: it maps changes to keys, has them planned, and carries the plans out. Keys that are due at
// the same time are planned on one snapshot and written in one transaction, so that a thousand small plans cost one sync.
// It is one goroutine: Run, or Step in a simulation.
type Engine struct {
	store       store.Store
	carrier     *Carrier
	controllers []Controller
	watches     map[schema.GroupKind][]subscription
	queue       *loop.Loop[item]
	opts        Options
	from        store.Revision
	begun       bool
	more        <-chan struct{}
}

type item struct {
	controller int
	key        store.Key
}

func (i item) String() string { return i.key.String() }

type subscription struct {
	controller int
	keys       func(*store.Snapshot, store.Change) []store.Key
}

// batch is how many keys are planned together at most.
const batch = 256

// NewEngine makes an engine for controllers.
func NewEngine(st store.Store, carrier *Carrier, opts Options, controllers ...Controller) *Engine {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Rand == nil {
		opts.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{store: st, carrier: carrier, controllers: controllers, watches: map[schema.GroupKind][]subscription{}, opts: opts}
	e.queue = loop.New[item]("plan", nil, loop.Options{Now: opts.Now, Log: opts.Log})
	for i, c := range controllers {
		for _, w := range c.Watches() {
			e.watches[w.Kind] = append(e.watches[w.Kind], subscription{i, w.Keys})
		}
	}
	return e
}

// Run runs the controllers until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if !e.Step(ctx) {
			e.queue.Wait(ctx, e.more)
		}
	}
	return ctx.Err()
}

// Step reads what has changed, plans the keys that are due and writes the plans. It returns false if none was due.
func (e *Engine) Step(ctx context.Context) bool {
	e.follow()
	var items []item
	for len(items) < batch {
		i, ok := e.queue.Take()
		if !ok {
			break
		}
		items = append(items, i)
	}
	if len(items) == 0 {
		return false
	}
	e.do(ctx, items)
	return true
}

// Next is when a key will be due by itself; false if none waits.
func (e *Engine) Next() (time.Time, bool) { return e.queue.Next() }

// follow wakes the keys that the changes since the last time are about. The first time, and when it fell too far behind,
// every object counts as changed.
func (e *Engine) follow() {
	b, err := e.store.Since(e.from, store.Query{})
	if !e.begun || errors.Is(err, store.ErrCompacted) {
		s := e.store.Snapshot()
		for o := range s.List(store.Query{}) {
			e.wake(s, store.Change{New: o})
		}
		for i, c := range e.controllers {
			if c, ok := c.(Starter); ok {
				e.queue.Wake(item{i, c.FirstKey()})
			}
		}
		e.begun, e.from = true, s.Revision()
		b, err = e.store.Since(e.from, store.Query{})
	}
	if err != nil {
		return // only a revision from the future: not of this store
	}
	if len(b.Deltas) > 0 {
		s := e.store.Snapshot()
		for _, d := range b.Deltas {
			for _, c := range d.Changes {
				e.wake(s, c)
			}
		}
	}
	e.from, e.more = b.Upto, b.More
}

func (e *Engine) wake(s *store.Snapshot, c store.Change) {
	k := s.Key(c.Object())
	for _, kind := range []schema.GroupKind{k.Kind, {}} {
		for _, w := range e.watches[kind] {
			if w.keys == nil {
				e.queue.Wake(item{w.controller, k})
				continue
			}
			for _, key := range w.keys(s, c) {
				e.queue.Wake(item{w.controller, key})
			}
		}
	}
}

// do plans items on one snapshot and writes the plans in one transaction. A plan whose ground has shifted is left out, and
// its key planned again.
func (e *Engine) do(ctx context.Context, items []item) {
	s := e.store.Snapshot()
	w := World{Snapshot: s, Now: e.opts.Now(), Rand: e.opts.Rand, Admission: e.carrier.chain}
	type planned struct {
		item
		plan Plan
		err  error
	}
	var plans []planned
	writes := 0
	for _, i := range items {
		c := e.controllers[i.controller]
		p, err := c.Plan(w, i.key)
		if err == nil {
			err = allowed(c, s, p)
		}
		if err != nil {
			p = Plan{}
		}
		writes += len(p.Writes) + len(p.Events)
		plans = append(plans, planned{i, p, err})
	}
	if writes > 0 {
		_, err := e.store.Update(ctx, "controllers", func(tx *store.Tx) error {
			for i := range plans {
				p := &plans[i]
				if p.err == nil {
					p.err = e.carrier.Carry(tx, w, e.controllers[p.controller].Name(), p.plan)
				}
			}
			return nil
		})
		for i := range plans {
			if plans[i].err == nil {
				plans[i].err = err
			}
		}
	}
	var refused []refusal
	for _, p := range plans {
		if r, ok := errors.AsType[*Refused](p.err); ok {
			refused = append(refused, refusal{e.controllers[p.controller].Name(), p.key, r})
		}
	}
	e.tell(ctx, w, refused)
	for _, p := range plans {
		switch {
		case errors.Is(p.err, store.ErrConflict):
			e.queue.Done(p.item, 0, nil)
			e.queue.Wake(p.item) // on a newer snapshot
		case ctx.Err() != nil:
			e.queue.Done(p.item, 0, nil)
		case errors.Is(p.err, errClosed):
			e.opts.Log.Warn("a plan is dropped: nothing may be made in its namespace any more", "controller", e.controllers[p.controller].Name(), "key", p.key, "err", p.err)
			e.queue.Done(p.item, 0, nil)
		default:
			e.queue.Done(p.item, p.plan.After, p.err)
		}
	}
}

// A refusal is a plan that was not admitted.
type refusal struct {
	by  string
	key store.Key
	why *Refused
}

// tell records what was refused as events about whose plan it was. The plans are tried again later.
func (e *Engine) tell(ctx context.Context, w World, refused []refusal) {
	if len(refused) == 0 {
		return
	}
	_, err := e.store.Update(ctx, "controllers", func(tx *store.Tx) error {
		for _, r := range refused {
			if about, ok := tx.Get(r.key); ok {
				var p Plan
				p.Warn(about, "FailedCreate", "%s", r.why)
				if err := e.carrier.Carry(tx, w, r.by, p); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		e.opts.Log.Warn("what was not admitted cannot be recorded", "err", err)
	}
}

// allowed checks a plan against what its controller says that it owns.
func allowed(c Controller, s *store.Snapshot, p Plan) error {
	for _, w := range p.Writes {
		kind := s.Key(w.Object).Kind
		ok := false
		for _, o := range c.Owns() {
			if o.Kind != kind && !o.Kind.Empty() {
				continue
			}
			ok = ok || o.Part == Main || o.Part == Status && w.Op == UpdateStatus || o.Part == Existing && (w.Op == Delete || w.Op == Update)
		}
		if !ok {
			return fmt.Errorf("%s may not %s %s: it does not own it", c.Name(), w.Op, s.Key(w.Object))
		}
	}
	return nil
}
