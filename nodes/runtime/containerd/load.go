package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	taskapi "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/containers"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/snapshots"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// load finds what earlier processes made: sandboxes by their folders, containers by their records, and what became of them
// by their tasks and by what was noted.
func (r *Runtime) load(ctx context.Context) error {
	if err := r.loadSandboxes(); err != nil {
		return err
	}
	records, err := r.records.List(ctx)
	if err != nil {
		return err
	}
	list, err := r.tasks.List(ctx, &taskapi.ListTasksRequest{})
	if err != nil {
		return errdefs.FromGRPC(err)
	}
	tasks := map[string]*tasktypes.Process{}
	for _, t := range list.Tasks {
		tasks[t.ID] = t
	}
	for _, record := range records {
		if c, ok := r.recall(record, tasks[record.ID]); ok {
			p := r.pods[c.ID.Pod]
			p.containers = append(p.containers, c)
			r.keys[c.key] = c.ID
		}
	}
	for _, p := range r.pods {
		slices.SortFunc(p.containers, func(a, b *container) int { return a.Created.Compare(b.Created) })
	}
	if err := r.holdAll(ctx); err != nil {
		return err
	}
	if err := r.loadImages(ctx); err != nil {
		return err
	}
	return r.clearHalfMade(ctx, records)
}

func (r *Runtime) loadSandboxes() error {
	entries, err := os.ReadDir(r.podsDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		uid := types.UID(e.Name())
		dir := r.podDir(uid)
		var file sandboxFile
		if readJSON(filepath.Join(dir, sandboxJSON), &file) && file.Spec.Pod == uid && whole(dir, file) {
			p := newPod(dir, file, r.cfg.Pods.Path(file.Spec.QoS, string(uid)))
			if file.Pause != 0 {
				p.pause = findPause(file.Pause, filepath.Join(dir, "pid"))
			}
			r.pods[uid] = p
			continue
		}
		file.Spec.Pod = uid
		r.pods[uid] = r.brokenPod(file)
	}
	return nil
}

// brokenPod is one whose sandbox is not whole: its folder and cgroup may be there or not.
func (r *Runtime) brokenPod(file sandboxFile) *pod {
	p := newPod(r.podDir(file.Spec.Pod), file, r.cfg.Pods.Path(file.Spec.QoS, string(file.Spec.Pod)))
	p.box.Ready, p.box.NetNS = false, ""
	return p
}

// recall is the container that a record of containerd stands for. Records that others made are passed over.
func (r *Runtime) recall(record containers.Container, task *tasktypes.Process) (*container, bool) {
	attempt, err := strconv.Atoi(record.Labels[labelAttempt])
	id := runtime.ID{Pod: types.UID(record.Labels[labelPod]), Name: record.Labels[labelContainer], Attempt: attempt}
	if err != nil || keyOf(id) != record.ID {
		return nil, false
	}
	p, ok := r.pods[id.Pod]
	if !ok {
		p = r.brokenPod(sandboxFile{Spec: runtime.SandboxSpec{Pod: id.Pod}})
		r.pods[id.Pod] = p
	}
	c := identify(p.dir, p.cgroup, id)
	if known, ok := record.Extensions[extension]; ok {
		_ = json.Unmarshal(known.GetValue(), &c.Container) // what it does not say is not known
	}
	c.ID, c.Cgroup = id, c.cgroup
	var note ended
	noted := readJSON(c.state(), &note)
	c.settleState(task, note, noted, p.box.Ready)
	return c, true
}

// settleState says what became of a container, from its task (nil: it has none), from what was noted of its run, and from
// whether its sandbox stands.
func (c *container) settleState(task *tasktypes.Process, note ended, noted, whole bool) {
	c.drained = task == nil
	switch {
	case noted && !note.Finished.IsZero():
		c.apply(note)
	case task != nil && task.Status == tasktypes.Status_CREATED:
		c.State = runtime.Created // Start will go on with it
	case task != nil: // also one that has stopped: Run will notice that, and see whether it lacked memory
		c.State, c.pid, c.Started = runtime.Running, int(task.Pid), note.Started
		if c.Started.IsZero() {
			c.Started = c.Created
		}
	case noted || !whole:
		c.State, c.Started = runtime.Unknown, note.Started
	default:
		c.State, c.drained = runtime.Created, false
	}
}

// holdAll holds the FIFOs of all containers, and has them held: whoever held them may be another by now.
func (r *Runtime) holdAll(ctx context.Context) error {
	var paths []string
	for _, p := range r.pods {
		for _, c := range p.containers {
			if err := c.hold(); err != nil {
				return err
			}
			if len(c.held) == 2 {
				paths = append(paths, c.stdout(), c.stderr())
			}
		}
	}
	if r.cfg.Holder == nil {
		return nil
	}
	return r.cfg.Holder.Hold(ctx, paths...)
}

// clearHalfMade removes what a process that was killed left: files of containers that got no record, views of images, and
// images that were being unpacked.
func (r *Runtime) clearHalfMade(ctx context.Context, records []containers.Container) error {
	if err := r.images.dropDeadLeases(ctx); err != nil {
		return err
	}
	known := map[string]bool{}
	for _, record := range records {
		known[record.ID] = true
	}
	var half []string
	err := r.snapshots.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Kind != snapshots.KindCommitted && info.Labels["containerd.io/gc.root"] == "mainstay" && !known[info.Name] && !isVolume(info) {
			half = append(half, info.Name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	for _, name := range half {
		dir := filepath.Join(r.cfg.RunDir, name)
		if strings.HasPrefix(name, lookPrefix) {
			err = errors.Join(err, unmount(dir), os.RemoveAll(dir))
		}
		err = errors.Join(err, ignoreNotFound(r.snapshots.Remove(ctx, name)))
	}
	return err
}
