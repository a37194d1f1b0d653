package containerd

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	taskapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/protobuf"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mainstay-gitops/mainstay/nodes/fifo"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// Exec reads Stdin until it ends, also when the command has ended before: the caller closes it.
func (r *Runtime) Exec(ctx context.Context, id runtime.ID, x runtime.Exec) (int, error) {
	p, c, err := r.container(id)
	if err != nil {
		return 0, err
	}
	if r.stateOf(c) != runtime.Running {
		return 0, fmt.Errorf("container %s: %w", id, runtime.ErrNotRunning)
	}
	e := &execution{r: r, c: c, x: x, id: "x" + rand.Text()}
	e.dir = filepath.Join(p.dir, e.id)
	code, err := e.run(r.client.in(ctx))
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case errdefs.IsNotFound(err):
		return 0, fmt.Errorf("container %s: %w", id, runtime.ErrNotRunning)
	case err != nil:
		if reason, own := startReason(err.Error()); own {
			err = &runtime.StartError{Reason: reason}
		}
		return 0, fmt.Errorf("run command in container %s: %w", id, err)
	}
	return code, nil
}

// An execution is one command in a container, and the folder of its FIFOs.
type execution struct {
	r       *Runtime
	c       *container
	x       runtime.Exec
	id, dir string

	pid     int
	stdin   *os.File
	outputs []*output
	copying sync.WaitGroup
}

func (e *execution) run(ctx context.Context) (code int, err error) {
	process, err := e.process(ctx)
	if err != nil {
		return 0, err
	}
	request := &taskapi.ExecProcessRequest{ContainerID: e.c.key, ExecID: e.id, Terminal: e.x.TTY, Spec: process}
	if err := e.openStreams(request); err != nil {
		e.closeStreams()
		return 0, err
	}
	defer e.closeStreams()
	if _, err := e.r.tasks.Exec(ctx, request); err != nil {
		return 0, errdefs.FromGRPC(err)
	}
	// From here on the shim knows it, and has to forget it whatever happens.
	code, err = e.follow(ctx)
	for _, o := range e.outputs {
		o.end()
	}
	e.copying.Wait()
	return code, err
}

// follow starts the command, feeds it, waits for its end, and has the shim forget it, which has then passed on all output.
func (e *execution) follow(ctx context.Context) (code int, err error) {
	defer func() {
		ctx, cancel := e.r.call(context.WithoutCancel(ctx))
		defer cancel()
		_, gone := e.r.tasks.DeleteProcess(ctx, &taskapi.DeleteProcessRequest{ContainerID: e.c.key, ExecID: e.id})
		err = errors.Join(err, ignoreNotFound(errdefs.FromGRPC(gone)))
	}()
	started, err := e.r.tasks.Start(ctx, &taskapi.StartRequest{ContainerID: e.c.key, ExecID: e.id})
	if err != nil {
		return 0, errdefs.FromGRPC(err)
	}
	e.pid = int(started.Pid)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e.feed(ctx)
	exit, err := e.r.tasks.Wait(ctx, &taskapi.WaitRequest{ContainerID: e.c.key, ExecID: e.id})
	if err != nil {
		return 0, errors.Join(errdefs.FromGRPC(err), e.kill(ctx))
	}
	return int(exit.ExitStatus), nil
}

// kill ends the command with what it has started, and waits for that: the shim forgets no command that runs.
func (e *execution) kill(ctx context.Context) error {
	e.killGroup()
	ctx, cancel := e.r.call(context.WithoutCancel(ctx))
	defer cancel()
	_, err := e.r.tasks.Kill(ctx, &taskapi.KillRequest{ContainerID: e.c.key, ExecID: e.id, Signal: uint32(unix.SIGKILL)})
	if err == nil {
		_, err = e.r.tasks.Wait(ctx, &taskapi.WaitRequest{ContainerID: e.c.key, ExecID: e.id})
	}
	return ignoreNotFound(errdefs.FromGRPC(err))
}

