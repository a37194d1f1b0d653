package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A Puller sees to it that images are here. It is safe for concurrent use.
type Puller struct {
	Store Store
	Now   func() time.Time // tells how long pulls take

	slots chan struct{} // one for each pull that may fetch

	mu      sync.Mutex
	flights map[flightKey]*flight
}

// NewPuller makes one that fetches so many images at a time, at least 1. Registries are asked without waiting for others.
func NewPuller(store Store, parallel int) *Puller {
	return &Puller{Store: store, Now: time.Now, slots: make(chan struct{}, max(parallel, 1)), flights: map[flightKey]*flight{}}
}

// A Request asks for an image to be here.
type Request struct {
	Ref    string
	Policy Policy // empty: the default for Ref
	Auths  []Auth // tried in this order; none: nobody's

	Pulling  func()                  // called before the registry is asked; may be nil
	Progress func(done, total int64) // called every 10 s while bytes come; may be nil
}

// A Result is what became of a Request.
type Result struct {
	Image
	Pulled bool          // the registry was asked
	Took   time.Duration // by the pull, without the time in which others had their turn
}

// Ensure has an image here, as Get has it.
func (p *Puller) Ensure(ctx context.Context, ref string, policy Policy, auths ...Auth) (Image, error) {
	r, err := p.Get(ctx, Request{Ref: ref, Policy: policy, Auths: auths})
	return r.Image, err
}

// Get has an image here, as its policy says. An error is an *Error or that of ctx. Calls for one reference with the same
// credentials share one pull, which goes on as long as one of them waits.
func (p *Puller) Get(ctx context.Context, r Request) (Result, error) {
	name, err := Normalize(r.Ref)
	if err != nil {
		return Result{}, err
	}
	if r.Policy == "" {
		r.Policy = DefaultPolicy(r.Ref)
	}
	local := Host(name) == Local
	if r.Policy != Always || local {
		image, err := p.Store.Get(ctx, name)
		switch {
		case err == nil:
			return Result{Image: image}, nil
		case !errors.Is(err, ErrNotFound):
			return Result{}, wrap(ctx, name, err)
		case r.Policy == Never:
			return Result{}, &Error{Reason: NeverPull, Ref: r.Ref}
		case local:
			return Result{}, &Error{Reason: NotFound, Ref: name}
		}
	}
	if r.Pulling != nil {
		r.Pulling()
	}
	return p.join(ctx, name, r)
}

// wrap makes any error an *Error, save the context's own.
func wrap(ctx context.Context, ref string, err error) error {
	if _, ok := errors.AsType[*Error](err); ok || err == nil || ctx.Err() != nil {
		return err
	}
	return &Error{Reason: Failed, Ref: ref, Host: Host(ref), Err: err}
}

// flightKey is what requests have in common that share a pull.
type flightKey struct{ ref, auths string }

// A flight is a pull that one or more calls wait for.
type flight struct {
	waiting int // guarded by Puller.mu
	cancel  context.CancelFunc
	done    chan struct{} // closed when result and err are set
	result  Result
	err     error

	mu         sync.Mutex
	got, total int64 // bytes
}

func (f *flight) progress(done, total int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got, f.total = done, total
}

// tell passes on how far the pull is, if that is known.
func (f *flight) tell(progress func(done, total int64)) {
	f.mu.Lock()
	got, total := f.got, f.total
	f.mu.Unlock()
	if progress != nil && total > 0 {
		progress(got, total)
	}
}

const progressEvery = 10 * time.Second

// join waits for a pull, and starts it if there is none.
func (p *Puller) join(ctx context.Context, ref string, r Request) (Result, error) {
	key := flightKey{ref, fmt.Sprintf("%q", r.Auths)}
	f := p.board(ctx, key, r.Auths)
	defer p.leave(key, f)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-f.done:
			return f.result, f.err
		case <-ctx.Done():
			return Result{}, ctx.Err()
		case <-tick.C:
			f.tell(r.Progress)
		}
	}
}

func (p *Puller) board(ctx context.Context, key flightKey, auths []Auth) *flight {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.flights[key]
	if !ok {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight{cancel: cancel, done: make(chan struct{})}
		p.flights[key] = f
		go p.fly(own, key, auths, f)
	}
	f.waiting++
	return f
}

// leave ends a pull that nobody waits for any more.
func (p *Puller) leave(key flightKey, f *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.waiting--; f.waiting == 0 {
		f.cancel()
		if p.flights[key] == f {
			delete(p.flights, key)
		}
	}
}

func (p *Puller) fly(ctx context.Context, key flightKey, auths []Auth, f *flight) {
	defer close(f.done)
	t := turn{slots: p.slots, now: p.Now}
	defer t.end()
	begun := p.Now()
	f.result.Image, f.err = p.pull(ctx, key.ref, auths, Follow{Turn: t.take, Progress: f.progress})
	f.result.Pulled, f.result.Took = true, p.Now().Sub(begun)-t.waited
	f.err = wrap(ctx, key.ref, f.err)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flights[key] == f {
		delete(p.flights, key) // who comes now wants a new look at the registry
	}
}

// pull tries credentials until a registry accepts some.
func (p *Puller) pull(ctx context.Context, ref string, auths []Auth, follow Follow) (image Image, err error) {
	if len(auths) == 0 {
		auths = []Auth{{}}
	}
	for auth := range slices.Values(auths) {
		image, err = p.Store.Pull(ctx, ref, auth, follow)
		// Many registries say that they do not have what they do not show.
		if e, ok := errors.AsType[*Error](err); !ok || e.Reason != Unauthorized && e.Reason != NotFound {
			break
		}
	}
	return image, err
}

// A turn is one pull's place among those that may fetch.
type turn struct {
	slots  chan struct{}
	now    func() time.Time
	has    bool
	waited time.Duration
}

func (t *turn) take(ctx context.Context) error {
	if t.has {
		return nil
	}
	begun := t.now()
	select {
	case t.slots <- struct{}{}:
		t.has, t.waited = true, t.now().Sub(begun)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *turn) end() {
	if t.has {
		<-t.slots
	}
}
