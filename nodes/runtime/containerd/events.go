package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	eventapi "github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/events"
	"github.com/containerd/typeurl/v2"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// hello is the topic of an event that comes back to who sent it: then the subscription stands.
const hello = "/mainstay/hello"

// Run follows what containerd tells of the ends of containers, until ctx ends. When containerd goes away it waits for it,
// and looks then at what was missed.
func (r *Runtime) Run(ctx context.Context) error {
	var reaping sync.WaitGroup
	defer reaping.Wait()
	for {
		err := r.follow(r.client.in(ctx), &reaping)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.cfg.Log.Warn("lost sight of containerd, looking again", "err", err)
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// follow handles the events of one subscription. It ends with an error.
func (r *Runtime) follow(ctx context.Context, reaping *sync.WaitGroup) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	mine := fmt.Sprintf("namespace==%q", r.client.namespace)
	service := r.client.EventService()
	messages, broken := service.Subscribe(ctx, mine+`,topic=="/tasks/exit"`, mine+`,topic=="`+hello+`"`)
	greet := time.NewTicker(5 * time.Millisecond)
	defer greet.Stop()
	for {
		select {
		case err := <-broken:
			return errors.Join(err, ctx.Err())
		case <-greet.C:
			if err := service.Publish(ctx, hello, &eventapi.NamespaceUpdate{Name: r.client.namespace}); err != nil {
				return err
			}
		case m := <-messages:
			if m.Topic != hello {
				r.handle(ctx, m, reaping)
				continue
			}
			greet.Stop()
			if err := r.catchUp(ctx, reaping); err != nil {
				return err
			}
		}
	}
}

func (r *Runtime) handle(ctx context.Context, m *events.Envelope, reaping *sync.WaitGroup) {
	v, err := typeurl.UnmarshalAny(m.Event)
	exit, ok := v.(*eventapi.TaskExit)
	if err != nil || !ok {
		r.cfg.Log.Warn("containerd sent what cannot be read", "topic", m.Topic, "err", err)
		return
	}
	if exit.ID == exit.ContainerID { // else it is that of a command in it
		reaping.Go(func() { r.exited(ctx, exit) })
	}
}

// exited handles the end of a container. When containerd clears up after a shim it tells of an end that may be another's:
// that of an earlier try to start the container. Then it is asked how things are.
func (r *Runtime) exited(ctx context.Context, exit *eventapi.TaskExit) {
	r.withContainer(exit.ContainerID, func(c *container) error {
		r.mu.Lock()
		its := c.pid == int(exit.Pid)
		r.mu.Unlock()
		if its {
			return r.reap(ctx, c, int(exit.ExitStatus), exit.ExitedAt.AsTime())
		}
		return r.examine(ctx, c)
	})
}

// catchUp looks at what became of all containers that may have ended.
func (r *Runtime) catchUp(ctx context.Context, reaping *sync.WaitGroup) error {
	open := r.unburied() // before containerd is asked: what starts meanwhile is not in its answer
	list, err := r.tasks.List(ctx, &taskapi.ListTasksRequest{})
	if err != nil {
		return errdefs.FromGRPC(err)
	}
	running := map[string]bool{}
	for _, t := range list.Tasks {
		running[t.ID] = t.Status != tasktypes.Status_STOPPED
	}
	for _, key := range open {
		if !running[key] {
			reaping.Go(func() { r.withContainer(key, func(c *container) error { return r.examine(ctx, c) }) })
		}
	}
	return nil
}

// examine asks containerd what became of a container, and acts on it.
func (r *Runtime) examine(ctx context.Context, c *container) error {
	ctx, cancel := r.call(ctx)
	defer cancel()
	got, err := r.tasks.Get(ctx, &taskapi.GetRequest{ContainerID: c.key})
	err = errdefs.FromGRPC(err)
	switch {
	case errdefs.IsNotFound(err):
		return r.lose(ctx, c)
	case err != nil:
		return err
	case got.Process.Status == tasktypes.Status_STOPPED:
		return r.reap(ctx, c, int(got.Process.ExitStatus), got.Process.ExitedAt.AsTime())
	}
	return nil
}

// unburied are the containers that were started and whose task is still there, as far as known.
func (r *Runtime) unburied() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, p := range r.pods {
		for _, c := range p.containers {
			if c.State != runtime.Created && !c.drained {
				out = append(out, c.key)
			}
		}
	}
	return out
}

// reap notes how a container ended, tells that, and removes its task.
func (r *Runtime) reap(ctx context.Context, c *container, code int, at time.Time) error {
	if r.stateOf(c) == runtime.Running {
		kills, err := r.cfg.Tree.OOMKills(c.cgroup)        // with the task this is gone
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // containerd cleared up after a shim that was killed
			r.cfg.Log.Warn("whether a container lacked memory is not known", "container", c.ID, "err", err)
		}
		r.settle(c, ended{Finished: at, ExitCode: code, OOMKilled: kills > 0})
	}
	ctx, cancel := r.call(context.WithoutCancel(ctx))
	defer cancel()
	return r.bury(ctx, c)
}

// lose notes that a container's task is gone without a word.
func (r *Runtime) lose(ctx context.Context, c *container) error {
	r.mu.Lock()
	if c.State == runtime.Running {
		c.State, c.pid = runtime.Unknown, 0
	}
	r.mu.Unlock()
	r.tell(c.ID.Pod)
	return r.bury(ctx, c)
}

// withContainer does something with a container that is there and not buried, while nobody else works on its pod.
func (r *Runtime) withContainer(key string, do func(*container) error) {
	r.mu.Lock()
	id, ok := r.keys[key]
	r.mu.Unlock()
	if !ok {
		return
	}
	p, _, err := r.container(id)
	if err != nil {
		return
	}
	p.work.Lock()
	defer p.work.Unlock()
	_, c, err := r.container(id) // it may have been removed meanwhile
	if err != nil {
		return
	}
	r.mu.Lock()
	skip := c.drained || c.State == runtime.Created
	r.mu.Unlock()
	if skip {
		return
	}
	if err := do(c); err != nil {
		r.cfg.Log.Warn("what is left of a container that ended could not be removed", "container", id, "err", err)
	}
}

// tell names a pod to all who listen.
func (r *Runtime) tell(pod types.UID) { r.feed.Tell(pod) }

func (r *Runtime) Events(ctx context.Context) iter.Seq2[types.UID, error] {
	return r.feed.Listen(ctx, func() []types.UID {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.Sorted(maps.Keys(r.pods))
	})
}
