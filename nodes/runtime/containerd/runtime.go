package containerd

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	taskapi "github.com/containerd/containerd/api/services/tasks/v1"
	apitypes "github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/containers"
	"github.com/containerd/containerd/pkg/cap"
	"github.com/containerd/containerd/snapshots"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/fifo"
	"github.com/mainstay-gitops/mainstay/nodes/process"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

const (
	snapshotter = "overlayfs"
	patience    = time.Minute // for one call to containerd
)

// A Holder keeps FIFOs open also while no daemon runs, so that what containers write stays in them.
type Holder interface {
	Hold(ctx context.Context, paths ...string) error
	Release(ctx context.Context, paths ...string) error
}

// Config of a Runtime.
type Config struct {
	RunDir string       // pods are under it, a folder each: namespaces, FIFOs, and how each container ended
	Tree   *cgroup.Tree // of this machine
	Pods   *cgroup.Pods // where the groups of pods stand
	Holder Holder       // nil: nobody

	Seccomp string       // folder of the node's own seccomp profiles; it need not be there
	Log     *slog.Logger // what nobody asked for and yet went wrong
}

// A Runtime makes sandboxes and containers. It is a runtime.Runtime while Run runs; without it containers start and are
// removed, but the end of one that ends by itself is not seen.
//
// It knows all that is here without asking containerd: nobody else makes or ends containers in its containerd namespace.
type Runtime struct {
	cfg       Config
	client    *Client
	images    *Images
	tasks     taskapi.TasksClient
	records   containers.Store
	snapshots snapshots.Snapshotter
	host      host

	feed runtime.Feed

	mu   sync.Mutex
	pods map[types.UID]*pod
	keys map[string]runtime.ID // of containers, by their id in containerd
}

var _ runtime.Runtime = (*Runtime)(nil)

// A pod is one sandbox. work is held by whoever starts, ends or removes something in it; what changes is guarded by
// Runtime.mu.
type pod struct {
	work   sync.Mutex
	dir    string
	spec   runtime.SandboxSpec
	cgroup string
	pause  *process.Process // first of the processes that its containers share; nil: it has none, or it has ended

	box        runtime.Sandbox // without its containers
	containers []*container
}

// A container is one run of one.
type container struct {
	runtime.Container // guarded by Runtime.mu
	key               string
	cgroup            string
	files             string // path to which out, err and json are appended
	mounts            []*apitypes.Mount
	pid               int
	held              []*fifo.Held // its FIFOs, for as long as it is here
	outputs           []*output    // that are open; guarded by Runtime.mu
	drained           bool         // its task is gone: nothing more will be written; guarded by Runtime.mu
}

func (c *container) stdout() string { return c.files + ".out" }
func (c *container) stderr() string { return c.files + ".err" }
func (c *container) state() string  { return c.files + ".json" }

// Open looks at what is here, and returns a Runtime that knows it.
func Open(ctx context.Context, client *Client, images *Images, cfg Config) (*Runtime, error) {
	r := &Runtime{
		cfg: cfg, client: client, images: images,
		tasks: client.TaskService(), records: client.ContainerService(), snapshots: client.SnapshotService(snapshotter),
		pods: map[types.UID]*pod{}, keys: map[string]runtime.ID{},
	}
	if err := os.MkdirAll(r.podsDir(), 0o711); err != nil {
		return nil, fmt.Errorf("open container runtime: %w", err)
	}
	if err := cfg.Tree.Make(cfg.Pods.Root()); err != nil {
		return nil, fmt.Errorf("open container runtime: %w", err)
	}
	var err error
	if r.host, err = lookAround(cfg); err == nil {
		err = r.load(client.in(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("open container runtime: %w", err)
	}
	return r, nil
}

// lookAround finds out what this machine lets containers have.
func lookAround(cfg Config) (host, error) {
	capabilities, err := cap.Current()
	if err != nil {
		return host{}, err
	}
	h := host{
		capabilities: capabilities, v2: cfg.Tree.V2(), swap: cfg.Tree.LimitsSwap(cfg.Pods.Root()),
		hugePages: cfg.Tree.LimitsHugePages(), features: features(),
	}
	h.leastOOM = -1000
	if !slices.Contains(capabilities, "CAP_SYS_RESOURCE") { // then it can only be raised
		text, err := os.ReadFile("/proc/self/oom_score_adj")
		if err != nil {
			return host{}, err
		}
		if h.leastOOM, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
			return host{}, err
		}
	}
	return h, nil
}

func (r *Runtime) podsDir() string             { return filepath.Join(r.cfg.RunDir, "pods") }
func (r *Runtime) podDir(uid types.UID) string { return filepath.Join(r.podsDir(), string(uid)) }

// Sandboxes lists them in the order of their uids.
func (r *Runtime) Sandboxes(ctx context.Context) ([]runtime.Sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]runtime.Sandbox, 0, len(r.pods))
	for _, uid := range slices.Sorted(maps.Keys(r.pods)) {
		out = append(out, r.pods[uid].view())
	}
	return out, ctx.Err()
}

func (r *Runtime) Sandbox(ctx context.Context, uid types.UID) (runtime.Sandbox, error) {
	p, err := r.pod(uid)
	if err != nil {
		return runtime.Sandbox{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return p.view(), ctx.Err()
}

// view is what the world is told of a pod. Runtime.mu is held.
func (p *pod) view() runtime.Sandbox {
	out := p.box
	out.Ready = p.ready()
	out.Labels, out.Images = maps.Clone(p.box.Labels), slices.Clone(p.box.Images)
	for _, c := range p.containers {
		v := c.Container
		v.Labels = maps.Clone(c.Labels)
		out.Containers = append(out.Containers, v)
	}
	return out
}

func (r *Runtime) pod(uid types.UID) (*pod, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.pods[uid]; ok {
		return p, nil
	}
	return nil, fmt.Errorf("sandbox of pod %s: %w", uid, runtime.ErrNotFound)
}

func (r *Runtime) container(id runtime.ID) (*pod, *container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.pods[id.Pod]; ok {
		for _, c := range p.containers {
			if c.ID == id {
				return p, c, nil
			}
		}
	}
	return nil, nil, fmt.Errorf("container %s: %w", id, runtime.ErrNotFound)
}

// stateOf is the state of a container that may be changing.
func (r *Runtime) stateOf(c *container) runtime.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.State
}

// call bounds a call to containerd, and makes it in the right namespace.
func (r *Runtime) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.client.in(ctx), patience)
}
