package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/fifo"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// An output reads a FIFO. It waits for data until it is told that none will come, reads what is left, and ends.
type output struct {
	file  *os.File
	close func(*output)
}

func openOutput(path string) (*output, error) {
	f, err := fifo.Open(path)
	if err != nil {
		return nil, err
	}
	return &output{file: f}, nil
}

func (o *output) Read(p []byte) (int, error) {
	n, err := o.file.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return o.rest(p)
	}
	return n, err
}

// rest reads without waiting.
func (o *output) rest(p []byte) (int, error) {
	conn, err := o.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	n := 0
	var failed error
	err = conn.Control(func(fd uintptr) {
		for n, failed = unix.Read(int(fd), p); failed == unix.EINTR; {
			n, failed = unix.Read(int(fd), p)
		}
	})
	switch {
	case err != nil:
		return 0, err
	case failed == unix.EAGAIN || n == 0 && len(p) > 0 && failed == nil:
		return 0, io.EOF
	case failed != nil:
		return 0, failed
	}
	return n, nil
}

// end has the reader come to an end once it has read what is there.
func (o *output) end() {
	_ = o.file.SetReadDeadline(time.Unix(1, 0))
}

func (o *output) Close() error {
	if o.close != nil {
		o.close(o)
	}
	return o.file.Close()
}

// Written is the size of the container's snapshot: of what it changed of its image.
func (r *Runtime) Written(ctx context.Context, id runtime.ID) (int64, error) {
	_, c, err := r.container(id)
	if err != nil {
		return 0, err
	}
	used, err := r.snapshots.Usage(r.client.in(ctx), c.key)
	if err != nil {
		return 0, fmt.Errorf("measure what container %s has written: %w", id, err)
	}
	return used.Size, nil
}

func (r *Runtime) Output(ctx context.Context, id runtime.ID) (stdout, stderr io.ReadCloser, err error) {
	_, c, err := r.container(id)
	if err != nil {
		return nil, nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	out, err := openOutput(c.stdout())
	if err != nil {
		return nil, nil, fmt.Errorf("output of container %s: %w", id, err)
	}
	errout, err := openOutput(c.stderr())
	if err != nil {
		out.Close()
		return nil, nil, fmt.Errorf("output of container %s: %w", id, err)
	}
	if err := r.attach(c, out, errout); err != nil {
		out.Close()
		errout.Close()
		return nil, nil, fmt.Errorf("output of container %s: %w", id, err)
	}
	return out, errout, nil
}

// attach notes who reads, so that they can be told of the end.
func (r *Runtime) attach(c *container, outputs ...*output) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(c.outputs) > 0 {
		return errors.New("it is being read already")
	}
	c.outputs = outputs
	for _, o := range outputs {
		o.close = func(o *output) { r.detach(c, o) }
		if c.drained {
			o.end()
		}
	}
	return nil
}

func (r *Runtime) detach(c *container, o *output) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.outputs = slices.DeleteFunc(c.outputs, func(x *output) bool { return x == o })
}
