// Package probe asks containers whether they have started, are ready and are alive, and keeps count of the answers. Time
// lies on one loop: a probe that waits costs no goroutine.
package probe

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/reconcile/loop"
)

// Config of a Prober.
type Config struct {
	// Exec runs a command in a container and returns its exit code and the beginning of its output.
	Exec func(ctx context.Context, id runtime.ID, command []string) (int, string, error)
	// Changed is called when a check of a pod has found something else than before. It must not call the Prober.
	Changed func(types.UID)
	// Failed is told of each failure that counts. It must not call the Prober.
	Failed func(c pod.Check, message string)
	// Doubted is told of an answer that passed, and that people should look at. It must not call the Prober.
	Doubted func(c pod.Check, message string)
	Now     func() time.Time // nil: time.Now
}

// A Prober runs checks. It is safe for concurrent use.
type Prober struct {
	cfg   Config
	asker *asker
	ask   func(context.Context, pod.Check) (bool, string)
	loop  *loop.Loop[pod.CheckKey]
	spawn func(func()) // runs a probe: in place for who calls Step, in a goroutine while Run does

	mu   sync.Mutex
	pods map[types.UID]map[pod.CheckKey]*state
}

// state of a check.
type state struct {
	check   pod.Check
	tally   tally
	next    time.Time
	running bool
	ctx     context.Context // ends with the check
	cancel  context.CancelFunc
}

// New makes a Prober without checks.
func New(c Config) *Prober {
	if c.Now == nil {
		c.Now = time.Now
	}
	p := &Prober{cfg: c, pods: map[types.UID]map[pod.CheckKey]*state{}, spawn: func(f func()) { f() }}
	p.asker = newAsker(c.Exec)
	p.ask = p.asker.ask
	p.loop = loop.New("probe", p.turn, loop.Options{Now: c.Now})
	return p
}

// Run runs checks until ctx ends, and returns when the last of them has.
func (p *Prober) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	p.spawn = wg.Go
	err := p.loop.Run(ctx)
	wg.Wait()
	return err
}

// Step runs one check that is due, in the caller's goroutine, and returns false if there is none.
func (p *Prober) Step(ctx context.Context) bool { return p.loop.Step(ctx) }

// Next is when the next check is due; false if none is.
func (p *Prober) Next() (time.Time, bool) { return p.loop.Next() }

// Keep makes checks those of the pod: what is new begins, what is missing ends, the others go on.
func (p *Prober) Keep(uid types.UID, checks []pod.Check) {
	p.mu.Lock()
	defer p.mu.Unlock()
	had := p.pods[uid]
	if len(had) == 0 && len(checks) == 0 {
		return
	}
	have := make(map[pod.CheckKey]*state, len(checks))
	for _, c := range checks {
		s, ok := had[c.CheckKey]
		if !ok {
			if c.Gated {
				c.Since = p.cfg.Now()
			}
			s = &state{check: c, tally: begin(c), next: c.Since.Add(seconds(c.Probe.InitialDelaySeconds))}
			s.ctx, s.cancel = context.WithCancel(context.Background())
			p.loop.Wake(c.CheckKey)
		}
		c.Since = s.check.Since
		s.check = c
		have[c.CheckKey] = s
	}
	for k, s := range had {
		if have[k] == nil {
			s.cancel()
		}
	}
	p.pods[uid] = have
	if len(have) == 0 {
		delete(p.pods, uid)
	}
}

// Found is what the checks of a pod have found: true for passed, false for failed as often as it may.
func (p *Prober) Found(uid types.UID) map[pod.CheckKey]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pods[uid]) == 0 {
		return nil
	}
	found := map[pod.CheckKey]bool{}
	for k, s := range p.pods[uid] {
		if s.tally.known {
			found[k] = s.tally.passed
		}
	}
	return found
}

// turn begins a check if it is time, and says when to look at it again.
func (p *Prober) turn(ctx context.Context, k pod.CheckKey) (time.Duration, error) {
	probe, wait := p.due(ctx, k)
	if probe != nil {
		p.spawn(probe)
	}
	return wait, nil
}

// due is the check if it is time for it, else how long that will be.
func (p *Prober) due(ctx context.Context, k pod.CheckKey) (func(), time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.pods[k.ID.Pod][k]
	if s == nil || s.running {
		return nil, 0 // its end wakes the key
	}
	if wait := s.next.Sub(p.cfg.Now()); wait > 0 {
		return nil, wait
	}
	s.running = true
	check := s.check
	return func() { p.probe(ctx, s, check) }, 0
}

// probe asks once and counts the answer.
func (p *Prober) probe(ctx context.Context, s *state, c pod.Check) {
	at := p.cfg.Now()
	ctx, cancel := context.WithTimeout(ctx, timeout(c.Probe))
	stop := context.AfterFunc(s.ctx, cancel)
	ok, message := p.ask(ctx, c)
	stop()
	cancel()

	p.mu.Lock()
	s.running = false
	if s.ctx.Err() != nil {
		p.mu.Unlock()
		return
	}
	was := s.tally
	s.tally = was.count(ok, at, c)
	s.next = at.Add(s.tally.wait(c, at))
	changed := was.known != s.tally.known || was.passed != s.tally.passed
	counted := s.tally.counted.Equal(at)
	p.mu.Unlock()

	p.loop.Wake(c.CheckKey)
	switch {
	case !ok && counted:
		p.cfg.Failed(c, message)
	case ok && message != "":
		p.cfg.Doubted(c, message)
	}
	if changed {
		p.cfg.Changed(c.ID.Pod)
	}
}
