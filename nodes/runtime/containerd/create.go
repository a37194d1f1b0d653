package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	apitypes "github.com/containerd/containerd/api/types"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/containers"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/identifiers"
	"github.com/containerd/containerd/oci"
	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mainstay-gitops/mainstay/nodes/fifo"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// A container's record in containerd says which it is by labels, for people too, and what else is told of it by an
// extension.
const (
	labelPod       = "mainstay.dev/pod"
	labelContainer = "mainstay.dev/container"
	labelAttempt   = "mainstay.dev/attempt"
	extension      = "mainstay.dev/container"
)

// runcShim is what containerd runs containers with.
const runcShim = "io.containerd.runc.v2"

func (r *Runtime) Create(ctx context.Context, spec runtime.ContainerSpec) error {
	p, err := r.pod(spec.ID.Pod)
	if err != nil {
		return err
	}
	if _, _, err := r.container(spec.ID); err == nil {
		return ctx.Err()
	}
	if box, _ := r.Sandbox(ctx, spec.ID.Pod); !box.Ready {
		return fmt.Errorf("sandbox of pod %s: %w", spec.ID.Pod, runtime.ErrNotFound)
	}
	ctx, cancel := r.call(ctx)
	defer cancel()
	if err := r.create(ctx, p, spec); err != nil {
		return fmt.Errorf("create container %s: %w", spec.ID, err)
	}
	return nil
}

func (r *Runtime) create(ctx context.Context, p *pod, spec runtime.ContainerSpec) error {
	image, err := r.images.stored(ctx, spec.Image)
	if err != nil {
		return err
	}
	accounts, err := r.accountsOf(ctx, image)
	if err != nil {
		return err
	}
	user, err := userOf(spec.Security, image.Config.User, accounts)
	if err != nil {
		return err
	}
	if len(spec.Argv(image.Config.Entrypoint, image.Config.Cmd)) == 0 {
		return &runtime.ConfigError{Reason: "no command: neither the container nor its image names one"}
	}
	if err := checkPropagation(spec.Mounts); err != nil {
		return err
	}
	c := newContainer(p, spec, image)
	plan := plan{
		container: spec, pod: p.spec, image: image.Config, user: user, host: r.host,
		dir: p.dir, cgroup: c.cgroup, group: string(spec.ID.Pod),
	}
	if err := r.make(ctx, p, c, image, plan); err != nil {
		return errors.Join(err, r.discard(ctx, c))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.containers = append(p.containers, c)
	r.keys[c.key] = c.ID
	return nil
}

// make makes what a container is planned to be, of which an error may leave some.
func (r *Runtime) make(ctx context.Context, p *pod, c *container, image *storedImage, plan plan) (err error) {
	if plan.container.Security.Privileged {
		if plan.devices, err = oci.HostDevices(); err != nil {
			return err
		}
	}
	if plan.seccomp, err = r.ownSeccomp(plan.container.Security); err != nil {
		return err
	}
	if plan.target, err = r.pinTarget(p, c, plan.container.TargetPIDs); err != nil {
		return err
	}
	spec := plan.spec()
	if err := confine(ctx, plan.container.Security.AppArmor, spec); err != nil {
		return err
	}
	return r.prepare(ctx, c, image, spec)
}

func newContainer(p *pod, spec runtime.ContainerSpec, image *storedImage) *container {
	c := identify(p.dir, p.cgroup, spec.ID)
	c.Container = runtime.Container{
		ID: spec.ID, Cgroup: c.cgroup, State: runtime.Created, Image: spec.Image, ImageID: image.ID,
		Created: time.Now().Round(0).UTC(), StopSignal: spec.StopSignal, Stdin: spec.Stdin, TTY: spec.TTY, Labels: spec.Labels,
	}
	if c.StopSignal == 0 {
		c.StopSignal = stopSignal(image.Config.StopSignal)
	}
	return c
}

// identify is a container of which no more is known than its name.
func identify(dir, cgroup string, id runtime.ID) *container {
	name := id.Name + "." + strconv.Itoa(id.Attempt)
	group := path.Join(cgroup, name)
	return &container{
		Container: runtime.Container{ID: id, Cgroup: group},
		key:       keyOf(id),
		cgroup:    group,
		files:     filepath.Join(dir, name),
	}
}

// keyOf is what containerd knows a container by: its id, or where containerd's rules forbid that, a digest of it.
func keyOf(id runtime.ID) string {
	if s := id.String(); identifiers.Validate(s) == nil {
		return s
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(id.String())))
}

