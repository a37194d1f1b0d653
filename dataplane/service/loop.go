package service

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/dataplane/internal/follow"
	"github.com/mainstay-gitops/mainstay/dataplane/target"
	"github.com/mainstay-gitops/mainstay/reconcile/loop"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Config of a Loop.
type Config struct {
	Store  store.Reader
	Node   string // the node whose tables these are
	Tables Tables // nobody else writes to them

	// Grace returns when every call that may have read the tables before has been led. What is unlinked is deleted only
	// after it.
	Grace func(context.Context) error

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: none
}

// A Loop keeps the tables of a node as the store's Services and EndpointSlices want them. It is made by New and works in
// Run, or Step by Step. Synced and Withdrawn may be called by anybody at any time.
type Loop struct {
	cfg      Config
	services *loop.Loop[store.Key] // services to be done; the zero key stands for what none of them wants
	reaper   *loop.Loop[struct{}]  // deletes what is unlinked
	poke     chan struct{}

	// What follows belongs to who steps.
	follow *follow.Follower
	ids    IDs
	state  map[store.Key]*state
	owner  map[Frontend]*state // who wrote a frontend last: a service may take over the address of another one
	legacy *legacy             // nil when all that nobody wants of it is deleted

	mu       sync.Mutex
	unlinked []Rows             // no frontend leads there; to be deleted after a grace
	leads    map[netip.Addr]int // backends in the tables that are not terminating, by address
	done     store.Revision     // everything up to here is in the tables
	changed  chan struct{}      // closed when leads or done changed; nil if nobody waits
}

// state of a service: its rows in the tables.
type state struct {
	rows    Rows
	unsure  bool // a write failed: the tables hold these rows at most, with values that may be older
	ignored string
}

var (
	serviceKind = schema.GroupKind{Kind: "Service"}
	sliceKind   = schema.GroupKind{Group: discoveryv1.GroupName, Kind: "EndpointSlice"}
)

// New reads the tables, so that what they hold already goes on to hold, IDs included. It writes nothing.
func New(ctx context.Context, cfg Config) (*Loop, error) {
	found, err := Read(ctx, cfg.Tables)
	if err != nil {
		return nil, err
	}
	l := &Loop{
		cfg: cfg, poke: make(chan struct{}, 1), ids: IDs(found.last()), legacy: newLegacy(found),
		state: map[store.Key]*state{}, owner: map[Frontend]*state{}, leads: map[netip.Addr]int{},
	}
	opts := loop.Options{Now: cfg.Now, Log: cfg.Log, Max: 5 * time.Second}
	l.services = loop.New("write service", l.do, opts)
	l.reaper = loop.New("delete old endpoints", l.reap, opts)
	l.count(nil, found.Backends)
	s := cfg.Store.Snapshot()
	l.follow = follow.New(cfg.Store, s, serviceKind, sliceKind)
	l.wakeAll()
	return l, nil
}

// Run follows the store until ctx ends, and returns ctx's error.
func (l *Loop) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { l.reaper.Run(ctx) })
	for ctx.Err() == nil {
		if !l.Step(ctx) {
			l.sleep(ctx)
		}
	}
	return ctx.Err()
}

// Step takes in what changed in the store and does one service. It returns false if there is none to be done now. Whoever
// steps also calls Reap; Run does both.
func (l *Loop) Step(ctx context.Context) bool {
	l.look()
	if l.services.Step(ctx) {
		return true
	}
	if _, waiting := l.services.Next(); !waiting {
		l.reach(l.follow.Reached())
	}
	return false
}

// Reap deletes what is unlinked, after a grace. It returns false if there is nothing.
func (l *Loop) Reap(ctx context.Context) bool { return l.reaper.Step(ctx) }

// sleep returns when there may be something to do.
func (l *Loop) sleep(ctx context.Context) {
	var due <-chan time.Time
	if at, ok := l.services.Next(); ok {
		now := time.Now
		if l.cfg.Now != nil {
			now = l.cfg.Now
		}
		timer := time.NewTimer(max(at.Sub(now()), 0))
		defer timer.Stop()
		due = timer.C
	}
	l.follow.Wait(ctx, l.poke, due)
}

