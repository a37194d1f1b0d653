// Package agent runs the pods of one node: one worker per pod looks, has pod.Decide decide, and does what was decided, one
// step after the other. No pod waits for another, save for a turn to start containers, of which only so many start at the
// same time. What it knows can be looked up again, so a new process goes on where an old one ended.
package agent

import (
	"context"
	"fmt"
	"log/slog"
	goruntime "runtime"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/probe"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/stream"
	"github.com/mainstay-gitops/mainstay/nodes/volume"
	"github.com/mainstay-gitops/mainstay/reconcile/loop"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Config of an Agent. Node, Reader, Writer, Runtime, Network, Images and Volumes are needed.
type Config struct {
	Node    Node
	Reader  store.Reader
	Whole   <-chan struct{} // closed once Reader has all pods of this node: before, nothing is taken for left over; nil: it has
	Writer  Writer
	Runtime runtime.Runtime
	Network Network
	Images  *image.Puller
	Volumes *volume.Volumes
	Tokens  volume.Tokens    // nil: pods have no tokens, and those that want one do not start
	Logs    *stream.Logs     // nil: what containers write is left where it is
	Keep    image.Thresholds // which images are kept; the zero value: all
	Guard   *Guard           // nil: this node never drives pods away

	Starts   int           // containers started at the same time; 0: one more than there are cores
	Hold     time.Duration // how long a status that nobody waits for may wait for the next; 0: 300 ms
	Withdraw time.Duration // how long the network may take to withdraw an address; 0: 2 s
	Now      func() time.Time
	Log      *slog.Logger // nil: none
}

// An Agent runs the pods of one node.
type Agent struct {
	cfg       Config
	place     pod.Place
	prober    *probe.Prober
	report    *reporter
	collector *image.Collector
	heart     *loop.Loop[struct{}]
	guard     *loop.Loop[struct{}]
	folders   *loop.Loop[string] // of volumes that are to go
	duty      duty
	loop      *loop.Loop[types.UID]
	described time.Time // when the node last was; touched only by beat
	starting  *slots
	removing  *slots
	life      context.Context // ends with Run: that of what goes on in the background
	spawn     func(func())    // does what may take long: in place for who calls Step, in a goroutine while Run does

	mu      sync.Mutex
	whole   bool
	workers map[types.UID]*worker
	users   users
	state   state
	static  map[types.UID]*corev1.Pod // pods of this node's own; those that are to be ended with a DeletionTimestamp
}

// workers that look and decide, and do what is quick. What is not takes one of few slots, or a goroutine of its own.
const workers = 16

// New makes an Agent. Nothing happens before Run or Step.
func New(c Config) (*Agent, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Starts <= 0 {
		c.Starts = goruntime.NumCPU() + 1
	}
	if c.Hold <= 0 {
		c.Hold = 300 * time.Millisecond
	}
	if c.Withdraw <= 0 {
		c.Withdraw = 2 * time.Second
	}
	place, err := c.Node.place(c.Guard.thresholds())
	if err != nil {
		return nil, fmt.Errorf("describe this node: %w", err)
	}
	a := &Agent{cfg: c, place: place, workers: map[types.UID]*worker{}, users: users{}, life: context.Background(), spawn: func(f func()) { f() }}
	a.report = newReporter(c.Writer, c.Node.Name, c.Hold, c.Now, c.Log)
	a.collector = a.newCollector()
	a.loop = loop.New("pod", a.turn, loop.Options{Workers: workers, Min: 50 * time.Millisecond, Max: 10 * time.Second, Now: c.Now, Log: c.Log})
	a.heart = loop.New("node", a.beat, loop.Options{Min: 100 * time.Millisecond, Max: heartbeat, Now: c.Now, Log: c.Log})
	a.guard = loop.New("guard", a.watchOver, loop.Options{Min: time.Second, Max: guardInterval, Now: c.Now, Log: c.Log})
	a.folders = loop.New("volume", a.removeFolder, loop.Options{Min: 100 * time.Millisecond, Max: time.Minute, Now: c.Now, Log: c.Log})
	a.prober = probe.New(probe.Config{Exec: a.probeExec, Changed: a.Wake, Failed: a.probeFailed, Doubted: a.probeDoubted, Now: c.Now})
	// Nobody waits for what is removed, so that takes few of the processors from what starts.
	a.starting, a.removing = newSlots(c.Starts, a.Wake), newSlots(max(1, c.Starts/2), a.Wake)
	return a, nil
}

// Wake has a pod looked at. While Run runs nobody needs to.
func (a *Agent) Wake(uid types.UID) { a.loop.Wake(uid) }

// Run runs the node's pods until ctx ends. The containers run on: a later Run, of this or another process, finds them.
func (a *Agent) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	a.life, a.spawn = ctx, wg.Go
	err := a.Begin(ctx)
	if err == nil {
		for _, part := range []func(context.Context) error{
			a.report.loop.Run, a.heart.Run, a.guard.Run, a.folders.Run, a.prober.Run, a.collector.Run, a.watchStore, a.watchRuntime, a.watchStorage, a.awaitWhole,
		} {
			wg.Go(func() { part(ctx) })
		}
		err = a.loop.Run(ctx)
	}
	stop()
	wg.Wait()
	return err
}