// prepare makes all that a container needs before it can start. Its files and its record do not depend on each other, and
// each waits for the disk, so they are made at the same time.
func (r *Runtime) prepare(ctx context.Context, c *container, image *storedImage, spec *specs.Spec) error {
	record, err := r.record(c, spec)
	if err != nil {
		return err
	}
	if err := r.openStreams(ctx, c); err != nil {
		return err
	}
	for again := true; ; again = false {
		var wg sync.WaitGroup
		var noted error
		wg.Go(func() { _, noted = r.records.Create(ctx, record) })
		err := r.snapshot(ctx, c, image)
		wg.Wait()
		switch {
		case errdefs.IsNotFound(err) && again:
			err = r.images.unpack(ctx, image)
		case (errdefs.IsAlreadyExists(err) || errdefs.IsAlreadyExists(noted)) && again:
			err = nil // of an earlier call that did not get to its end
		default:
			return errors.Join(err, noted)
		}
		if err = errors.Join(err, r.discardStored(ctx, c)); err != nil {
			return err
		}
	}
}

// snapshot makes a container's files. The label keeps them from containerd's collector until the record refers to them.
func (r *Runtime) snapshot(ctx context.Context, c *container, image *storedImage) error {
	mounts, err := r.snapshots.Prepare(ctx, c.key, image.chain, snapshots.WithLabels(keep()))
	for _, m := range mounts {
		c.mounts = append(c.mounts, &apitypes.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	return err
}

func keep() map[string]string {
	return map[string]string{"containerd.io/gc.root": "mainstay"}
}

func (r *Runtime) record(c *container, spec *specs.Spec) (containers.Container, error) {
	encoded, err := typeurl.MarshalAny(spec)
	if err != nil {
		return containers.Container{}, err
	}
	options, err := typeurl.MarshalAny(&runcoptions.Options{Root: filepath.Join(r.cfg.RunDir, "runc")})
	if err != nil {
		return containers.Container{}, err
	}
	known, err := json.Marshal(c.Container)
	if err != nil {
		return containers.Container{}, err
	}
	return containers.Container{
		ID:          c.key,
		Labels:      map[string]string{labelPod: string(c.ID.Pod), labelContainer: c.ID.Name, labelAttempt: strconv.Itoa(c.ID.Attempt)},
		Image:       c.Image,
		Runtime:     containers.RuntimeInfo{Name: runcShim, Options: options},
		Spec:        encoded,
		SnapshotKey: c.key,
		Snapshotter: snapshotter,
		Extensions:  map[string]typeurl.Any{extension: &anypb.Any{TypeUrl: extension, Value: known}},
	}, nil
}

// openStreams makes the FIFOs that a container reads and writes, and holds those that it writes to.
func (r *Runtime) openStreams(ctx context.Context, c *container) error {
	if c.Stdin {
		if err := fifo.Make(c.stdin()); err != nil {
			return err
		}
	}
	for _, path := range []string{c.stdout(), c.stderr()} {
		if err := fifo.Make(path); err != nil {
			return err
		}
	}
	if err := c.hold(); err != nil || r.cfg.Holder == nil {
		return err
	}
	return r.cfg.Holder.Hold(ctx, c.stdout(), c.stderr())
}

// hold opens the FIFOs that are there.
func (c *container) hold() error {
	for _, path := range []string{c.stdout(), c.stderr()} {
		h, err := fifo.Hold(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		c.held = append(c.held, h)
	}
	return nil
}

// letGo gives the descriptors of its FIFOs back.
func (c *container) letGo() {
	for _, h := range c.held {
		h.Close()
	}
	c.held = nil
}

// discard removes all of a container that has no task.
func (r *Runtime) discard(ctx context.Context, c *container) error {
	ctx, cancel := r.call(context.WithoutCancel(ctx))
	defer cancel()
	err := r.discardStored(ctx, c)
	c.letGo()
	err = errors.Join(err, c.releaseTarget())
	if r.cfg.Holder != nil {
		err = errors.Join(err, r.cfg.Holder.Release(ctx, c.stdout(), c.stderr()))
	}
	for _, path := range []string{c.stdin(), c.stdout(), c.stderr(), c.state(), c.target()} {
		if e := os.Remove(path); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// discardStored removes a container's record and its files.
func (r *Runtime) discardStored(ctx context.Context, c *container) error {
	var wg sync.WaitGroup
	var record error
	wg.Go(func() { record = ignoreNotFound(r.records.Delete(ctx, c.key)) })
	err := ignoreNotFound(r.snapshots.Remove(ctx, c.key))
	wg.Wait()
	c.mounts = nil
	return errors.Join(err, record)
}

func ignoreNotFound(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// stopSignal reads what an image says, such as SIGQUIT or 3; SIGTERM if that is nothing.
func stopSignal(name string) syscall.Signal {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n < 65 {
		return syscall.Signal(n)
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig
	}
	return syscall.SIGTERM
}
