package containerd

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"time"

	taskapi "github.com/containerd/containerd/api/services/tasks/v1"
	apitypes "github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// ended is what is noted of a container's run, in a file: containerd forgets it with the task.
type ended struct {
	Started, Finished time.Time
	ExitCode          int
	OOMKilled         bool
	StartError        string
}

func (r *Runtime) Start(ctx context.Context, id runtime.ID) error {
	p, c, err := r.container(id)
	if err != nil {
		return err
	}
	p.work.Lock()
	defer p.work.Unlock()
	if r.stateOf(c) != runtime.Created {
		return ctx.Err()
	}
	ctx, cancel := r.call(ctx)
	defer cancel()
	pid, err := r.run(ctx, c)
	if err == nil {
		r.began(c, pid)
		return nil
	}
	if clear := r.clearTask(ctx, c); clear != nil {
		return errors.Join(fmt.Errorf("start container %s: %w", id, err), clear)
	}
	if reason, own := startReason(err.Error()); own {
		r.drain(c)
		r.settle(c, ended{Finished: time.Now(), ExitCode: 128, StartError: reason})
		err = &runtime.StartError{Reason: reason}
	}
	return fmt.Errorf("start container %s: %w", id, err)
}

// run makes and starts the task, and returns the id of its process.
func (r *Runtime) run(ctx context.Context, c *container) (int, error) {
	if c.mounts == nil {
		mounts, err := r.snapshots.Mounts(ctx, c.key)
		if err != nil {
			return 0, err
		}
		for _, m := range mounts {
			c.mounts = append(c.mounts, &apitypes.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
		}
	}
	request := &taskapi.CreateTaskRequest{ContainerID: c.key, Rootfs: c.mounts, Stdout: c.stdout(), Stderr: c.stderr()}
	if c.TTY {
		request.Terminal, request.Stderr = true, ""
	}
	if c.Stdin {
		request.Stdin = c.stdin()
	}
	_, err := r.tasks.Create(ctx, request)
	if err := errdefs.FromGRPC(err); err != nil && !errdefs.IsAlreadyExists(err) {
		return 0, err
	}
	started, err := r.tasks.Start(ctx, &taskapi.StartRequest{ContainerID: c.key})
	if err != nil {
		return 0, errdefs.FromGRPC(err)
	}
	return int(started.Pid), nil
}

// began notes that a container runs.
func (r *Runtime) began(c *container, pid int) {
	c.mounts = nil
	r.mu.Lock()
	c.State, c.pid, c.Started = runtime.Running, pid, now()
	note := ended{Started: c.Started}
	r.mu.Unlock()
	if err := writeJSON(c.state(), note); err != nil {
		r.cfg.Log.Warn("the start of a container could not be noted", "container", c.ID, "err", err)
	}
	r.tell(c.ID.Pod)
}

func now() time.Time { return time.Now().Round(0).UTC() }

// settle notes how a container ended. Its task may still be there.
func (r *Runtime) settle(c *container, e ended) {
	r.mu.Lock()
	e.Started, e.Finished = c.Started, e.Finished.Round(0).UTC()
	if e.Finished.Before(e.Started) {
		e.Finished = e.Started // containerd's clock is the same, but read earlier
	}
	c.apply(e)
	r.mu.Unlock()
	if err := writeJSON(c.state(), e); err != nil {
		r.cfg.Log.Warn("the end of a container could not be noted", "container", c.ID, "err", err)
	}
	r.tell(c.ID.Pod)
}

// apply takes over what was noted of a container that has ended.
func (c *container) apply(e ended) {
	c.State, c.pid = runtime.Exited, 0
	c.Started, c.Finished, c.ExitCode, c.OOMKilled, c.StartError = e.Started, e.Finished, e.ExitCode, e.OOMKilled, e.StartError
}

// startReason tells whether an error of containerd is that of the container itself, and what is worth telling of it.
//
//	failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process:
//	exec: "/nope": stat /nope: no such file or directory: unknown
func startReason(text string) (string, bool) {
	_, reason, own := strings.Cut(text, "OCI runtime ")
	if !own {
		return "", false
	}
	reason = runcLead.ReplaceAllString(reason, "")
	reason = strings.TrimSuffix(reason, ": unknown")
	if m := execError.FindStringSubmatch(reason); m != nil {
		reason = "exec " + m[1] + ": " + m[2]
	}
	return reason, true
}

// runcLead is what runc says before it comes to the point.
var runcLead = regexp.MustCompile(`^(?:(?:runc )?(?:create|start|exec) failed: |unable to start container process: |error during container init: )+`)

// execError is how runc says that a program cannot be run: exec: "NAME": WHAT IT DID: WHY, or exec: "NAME": WHY.
var execError = regexp.MustCompile(`^exec: "([^"]*)": (?:(?:stat|open|access|fork/exec) [^:]*: )?(.*)$`)

func (r *Runtime) Signal(ctx context.Context, id runtime.ID, sig syscall.Signal) error {
	_, c, err := r.container(id)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := r.signal(c, sig); err != errNotOurs {
		return err
	}
	ctx, cancel := r.call(ctx)
	defer cancel()
	if err := r.kill(ctx, c, sig); err != nil {
		return fmt.Errorf("signal container %s: %w", id, err)
	}
	return nil
}

// errNotOurs: the process could not be signalled directly.
var errNotOurs = errors.New("no process of that container")

// signal sends a signal without asking containerd, which would run runc for it. The process is held by a descriptor before
// its cgroup is looked at, so that it cannot be another by then.
func (r *Runtime) signal(c *container, sig syscall.Signal) error {
	r.mu.Lock()
	state, pid := c.State, c.pid
	r.mu.Unlock()
	if state != runtime.Running {
		return nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return errNotOurs
	}
	defer unix.Close(fd)
	if !r.cfg.Tree.Has(c.cgroup, pid) {
		return errNotOurs
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("signal container %s: %w", c.ID, err)
	}
	return nil
}

// kill sends a signal through containerd. One that has ended, or that containerd does not know, takes none.
func (r *Runtime) kill(ctx context.Context, c *container, sig syscall.Signal) error {
	_, err := r.tasks.Kill(ctx, &taskapi.KillRequest{ContainerID: c.key, Signal: uint32(sig), All: sig == unix.SIGKILL})
	return ignoreNotFound(errdefs.FromGRPC(err))
}