// killGroup kills the command's process group. It leads one, whose number is nobody else's while it is there, which the
// descriptor makes sure of before its cgroup is looked at.
func (e *execution) killGroup() {
	fd, err := unix.PidfdOpen(e.pid, 0)
	if err != nil {
		return // it has ended
	}
	defer unix.Close(fd)
	if e.r.cfg.Tree.Has(e.c.cgroup, e.pid) {
		_ = unix.Kill(-e.pid, unix.SIGKILL) // the shim's kill comes after it
	}
}

// process is that of the container, with another command line.
func (e *execution) process(ctx context.Context) (*anypb.Any, error) {
	record, err := e.r.records.Get(ctx, e.c.key)
	if err != nil {
		return nil, err
	}
	var spec struct{ Process *specs.Process }
	if err := json.Unmarshal(record.Spec.GetValue(), &spec); err != nil {
		return nil, err
	}
	spec.Process.Args, spec.Process.Terminal = e.x.Command, e.x.TTY
	if e.x.TTY && !slices.ContainsFunc(spec.Process.Env, func(v string) bool { return strings.HasPrefix(v, "TERM=") }) {
		spec.Process.Env = append(spec.Process.Env, terminal)
	}
	return protobuf.MarshalAnyToProto(spec.Process)
}

// openStreams makes a FIFO for each stream that is wanted, and begins to copy what is written. 1.6's shim wants a stderr
// where there is a stdout, unless there is a terminal.
func (e *execution) openStreams(request *taskapi.ExecProcessRequest) error {
	both := e.x.Stdout != nil || e.x.Stderr != nil
	if !both && e.x.Stdin == nil {
		return nil
	}
	if err := os.Mkdir(e.dir, 0o700); err != nil {
		return err
	}
	if e.x.Stdin != nil {
		request.Stdin = filepath.Join(e.dir, "in")
		if err := fifo.Make(request.Stdin); err != nil {
			return err
		}
		var err error
		if e.stdin, err = fifo.Open(request.Stdin); err != nil {
			return err
		}
	}
	if both {
		request.Stdout = filepath.Join(e.dir, "out")
		if err := e.openOutput(request.Stdout, e.x.Stdout); err != nil {
			return err
		}
	}
	if both && !e.x.TTY {
		request.Stderr = filepath.Join(e.dir, "err")
		return e.openOutput(request.Stderr, e.x.Stderr)
	}
	return nil
}

func (e *execution) openOutput(path string, w io.Writer) error {
	if err := fifo.Make(path); err != nil {
		return err
	}
	o, err := openOutput(path)
	if err != nil {
		return err
	}
	if w == nil {
		w = io.Discard
	}
	e.outputs = append(e.outputs, o)
	e.copying.Go(func() {
		if _, err := io.Copy(w, o); err != nil {
			_, _ = io.Copy(io.Discard, o) // nobody wants it any more, but the command must not stall
		}
	})
	return nil
}

func (e *execution) closeStreams() {
	for _, o := range e.outputs {
		o.end()
	}
	e.copying.Wait()
	for _, o := range e.outputs {
		o.Close()
	}
	if e.stdin != nil {
		e.stdin.Close()
	}
	_ = os.RemoveAll(e.dir) // goes with the pod at the latest
}

// feed passes on stdin, and its end, and the sizes of the terminal. Both goroutines end with ctx, the first when Stdin
// lets it.
func (e *execution) feed(ctx context.Context) {
	if e.stdin != nil {
		go func() {
			_, _ = io.Copy(e.stdin, e.x.Stdin) // what it does not read any more it does not want
			if e.x.TTY {
				return // a terminal is not closed but hung up, which would end the command
			}
			e.stdin.Close()
			_, _ = e.r.tasks.CloseIO(ctx, &taskapi.CloseIORequest{ContainerID: e.c.key, ExecID: e.id, Stdin: true})
		}()
	}
	if e.x.Resize != nil {
		go func() {
			for {
				select {
				case <-ctx.Done():
					return
				case size, ok := <-e.x.Resize:
					if !ok {
						return
					}
					_, _ = e.r.tasks.ResizePty(ctx, &taskapi.ResizePtyRequest{
						ContainerID: e.c.key, ExecID: e.id, Width: uint32(size.Width), Height: uint32(size.Height),
					})
				}
			}
		}()
	}
}
