package image

import (
	"context"
	"errors"
	"sync"
)

// A Puller sees to it that images are here. It is safe for concurrent use.
type Puller struct {
	Store    Store
	Progress func(ref string, done, total int64) // told how pulls get on; nil: nobody

	slots chan struct{} // one for each pull that may run

	mu      sync.Mutex
	flights map[flightKey]*flight
}

// NewPuller makes one that pulls so many images at a time, at least 1.
func NewPuller(store Store, parallel int) *Puller {
	return &Puller{Store: store, slots: make(chan struct{}, max(parallel, 1)), flights: map[flightKey]*flight{}}
}

// Ensure has an image here, as a policy says; an empty one is the default for the reference. An error is an *Error or that
// of ctx. Calls for one reference with the same credentials share one pull, which goes on as long as one of them waits.
func (p *Puller) Ensure(ctx context.Context, ref string, policy Policy, auth Auth) (Image, error) {
	name, err := Normalize(ref)
	if err != nil {
		return Image{}, err
	}
	if policy == "" {
		policy = DefaultPolicy(ref)
	}
	local := Host(name) == Local
	if policy != Always || local {
		image, err := p.Store.Get(ctx, name)
		switch {
		case err == nil:
			return image, nil
		case !errors.Is(err, ErrNotFound):
			return Image{}, wrap(ctx, name, err)
		case policy == Never:
			return Image{}, &Error{Reason: NeverPull, Ref: name}
		case local:
			return Image{}, &Error{Reason: NotFound, Ref: name}
		}
	}
	return p.join(ctx, flightKey{name, auth})
}

// wrap makes any error an *Error, save the context's own.
func wrap(ctx context.Context, ref string, err error) error {
	if _, ok := errors.AsType[*Error](err); ok || err == nil || ctx.Err() != nil {
		return err
	}
	return &Error{Reason: Failed, Ref: ref, Host: Host(ref), Err: err}
}

type flightKey struct {
	ref  string
	auth Auth
}

// A flight is a pull that one or more calls wait for.
type flight struct {
	waiting int // guarded by Puller.mu
	cancel  context.CancelFunc
	done    chan struct{} // closed when image and err are set
	image   Image
	err     error
}

// join waits for a pull, and starts it if there is none.
func (p *Puller) join(ctx context.Context, key flightKey) (Image, error) {
	f := p.board(ctx, key)
	defer p.leave(key, f)
	select {
	case <-f.done:
		return f.image, f.err
	case <-ctx.Done():
		return Image{}, ctx.Err()
	}
}

func (p *Puller) board(ctx context.Context, key flightKey) *flight {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.flights[key]
	if !ok {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight{cancel: cancel, done: make(chan struct{})}
		p.flights[key] = f
		go p.fly(own, key, f)
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

func (p *Puller) fly(ctx context.Context, key flightKey, f *flight) {
	defer close(f.done)
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		f.err = ctx.Err()
		return
	}
	var progress func(done, total int64)
	if p.Progress != nil {
		progress = func(done, total int64) { p.Progress(key.ref, done, total) }
	}
	f.image, f.err = p.Store.Pull(ctx, key.ref, key.auth, progress)
	f.err = wrap(ctx, key.ref, f.err)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flights[key] == f {
		delete(p.flights, key) // who comes now wants a new look at the registry
	}
}