// look wakes the services that changed: first those that are there, so that the address of one that is gone may pass to
// another one without a gap.
func (l *Loop) look() {
	var gone []store.Key
	for c := range l.follow.Changes(l.wakeAll) {
		for _, o := range []store.Object{c.New, c.Old} {
			if key, ok := serviceOf(o); !ok {
				continue
			} else if c.New == nil {
				gone = append(gone, key)
			} else {
				l.services.Wake(key)
			}
		}
	}
	l.services.Wake(gone...)
}

// wakeAll wakes all services there are, and those that were.
func (l *Loop) wakeAll() {
	s := l.cfg.Store.Snapshot()
	for svc := range store.List[*corev1.Service](s) {
		l.services.Wake(s.Key(svc))
	}
	for _, key := range slices.SortedFunc(maps.Keys(l.state), store.Key.Compare) { // in the same order each time
		l.services.Wake(key)
	}
	if l.legacy != nil {
		l.services.Wake(store.Key{})
	}
}

// serviceOf is the service that o is, or belongs to.
func serviceOf(o store.Object) (store.Key, bool) {
	switch o := o.(type) {
	case *corev1.Service:
		return store.Key{Kind: serviceKind, Namespace: o.Namespace, Name: o.Name}, true
	case *discoveryv1.EndpointSlice:
		name := o.Labels[discoveryv1.LabelServiceName]
		return store.Key{Kind: serviceKind, Namespace: o.Namespace, Name: name}, name != ""
	}
	return store.Key{}, false
}

// do brings the rows of one service into the tables.
func (l *Loop) do(ctx context.Context, key store.Key) (time.Duration, error) {
	if key == (store.Key{}) {
		return 0, l.prune(ctx)
	}
	snapshot := l.cfg.Store.Snapshot()
	st, ok := l.state[key]
	if !ok {
		st = &state{rows: l.legacy.claim(snapshot, key)}
		for _, e := range st.rows.Frontends {
			l.owner[e.Key] = st
		}
	}
	want, ids, ignored := Compile(snapshot, l.cfg.Node, key, st.rows, l.ids)
	l.ids = ids
	l.say(key, st, ignored)
	if err := l.apply(ctx, st, want); err != nil {
		l.state[key] = st
		return 0, err
	}
	if len(want.Frontends) == 0 {
		delete(l.state, key)
	} else {
		l.state[key] = st
	}
	return 0, nil
}

// say logs what of a service is not carried, once.
func (l *Loop) say(key store.Key, st *state, ignored []string) {
	text := strings.Join(ignored, "; ")
	if text != "" && text != st.ignored && l.cfg.Log != nil {
		l.cfg.Log.Warn("a service is not carried in full", "service", key, "because", text)
	}
	st.ignored = text
}

// apply takes the tables from st to want. If a write fails st is both, and unsure.
func (l *Loop) apply(ctx context.Context, st *state, want Rows) error {
	plan := PlanRows(st.rows, want, st.unsure)
	if plan.Empty() {
		return nil
	}
	frontends, err := l.own(st, plan.Frontends)
	if err != nil {
		return err
	}
	plan.Frontends = frontends
	both := union(st.rows, want)
	l.count(st.rows.Backends, both.Backends)
	if err := plan.Execute(ctx, l.cfg.Tables); err != nil {
		st.rows, st.unsure = both, true
		return err
	}
	l.unlink(both.Backends, want.Backends, plan.Unlinked)
	st.rows, st.unsure = want, false
	return nil
}

// own notes that st writes frontends, and leaves out the deletes of those that another service has taken over. It is an
// error if it is not sure that the other one has written them: they may still lead to the endpoints of this one.
func (l *Loop) own(st *state, steps []target.Step[Frontend, Set]) (mine []target.Step[Frontend, Set], err error) {
	for _, s := range steps {
		if owner, owned := l.owner[s.Key]; s.Delete && owned && owner != st {
			if owner.unsure {
				return nil, fmt.Errorf("%s passes to a service that is not written yet", s.Key)
			}
			continue
		}
		mine = append(mine, s)
	}
	for _, s := range mine {
		l.legacy.touch(s.Key)
		if s.Delete {
			delete(l.owner, s.Key)
		} else {
			l.owner[s.Key] = st
		}
	}
	return mine, nil
}
