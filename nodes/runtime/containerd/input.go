package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	taskapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// stdin is the FIFO that a container reads. The shim holds both of its ends: what is written there is not lost, and the
// container sees no end of it before the shim is told to close its own.
func (c *container) stdin() string { return c.files + ".in" }

func (r *Runtime) Input(ctx context.Context, id runtime.ID) (io.WriteCloser, error) {
	c, err := r.live(ctx, id)
	if err != nil {
		return nil, err
	}
	if !c.Stdin {
		return nil, fmt.Errorf("input of container %s: %w", id, runtime.ErrNoInput)
	}
	fd, err := unix.Open(c.stdin(), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	switch {
	case errors.Is(err, unix.ENXIO): // the shim reads it no more
		return nil, fmt.Errorf("input of container %s: %w", id, runtime.ErrNoInput)
	case err != nil:
		return nil, fmt.Errorf("input of container %s: %w", id, err)
	}
	return os.NewFile(uintptr(fd), c.stdin()), nil
}

func (r *Runtime) EndInput(ctx context.Context, id runtime.ID) error {
	c, err := r.live(ctx, id)
	if err != nil || !c.Stdin || c.TTY {
		return err
	}
	ctx, cancel := r.call(ctx)
	defer cancel()
	_, err = r.tasks.CloseIO(ctx, &taskapi.CloseIORequest{ContainerID: c.key, Stdin: true})
	if err = ignoreNotFound(errdefs.FromGRPC(err)); err != nil {
		return fmt.Errorf("end the input of container %s: %w", id, err)
	}
	return nil
}

func (r *Runtime) Resize(ctx context.Context, id runtime.ID, size runtime.Size) error {
	c, err := r.live(ctx, id)
	if err != nil || !c.TTY {
		return err
	}
	ctx, cancel := r.call(ctx)
	defer cancel()
	_, err = r.tasks.ResizePty(ctx, &taskapi.ResizePtyRequest{ContainerID: c.key, Width: uint32(size.Width), Height: uint32(size.Height)})
	if err != nil {
		return fmt.Errorf("resize the terminal of container %s: %w", id, errdefs.FromGRPC(err))
	}
	return nil
}

// live is a container that runs.
func (r *Runtime) live(ctx context.Context, id runtime.ID) (*container, error) {
	_, c, err := r.container(id)
	if err != nil {
		return nil, err
	}
	if r.stateOf(c) != runtime.Running {
		return nil, fmt.Errorf("container %s: %w", id, runtime.ErrNotRunning)
	}
	return c, ctx.Err()
}
