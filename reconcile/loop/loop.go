// Package loop is the only work queue in the house: wake, do, wait, retry.
//
// A key that is woken is done once, however often it was woken; never twice at the same time; and again if it was woken
// while it was being done. What Do asks for (again after a while) and what failed (again, less and less often) waits in the
// same queue. Run does it with goroutines, Step in the caller's, for a simulation that owns the order and the clock.
package loop

import (
	"container/heap"
	"context"
	"log/slog"
	"sync"
	"time"
)

// Options of a Loop. The zero value will do.
type Options struct {
	Workers int           // that Run starts; 0: one
	Min     time.Duration // wait after the first failure of a key, doubled at each further one; 0: 10 ms
	Max     time.Duration // longest such wait; 0: 30 s
	Now     func() time.Time
	Log     *slog.Logger // failures, at level warn; nil: none
}

// A Loop does one thing for each key that is woken. It is safe for concurrent use.
type Loop[K comparable] struct {
	name string
	do   func(ctx context.Context, key K) (again time.Duration, err error)
	opts Options

	mu      sync.Mutex
	ready   []K // in the order of their waking
	state   map[K]*state
	waiting timers[K]
	serial  int           // breaks ties between timers, so that the order is the same in each run
	changed chan struct{} // holds one token while there is something to look at
}

type state struct {
	queued, running, dirty bool
	failures               int
	timer                  int // serial of the timer that counts; older ones are void
}

// New makes a loop. do may return how long to wait until it wants the key again (0: until it is woken), or an error.
func New[K comparable](name string, do func(context.Context, K) (time.Duration, error), opts Options) *Loop[K] {
	if opts.Workers == 0 {
		opts.Workers = 1
	}
	if opts.Min == 0 {
		opts.Min = 10 * time.Millisecond
	}
	if opts.Max == 0 {
		opts.Max = 30 * time.Second
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Loop[K]{name: name, do: do, opts: opts, state: map[K]*state{}, changed: make(chan struct{}, 1)}
}

// Wake has keys done as soon as may be.
func (l *Loop[K]) Wake(keys ...K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		l.wake(k)
	}
}

func (l *Loop[K]) wake(k K) {
	s := l.get(k)
	switch {
	case s.running:
		s.dirty = true
	case !s.queued:
		s.queued = true
		s.timer = 0
		l.ready = append(l.ready, k)
		l.signal()
	}
}

func (l *Loop[K]) get(k K) *state {
	s, ok := l.state[k]
	if !ok {
		s = &state{}
		l.state[k] = s
	}
	return s
}

func (l *Loop[K]) signal() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// Run does what is woken until ctx ends, with as many goroutines as the options say, and returns ctx's error after the
// last of them ended.
func (l *Loop[K]) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range l.opts.Workers {
		wg.Go(func() { l.work(ctx) })
	}
	wg.Wait()
	return ctx.Err()
}

func (l *Loop[K]) work(ctx context.Context) {
	for ctx.Err() == nil {
		if !l.Step(ctx) {
			l.Wait(ctx, nil)
		}
	}
}

// Wait returns when a key is due, and when ctx ends or wake yields. It may return too early.
func (l *Loop[K]) Wait(ctx context.Context, wake <-chan struct{}) {
	var due <-chan time.Time
	if at, ok := l.Next(); ok {
		t := time.NewTimer(max(at.Sub(l.opts.Now()), 0))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
	case <-l.changed:
	case <-wake:
	case <-due:
	}
}

// Step does one key that is due. It returns false if there is none.
func (l *Loop[K]) Step(ctx context.Context) bool {
	k, ok := l.Take()
	if !ok {
		return false
	}
	again, err := l.do(ctx, k)
	if ctx.Err() != nil {
		err = nil // it was told to stop: no failure of the key's
	}
	l.Done(k, again, err)
	return true
}

// Next is when the next key is due; false if none waits. What is due already has a time in the past.
func (l *Loop[K]) Next() (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ready) > 0 {
		return time.Time{}, true
	}
	l.dropVoid()
	if len(l.waiting) == 0 {
		return time.Time{}, false
	}
	return l.waiting[0].at, true
}

// Take hands out the first key that is due; false if there is none. The caller does it and then says so with Done: for
// those who do several keys in one go. Most use Run or Step.
func (l *Loop[K]) Take() (k K, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.opts.Now()
	for l.dropVoid(); len(l.waiting) > 0 && !l.waiting[0].at.After(now); l.dropVoid() {
		l.wake(heap.Pop(&l.waiting).(timer[K]).key)
	}
	if len(l.ready) == 0 {
		return k, false
	}
	k = l.ready[0]
	l.ready = l.ready[1:]
	s := l.state[k]
	s.queued, s.running = false, true
	if len(l.ready) > 0 {
		l.signal() // for the next worker
	}
	return k, true
}

// Done takes back a key that was taken, with what do would return.
func (l *Loop[K]) Done(k K, again time.Duration, err error) {
	if err != nil && l.opts.Log != nil {
		l.opts.Log.Warn(l.name+" failed, trying again", "key", k, "err", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.state[k]
	s.running = false
	if err != nil {
		again = l.backoff(s.failures)
		s.failures++
	} else {
		s.failures = 0
	}
	switch {
	case s.dirty && err == nil:
		s.dirty = false
		l.wake(k)
	case again > 0:
		s.dirty = false
		l.serial++
		s.timer = l.serial
		heap.Push(&l.waiting, timer[K]{at: l.opts.Now().Add(again), serial: l.serial, key: k})
		l.signal() // a worker may sleep past it
	default:
		delete(l.state, k)
	}
}

func (l *Loop[K]) backoff(failures int) time.Duration {
	d := l.opts.Min
	for range failures {
		if d *= 2; d >= l.opts.Max {
			return l.opts.Max
		}
	}
	return d
}

// dropVoid removes timers that a wake or a later timer has replaced.
func (l *Loop[K]) dropVoid() {
	for len(l.waiting) > 0 {
		t := l.waiting[0]
		if s, ok := l.state[t.key]; ok && s.timer == t.serial {
			return
		}
		heap.Pop(&l.waiting)
	}
}

type timer[K comparable] struct {
	at     time.Time
	serial int
	key    K
}

type timers[K comparable] []timer[K]

func (t timers[K]) Len() int { return len(t) }
func (t timers[K]) Less(i, j int) bool {
	if !t[i].at.Equal(t[j].at) {
		return t[i].at.Before(t[j].at)
	}
	return t[i].serial < t[j].serial
}
func (t timers[K]) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *timers[K]) Push(x any)   { *t = append(*t, x.(timer[K])) }
func (t *timers[K]) Pop() any {
	old := *t
	x := old[len(old)-1]
	*t = old[:len(old)-1]
	return x
}
