package runtimetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest/script"
)

func (f *Fake) Start(ctx context.Context, id runtime.ID) error {
	return f.change(ctx, Call{Verb: "Start", Pod: id.Pod, ID: id}, func() (bool, error) {
		c, ok := f.find(id)
		if !ok {
			return false, fmt.Errorf("container %s: %w", id, runtime.ErrNotFound)
		}
		if c.State != runtime.Created {
			return false, nil
		}
		now := f.Now()
		if c.startFails != "" {
			c.State, c.ExitCode, c.StartError, c.Finished = runtime.Exited, 128, c.startFails, now
			return true, fmt.Errorf("start container %s: %w", id, &runtime.StartError{Reason: c.startFails})
		}
		c.State, c.Started, c.due = runtime.Running, now, now
		f.run(c, now)
		f.wake()
		return true, nil
	})
}

func (f *Fake) Signal(ctx context.Context, id runtime.ID, sig syscall.Signal) error {
	return f.change(ctx, Call{Verb: "Signal", Pod: id.Pod, ID: id}, func() (bool, error) {
		c, ok := f.find(id)
		if !ok {
			return false, fmt.Errorf("container %s: %w", id, runtime.ErrNotFound)
		}
		if c.State != runtime.Running || c.stubborn && sig != syscall.SIGKILL {
			return false, nil
		}
		f.end(c, 128+int(sig))
		return true, nil
	})
}

func (f *Fake) Remove(ctx context.Context, id runtime.ID) error {
	return f.change(ctx, Call{Verb: "Remove", Pod: id.Pod, ID: id}, func() (bool, error) {
		c, ok := f.find(id)
		if !ok {
			return false, nil
		}
		c.removed = true
		f.end(c, 137)
		f.moved.Broadcast()
		s := f.pods[id.Pod]
		s.containers = slices.DeleteFunc(s.containers, func(o *container) bool { return o == c })
		return true, nil
	})
}

// Exec runs scripts; what else it is asked to run succeeds at once.
func (f *Fake) Exec(ctx context.Context, id runtime.ID, x runtime.Exec) (int, error) {
	if err := f.change(ctx, Call{Verb: "Exec", Pod: id.Pod, ID: id}, func() (bool, error) { return false, nil }); err != nil {
		return 0, err
	}
	c, err := f.running(id)
	if err != nil {
		return 0, err
	}
	steps, fails := program(x.Command, c.image)
	if fails != "" {
		return 0, &runtime.StartError{Reason: fails}
	}
	if x.Command[0] != "/prog" {
		return 0, nil
	}
	sub := &container{spec: c.spec, image: c.image, env: c.env}
	return f.exec(ctx, sub, steps, x)
}

func (f *Fake) running(id runtime.ID) (*container, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.find(id)
	if !ok {
		return nil, fmt.Errorf("container %s: %w", id, runtime.ErrNotFound)
	}
	if c.State != runtime.Running {
		return nil, fmt.Errorf("container %s: %w", id, runtime.ErrNotRunning)
	}
	return c, nil
}

func (f *Fake) exec(ctx context.Context, c *container, steps []script.Step, x runtime.Exec) (int, error) {
	for _, s := range steps {
		switch s.Verb {
		case script.Exit:
			return s.N, nil
		case script.Wait:
			<-ctx.Done()
		case script.Sleep:
			f.sleep(ctx, s.For)
		case script.Copy:
			if x.Stdin != nil && x.Stdout != nil {
				if _, err := io.Copy(x.Stdout, x.Stdin); err != nil {
					return 0, err
				}
			}
		default:
			c.do(s)
			if err := errors.Join(c.stdout.drain(x.Stdout), c.stderr.drain(x.Stderr)); err != nil {
				return 0, err
			}
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// sleep waits for a moment by the real clock: who runs a command by Exec waits for it.
func (f *Fake) sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Exit ends a running container with a code.
func (f *Fake) Exit(id runtime.ID, code int) {
	f.strike(id, func(c *container) { f.end(c, code) })
}

// OOM has a running container killed for lack of memory.
func (f *Fake) OOM(id runtime.ID) {
	f.strike(id, func(c *container) {
		c.OOMKilled = c.State == runtime.Running
		f.end(c, 137)
	})
}

// Lose makes a container's state unknown, as when its shim is killed.
func (f *Fake) Lose(id runtime.ID) {
	f.strike(id, func(c *container) {
		c.State, c.due = runtime.Unknown, time.Time{}
		f.moved.Broadcast()
	})
}

// Write has a running container write a text to stdout.
func (f *Fake) Write(id runtime.ID, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c, ok := f.find(id); ok && c.State == runtime.Running {
		c.stdout.add(text)
		f.moved.Broadcast()
	}
}

// Reboot does what a reboot of the machine does: nothing runs, no sandbox is ready.
func (f *Fake) Reboot() {
	f.mu.Lock()
	var pods []types.UID
	for uid, s := range f.pods {
		pods = append(pods, uid)
		s.Ready = false
		for _, c := range s.containers {
			if c.State != runtime.Exited {
				c.State, c.due = runtime.Unknown, time.Time{}
			}
		}
	}
	f.moved.Broadcast()
	f.mu.Unlock()
	slices.Sort(pods)
	for _, uid := range pods {
		f.tell(uid)
	}
}

func (f *Fake) strike(id runtime.ID, do func(*container)) {
	f.mu.Lock()
	c, ok := f.find(id)
	if ok {
		do(c)
	}
	f.mu.Unlock()
	if ok {
		f.tell(id.Pod)
	}
}

// String lists all there is, a line each, for people and for comparisons.
func (f *Fake) String() string {
	boxes, _ := f.Sandboxes(context.Background()) // its error is only that of the context
	var b strings.Builder
	for _, s := range boxes {
		fmt.Fprintf(&b, "sandbox %s %s/%s ready=%v\n", s.Pod, s.Namespace, s.Name, s.Ready)
		for _, c := range s.Containers {
			fmt.Fprintf(&b, "  %s.%d %s %s exit=%d oom=%v %s\n", c.ID.Name, c.ID.Attempt, c.Image, c.State, c.ExitCode, c.OOMKilled, c.StartError)
		}
	}
	return b.String()
}
