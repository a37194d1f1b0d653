package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/cio"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/oci"
)

// A bareLoop does the least that starts containers: no pods, no network, no limits, no output. It uses a node's containerd,
// in a containerd namespace of its own.
type bareLoop struct {
	client *containerd.Client
	image  containerd.Image
	group  string // cgroup, which goes with the node's
	root   string // of runc
}

// bareWorkers is how many containers are started at a time: on two cores more bring nothing.
const bareWorkers = 2

func newBareLoop(ctx context.Context, n *node) (*bareLoop, error) {
	socket, err := n.containerdSocket()
	if err != nil {
		return nil, err
	}
	l := &bareLoop{group: n.group("bare"), root: n.b.path("runc")}
	if l.client, err = containerd.New(socket, containerd.WithTimeout(10*time.Second)); err != nil {
		return nil, fmt.Errorf("connect to the node's containerd: %w", err)
	}
	if l.image, err = l.load(l.in(ctx), imageFile(n.b.dir, "v1")); err != nil {
		return nil, errors.Join(fmt.Errorf("load the image for the bare loop: %w", err), l.client.Close())
	}
	return l, nil
}

// in is ctx in the loop's containerd namespace.
func (l *bareLoop) in(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, "bare")
}

func (l *bareLoop) load(ctx context.Context, file string) (containerd.Image, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	images, err := l.client.Import(ctx, f)
	if err != nil {
		return nil, err
	}
	image := containerd.NewImage(l.client, images[0])
	return image, image.Unpack(ctx, containerd.DefaultSnapshotter)
}

// startAll starts n containers, and removes them. It returns how long the start of all took.
func (l *bareLoop) startAll(ctx context.Context, n int) (time.Duration, error) {
	started := time.Now()
	err := each(n, func(i int) error { return l.start(l.in(ctx), i) })
	took := time.Since(started)
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return took, errors.Join(err, each(n, func(i int) error { return l.remove(l.in(late), i) }))
}

// each calls do for the numbers below n, by bareWorkers workers.
func each(n int, do func(int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for w := range bareWorkers {
		wg.Go(func() {
			for i := w; i < n; i += bareWorkers {
				errs[i] = do(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (l *bareLoop) start(ctx context.Context, i int, more ...oci.SpecOpts) error {
	_, err := l.startWith(ctx, i, cio.NullIO, more...)
	return err
}

// startWith starts a container whose output goes to out.
func (l *bareLoop) startWith(ctx context.Context, i int, out cio.Creator, more ...oci.SpecOpts) (containerd.Task, error) {
	id := fmt.Sprint("bare-", i)
	spec := append([]oci.SpecOpts{oci.WithImageConfig(l.image), oci.WithCgroup(filepath.Join(l.group, id))}, more...)
	c, err := l.client.NewContainer(ctx, id,
		containerd.WithImage(l.image),
		containerd.WithNewSnapshot(id, l.image),
		containerd.WithRuntime("io.containerd.runc.v2", &runcoptions.Options{Root: l.root}),
		containerd.WithNewSpec(spec...))
	if err != nil {
		return nil, err
	}
	task, err := c.NewTask(ctx, out)
	if err != nil {
		return nil, err
	}
	return task, task.Start(ctx)
}

func (l *bareLoop) remove(ctx context.Context, i int) error {
	c, err := l.client.LoadContainer(ctx, fmt.Sprint("bare-", i))
	if err != nil {
		return err
	}
	if task, err := c.Task(ctx, nil); err == nil {
		if _, err := task.Delete(ctx, containerd.WithProcessKill); err != nil {
			return err
		}
	}
	return c.Delete(ctx, containerd.WithSnapshotCleanup)
}

func (l *bareLoop) close() error { return l.client.Close() }
