package runtimetest

import (
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// tell names a pod to all who listen.
func (f *Fake) tell(pod types.UID) {
	f.feed.Tell(pod)
	if f.Notify != nil {
		f.Notify(pod)
	}
}

func (f *Fake) Events(ctx context.Context) iter.Seq2[types.UID, error] {
	return f.feed.Listen(ctx, func() []types.UID {
		f.mu.Lock()
		defer f.mu.Unlock()
		return slices.Sorted(maps.Keys(f.pods))
	})
}

// Next is when the next thing happens by itself; false if nothing will.
func (f *Fake) Next() (time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var next time.Time
	for _, s := range f.pods {
		for _, c := range s.containers {
			if !c.due.IsZero() && (next.IsZero() || c.due.Before(next)) {
				next = c.due
			}
		}
	}
	return next, !next.IsZero()
}

// Step lets happen what is due, in the order of uids and creation. It returns false if nothing was.
func (f *Fake) Step() bool {
	f.mu.Lock()
	now := f.Now()
	some := false
	var ended []types.UID
	for _, uid := range slices.Sorted(maps.Keys(f.pods)) {
		for _, c := range f.pods[uid].containers {
			if c.due.IsZero() || c.due.After(now) {
				continue
			}
			some = true
			f.run(c, now)
			if c.State != runtime.Running {
				ended = append(ended, uid)
			}
		}
	}
	f.mu.Unlock()
	for _, uid := range ended {
		f.tell(uid)
	}
	return some
}

// Run calls Step when something is due, until ctx ends. Now must be the clock of this goroutine's timers.
func (f *Fake) Run(ctx context.Context) error {
	for {
		f.Step()
		var due <-chan time.Time
		if at, ok := f.Next(); ok {
			due = time.After(max(at.Sub(f.Now()), 0))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.changed:
		case <-due:
		}
	}
}

// wake has Run look at its timer again.
func (f *Fake) wake() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// A stream is what a container wrote and nobody read.
type stream struct {
	data   []byte
	reader bool // somebody has it open
}

func (s *stream) add(text string) { s.data = append(s.data, text...) }

// drain moves all into w, which may be nil.
func (s *stream) drain(w io.Writer) error {
	data := s.data
	s.data = nil
	if w == nil || len(data) == 0 {
		return nil
	}
	_, err := w.Write(data)
	return err
}

// Written is what SetWritten said.
func (f *Fake) Written(ctx context.Context, id runtime.ID) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.find(id)
	if !ok {
		return 0, fmt.Errorf("container %s: %w", id, runtime.ErrNotFound)
	}
	return c.written, ctx.Err()
}

// SetWritten has a container have written that many bytes.
func (f *Fake) SetWritten(id runtime.ID, bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c, ok := f.find(id); ok {
		c.written = bytes
	}
}

func (f *Fake) Output(ctx context.Context, id runtime.ID) (stdout, stderr io.ReadCloser, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.find(id)
	if !ok {
		return nil, nil, fmt.Errorf("container %s: %w", id, runtime.ErrNotFound)
	}
	if c.stdout.reader || c.stderr.reader {
		return nil, nil, fmt.Errorf("output of container %s: it is being read already", id)
	}
	c.stdout.reader, c.stderr.reader = true, true
	return &reader{f: f, c: c, s: &c.stdout}, &reader{f: f, c: c, s: &c.stderr}, ctx.Err()
}

// A reader waits for what a container writes.
type reader struct {
	f      *Fake
	c      *container
	s      *stream
	closed bool
}

func (r *reader) Read(p []byte) (int, error) {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	for len(r.s.data) == 0 {
		if r.closed {
			return 0, io.ErrClosedPipe
		}
		if r.c.removed || r.c.State == runtime.Exited || r.c.State == runtime.Unknown {
			return 0, io.EOF
		}
		r.f.moved.Wait()
	}
	n := copy(p, r.s.data)
	r.s.data = r.s.data[n:]
	return n, nil
}

func (r *reader) Close() error {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	r.closed, r.s.reader = true, false
	r.f.moved.Broadcast()
	return nil
}
