package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/stream"
)

// Attach joins a container that runs: what x brings goes to its input, and what it writes from now on goes to x. It
// returns when the container ends, when ctx does, or when x has no more input for a container that keeps its input open.
// The container runs on. It reads the container's log, so a slow client holds up nobody.
func (a *Agent) Attach(ctx context.Context, namespace, name, container string, x runtime.Exec) error {
	p, c, err := a.running(ctx, namespace, name, container)
	if err != nil {
		return err
	}
	if a.cfg.Logs == nil {
		return errors.New("this node keeps no logs")
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	s := &attachment{a: a, id: c.ID, x: x, tty: c.TTY, end: end, once: stdinOnce(p, container)}
	outputs, err := s.outputs(ctx)
	if err != nil {
		return err
	}
	defer outputs.close()
	s.resize(ctx)
	if err := s.feed(ctx); err != nil {
		return err
	}
	err = outputs.copy()
	if ctx.Err() != nil {
		return nil // somebody has left, which is no failure
	}
	return err
}

func stdinOnce(p *corev1.Pod, container string) bool {
	c := pod.ContainerNamed(p, container)
	return c != nil && c.StdinOnce
}

// An attachment is one client at a container.
type attachment struct {
	a    *Agent
	id   runtime.ID
	x    runtime.Exec
	tty  bool
	once bool // the container's input ends with the first client
	end  context.CancelFunc
}

// outputs are what a container writes from now on, each with where it goes.
type outputs map[*stream.Reader]io.Writer

func (s *attachment) outputs(ctx context.Context) (outputs, error) {
	path := s.a.logPath(s.id)
	if err := s.a.cfg.Logs.Await(ctx, path); err != nil {
		return nil, err
	}
	all := outputs{}
	for name, w := range map[string]io.Writer{"stdout": s.x.Stdout, "stderr": s.x.Stderr} {
		if w == nil && name == "stderr" {
			continue
		}
		if w == nil {
			w = io.Discard // it tells the end of the container all the same
		}
		r, err := s.a.cfg.Logs.Read(ctx, path, stream.Options{Follow: true, Stream: name})
		if err != nil {
			all.close()
			return nil, err
		}
		all[r] = w
	}
	return all, nil
}

// copy copies all outputs until the container ends.
func (o outputs) copy() error {
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for r, w := range o {
		wg.Go(func() {
			if _, err := r.WriteTo(w); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (o outputs) close() {
	for r := range o {
		r.Close()
	}
}

// resize passes the sizes of the client's terminal on, until ctx ends.
func (s *attachment) resize(ctx context.Context) {
	if s.x.Resize == nil {
		return
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case size, ok := <-s.x.Resize:
				if !ok {
					return
				}
				if err := s.a.cfg.Runtime.Resize(ctx, s.id, size); err != nil && ctx.Err() == nil {
					s.a.cfg.Log.Warn("resizing a terminal failed", "container", s.id, "err", err)
				}
			}
		}
	}()
}

// answerWithin is how long a client that has no more to say is given what the container answers.
const answerWithin = time.Second

// feed passes the client's input on, until that ends or ctx does. What is still in the way then is let go.
func (s *attachment) feed(ctx context.Context) error {
	if s.x.Stdin == nil {
		return nil
	}
	in, err := s.a.cfg.Runtime.Input(ctx, s.id)
	if errors.Is(err, runtime.ErrNoInput) {
		go io.Copy(io.Discard, s.x.Stdin) // ends with the client
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the input: %w", err)
	}
	var shut sync.Once
	closed := func() { shut.Do(func() { in.Close() }) }
	stop := context.AfterFunc(ctx, closed)
	go func() {
		defer stop()
		_, _ = io.Copy(in, s.x.Stdin) // what the container does not read any more it does not want
		closed()
		s.ended(ctx)
	}()
	return nil
}

// ended is called when the client has no more input: that is the end of the container's, or of the client's visit.
func (s *attachment) ended(ctx context.Context) {
	if s.once && !s.tty && s.a.life.Err() == nil { // a daemon that ends is no client that leaves
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*answerWithin)
		defer cancel()
		_ = s.a.cfg.Runtime.EndInput(late, s.id) // it may have ended
		return
	}
	timer := time.NewTimer(answerWithin)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	s.end()
}
