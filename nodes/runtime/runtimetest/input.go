package runtimetest

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest/script"
)

func (f *Fake) Input(ctx context.Context, id runtime.ID) (io.WriteCloser, error) {
	c, err := f.running(id)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !c.Stdin || c.inputEnded {
		return nil, fmt.Errorf("input of container %s: %w", id, runtime.ErrNoInput)
	}
	return &input{f: f, c: c}, ctx.Err()
}

func (f *Fake) EndInput(ctx context.Context, id runtime.ID) error {
	c, err := f.running(id)
	if err != nil || !c.Stdin || c.TTY {
		return err
	}
	f.mu.Lock()
	c.inputEnded = true
	f.goOn(c)
	f.mu.Unlock()
	f.tell(id.Pod)
	return ctx.Err()
}

func (f *Fake) Resize(ctx context.Context, id runtime.ID, size runtime.Size) error {
	c, err := f.running(id)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c.size = size
	return ctx.Err()
}

// TerminalOf is the size that the terminal of a container was given last.
func (f *Fake) TerminalOf(id runtime.ID) runtime.Size {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c, ok := f.find(id); ok {
		return c.size
	}
	return runtime.Size{}
}

// copyInput copies what a container was given to its stdout, and has it wait for more until the end.
func (f *Fake) copyInput(c *container, s script.Step) {
	c.stdout.add(string(c.input))
	c.input = nil
	if c.Stdin && !c.inputEnded {
		c.todo = slices.Insert(c.todo, 0, s)
		c.due = time.Time{}
	}
}

// goOn has a container look at its input.
func (f *Fake) goOn(c *container) {
	if c.State == runtime.Running && c.due.IsZero() && len(c.todo) > 0 && c.todo[0].Verb == script.Copy {
		now := f.Now()
		c.due = now
		f.run(c, now)
	}
}

// An input is open to be written.
type input struct {
	f *Fake
	c *container
}

func (i *input) Write(p []byte) (int, error) {
	i.f.mu.Lock()
	defer i.f.mu.Unlock()
	if i.c.removed || i.c.State != runtime.Running || i.c.inputEnded {
		return 0, io.ErrClosedPipe
	}
	i.c.input = append(i.c.input, p...)
	i.f.goOn(i.c)
	return len(p), nil
}

func (i *input) Close() error { return nil }

// errors is where a container writes its errors: a terminal has one output.
func (c *container) errors() *stream {
	if c.TTY {
		return &c.stdout
	}
	return &c.stderr
}
