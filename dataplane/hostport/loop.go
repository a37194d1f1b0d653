package hostport

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/dataplane/internal/follow"
	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/reconcile/loop"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Machine leads its ports.
type Machine interface {
	// HostPorts are the ports that are led, sorted.
	HostPorts(context.Context) ([]Row, error)
	// SetHostPorts leads these ports, sorted and each once, and no others: all of it or nothing.
	SetHostPorts(context.Context, []Row) error
	// Listener is where a process of the machine takes calls that a port would lead away; false if there is none.
	Listener(service.Frontend) (netip.AddrPort, bool, error)
}

// Config of a Loop.
type Config struct {
	Store   store.Reader
	Node    string  // the node whose ports these are
	Machine Machine // nobody else sets its ports

	// Taken is told, once, of a pod that does not get a port since a process of the machine has it; it gets the port when
	// the process gives it back.
	Taken func(pod *corev1.Pod, message string)

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: none
}

// recheck is how soon a port that was taken is looked at again.
const recheck = 5 * time.Second

// A Loop keeps the ports of a node as its pods want them. It is made by New and works in Run, or Step by Step.
type Loop struct {
	cfg    Config
	work   *loop.Loop[struct{}]
	follow *follow.Follower
	told   map[refusal]bool
}

// A refusal is a port that a pod did not get.
type refusal struct {
	pod  types.UID
	port service.Frontend
}

var podKind = schema.GroupKind{Kind: "Pod"}

// New makes a loop. It writes nothing.
func New(cfg Config) *Loop {
	l := &Loop{cfg: cfg, told: map[refusal]bool{}}
	l.work = loop.New("lead host ports", func(ctx context.Context, _ struct{}) (time.Duration, error) { return l.do(ctx) },
		loop.Options{Now: cfg.Now, Log: cfg.Log, Max: 5 * time.Second})
	l.follow = follow.New(cfg.Store, cfg.Store.Snapshot(), podKind)
	l.wake()
	return l
}

func (l *Loop) wake() { l.work.Wake(struct{}{}) }

// Run follows the store until ctx ends, and returns ctx's error.
func (l *Loop) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if !l.Step(ctx) {
			l.sleep(ctx)
		}
	}
	return ctx.Err()
}

// Step takes in what changed in the store, and carries it out. It returns false if there is nothing to be done now.
func (l *Loop) Step(ctx context.Context) bool {
	for c := range l.follow.Changes(l.wake) {
		if l.concerns(c.Old) || l.concerns(c.New) {
			l.wake()
		}
	}
	return l.work.Step(ctx)
}

// Next is when there is something to be done again by itself; false if never.
func (l *Loop) Next() (time.Time, bool) { return l.work.Next() }

// concerns tells whether o is a pod here that asks for ports.
func (l *Loop) concerns(o store.Object) bool {
	pod, ok := o.(*corev1.Pod)
	return ok && pod.Spec.NodeName == l.cfg.Node && len(asked(pod)) > 0
}

// sleep returns when there may be something to do.
func (l *Loop) sleep(ctx context.Context) {
	var due <-chan time.Time
	if at, ok := l.work.Next(); ok {
		now := time.Now
		if l.cfg.Now != nil {
			now = l.cfg.Now
		}
		timer := time.NewTimer(max(at.Sub(now()), 0))
		defer timer.Stop()
		due = timer.C
	}
	l.follow.Wait(ctx, nil, due)
}

// do leads what is claimed and free. What the machine holds of earlier is left to who has it.
func (l *Loop) do(ctx context.Context) (again time.Duration, err error) {
	have, err := l.cfg.Machine.HostPorts(ctx)
	if err != nil {
		return 0, err
	}
	claims := Compile(l.cfg.Store.Snapshot(), l.cfg.Node)
	var want []Row
	refused := map[refusal]bool{}
	for _, c := range claims {
		held := slices.ContainsFunc(have, func(r Row) bool { return r.Key == c.Key })
		if !held {
			at, taken, err := l.cfg.Machine.Listener(c.Key)
			if err != nil {
				return 0, err
			}
			if taken {
				l.refuse(c, at, refused)
				continue
			}
		}
		want = append(want, c.Row)
	}
	l.told = refused
	if len(refused) > 0 {
		again = recheck
	}
	if slices.Equal(have, want) {
		return again, nil
	}
	return again, l.cfg.Machine.SetHostPorts(ctx, want)
}

// refuse tells of a port that is taken, once.
func (l *Loop) refuse(c Claim, at netip.AddrPort, refused map[refusal]bool) {
	r := refusal{c.Pod.UID, c.Key}
	refused[r] = true
	if !l.told[r] && l.cfg.Taken != nil {
		l.cfg.Taken(c.Pod, fmt.Sprintf("Host port %s is not led to this pod: a process of the machine listens at %s. It is tried again until that one ends; another hostPort or hostIP would do too.", c.Key, at))
	}
}
