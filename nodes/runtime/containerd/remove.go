package containerd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	taskapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

func (r *Runtime) Remove(ctx context.Context, id runtime.ID) error {
	p, c, err := r.container(id)
	if errors.Is(err, runtime.ErrNotFound) {
		return ctx.Err()
	}
	ctx, cancel := r.call(ctx)
	defer cancel()
	p.work.Lock()
	defer p.work.Unlock()
	return r.remove(ctx, p, c)
}

// remove ends a container and removes all there is of it. The pod's work is held.
func (r *Runtime) remove(ctx context.Context, p *pod, c *container) error {
	err := r.clearTask(ctx, c)
	if err == nil {
		r.drain(c)
		err = r.discard(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("remove container %s: %w", c.ID, err)
	}
	r.mu.Lock()
	p.containers = slices.DeleteFunc(p.containers, func(o *container) bool { return o == c })
	delete(r.keys, c.key)
	r.mu.Unlock()
	r.tell(c.ID.Pod)
	return nil
}

// clearTask kills what runs of a container, and removes its task and cgroup. Another task may take its place.
func (r *Runtime) clearTask(ctx context.Context, c *container) error {
	ctx, cancel := r.call(context.WithoutCancel(ctx)) // half a removal helps nobody
	defer cancel()
	r.mu.Lock()
	running, drained := c.State == runtime.Running, c.drained
	r.mu.Unlock()
	if drained {
		return nil
	}
	if running {
		if err := r.end(ctx, c); err != nil {
			return err
		}
	}
	err := r.dropTask(ctx, c)
	if errdefs.IsFailedPrecondition(err) { // it was started by somebody who did not get to noting it
		if err := r.end(ctx, c); err != nil {
			return err
		}
		err = r.dropTask(ctx, c)
	}
	return err
}

// end kills a container and waits until its shim has seen that.
func (r *Runtime) end(ctx context.Context, c *container) error {
	r.mu.Lock()
	known := c.pid != 0
	r.mu.Unlock()
	if !known || r.signal(c, unix.SIGKILL) != nil {
		if err := r.kill(ctx, c, unix.SIGKILL); err != nil {
			return err
		}
	}
	_, err := r.tasks.Wait(ctx, &taskapi.WaitRequest{ContainerID: c.key})
	return ignoreNotFound(errdefs.FromGRPC(err))
}

// bury removes the task of a container that has ended for good.
func (r *Runtime) bury(ctx context.Context, c *container) error {
	err := r.dropTask(ctx, c)
	if err == nil {
		r.drain(c)
	}
	return err
}

// dropTask removes the task of a container that has ended. When it returns, all that the container wrote is in its FIFOs. Of
// a task that is gone, because its shim was killed, what is left is removed.
func (r *Runtime) dropTask(ctx context.Context, c *container) error {
	_, err := r.tasks.Delete(ctx, &taskapi.DeleteTaskRequest{ContainerID: c.key})
	err = errdefs.FromGRPC(err)
	if errdefs.IsNotFound(err) {
		err = r.cfg.Tree.Remove(ctx, c.cgroup)
	}
	return err
}

// drain lets the readers of a container's output come to an end: nothing more will be written.
func (r *Runtime) drain(c *container) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.drained = true
	for _, o := range c.outputs {
		o.end()
	}
}