// Begin looks at all that is here and all that is wanted. Run does it by itself; who calls Step calls it first.
func (a *Agent) Begin(ctx context.Context) error {
	boxes, err := a.cfg.Runtime.Sandboxes(ctx)
	if err != nil {
		return fmt.Errorf("look at what runs on this node: %w", err)
	}
	s := a.cfg.Reader.Snapshot()
	for _, b := range boxes {
		a.know(b.Pod, s.Key(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: b.Namespace, Name: b.Name}}))
	}
	files, err := a.cfg.Volumes.List()
	if err != nil {
		return err
	}
	attached, err := a.cfg.Network.Attached(ctx)
	if err != nil {
		return fmt.Errorf("look at which pods are connected: %w", err)
	}
	for _, uid := range append(files, attached...) {
		a.know(uid, store.Key{})
	}
	a.whole = a.cfg.Whole == nil
	a.heart.Wake(struct{}{})
	if a.cfg.Guard != nil {
		a.guard.Wake(struct{}{})
	}
	a.resync()
	return nil
}

// Step does one thing that is due, in the caller's goroutine, and returns false if there is none. Followed says that pods
// or what they refer to have changed.
func (a *Agent) Step(ctx context.Context) bool {
	return a.loop.Step(ctx) || a.prober.Step(ctx) || a.report.loop.Step(ctx) || a.heart.Step(ctx) || a.guard.Step(ctx) || a.folders.Step(ctx)
}

// Next is when the next thing is due; false if none is.
func (a *Agent) Next() (time.Time, bool) {
	var next time.Time
	found := false
	for _, ask := range []func() (time.Time, bool){a.loop.Next, a.prober.Next, a.report.loop.Next, a.heart.Next, a.guard.Next, a.folders.Next} {
		if at, ok := ask(); ok && (!found || at.Before(next)) {
			next, found = at, true
		}
	}
	return next, found
}

// awaitWhole says when all pods of this node are known, so that what belongs to none can be removed.
func (a *Agent) awaitWhole(ctx context.Context) error {
	if a.cfg.Whole == nil {
		return nil
	}
	select {
	case <-ctx.Done():
	case <-a.cfg.Whole:
		a.mu.Lock()
		a.whole = true
		a.mu.Unlock()
		a.resync()
	}
	return ctx.Err()
}

// watchRuntime wakes the pods of which a container started or ended.
func (a *Agent) watchRuntime(ctx context.Context) error {
	for ctx.Err() == nil {
		for uid, err := range a.cfg.Runtime.Events(ctx) {
			if err != nil {
				break
			}
			a.Wake(uid)
		}
	}
	return ctx.Err()
}

// podEvent is an event about a pod, or one of its containers.
func (a *Agent) podEvent(p *corev1.Pod, e pod.Event) { a.report.event(p, e) }
