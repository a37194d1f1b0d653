// Package runtimetest has a Runtime in memory, and the suite that every Runtime must pass.
package runtimetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// A Fake is a Runtime in memory. Programs are scripts (package script), anything else runs until a signal ends it. Time is
// what Now says; what is due happens in Step, or in a goroutine in Run. The same calls at the same times give the same
// results. Set the fields before the first call.
type Fake struct {
	Now    func() time.Time
	Fault  func(Call) Fault // asked by each call that changes something; nil: none
	Notify func(types.UID)  // told of the same pods as Events, in the goroutine that made the change; nil: nobody

	feed runtime.Feed

	mu      sync.Mutex
	moved   *sync.Cond // a container wrote something or ended
	pods    map[types.UID]*sandbox
	images  map[string]FakeImage
	changed chan struct{} // has one token while Run should look at its timer again
}

// A FakeImage is one that is present.
type FakeImage struct {
	Digest          string
	Entrypoint, Cmd []string
	Env             []string
	WorkingDir      string
	UID             int64    // of its user
	Programs        []string // that can be started; nil: any
}

// A Call is one that can fail. ID is empty for sandboxes.
type Call struct {
	Verb string // of runtime.Runtime, as "Create"
	Pod  types.UID
	ID   runtime.ID
}

// A Fault is how a call fails: before it did anything or, if Done, after it did all, as when its answer is lost.
type Fault struct {
	Err  error
	Done bool
}

// NewFake makes one that holds the image of the suite.
func NewFake(now func() time.Time) *Fake {
	f := &Fake{Now: now, pods: map[types.UID]*sandbox{}, images: map[string]FakeImage{}, changed: make(chan struct{}, 1)}
	f.moved = sync.NewCond(&f.mu)
	f.AddImage(ImageName, FakeImage{
		Digest:     "sha256:" + strings.Repeat("5", 64),
		Entrypoint: []string{"/prog"}, Cmd: []string{"wait"}, Env: []string{"PATH=/", "FROM=image"}, WorkingDir: "/data",
		Programs: []string{"/prog"},
	})
	return f
}

// AddImage makes an image present; RemoveImage undoes it.
func (f *Fake) AddImage(name string, image FakeImage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.images[name] = image
}

// RemoveImage makes an image absent. Containers that were made from it stay.
func (f *Fake) RemoveImage(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.images, name)
}

type sandbox struct {
	runtime.Sandbox
	spec       runtime.SandboxSpec
	containers []*container
}

func (s *sandbox) view() runtime.Sandbox {
	out := s.Sandbox
	out.Labels, out.Images = maps.Clone(s.Labels), slices.Clone(s.Images)
	for _, c := range s.containers {
		v := c.Container
		v.Labels = maps.Clone(c.Labels)
		out.Containers = append(out.Containers, v)
	}
	return out
}

func (f *Fake) find(id runtime.ID) (*container, bool) {
	s, ok := f.pods[id.Pod]
	if !ok {
		return nil, false
	}
	i := slices.IndexFunc(s.containers, func(c *container) bool { return c.ID == id })
	if i < 0 {
		return nil, false
	}
	return s.containers[i], true
}

// change does something to a pod under the lock, with the fault that is asked for, and tells who listens when do says so.
func (f *Fake) change(ctx context.Context, call Call, do func() (changed bool, err error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var fault Fault
	if f.Fault != nil {
		fault = f.Fault(call)
	}
	if fault.Err != nil && !fault.Done {
		return fmt.Errorf("%s: %w", call.Verb, fault.Err)
	}
	f.mu.Lock()
	changed, err := do()
	f.mu.Unlock()
	if changed {
		f.tell(call.Pod)
	}
	if err == nil && fault.Err != nil {
		err = fmt.Errorf("%s: %w", call.Verb, fault.Err)
	}
	return err
}

// Sandboxes lists them in the order of their uids.
func (f *Fake) Sandboxes(ctx context.Context) ([]runtime.Sandbox, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []runtime.Sandbox
	for _, uid := range slices.Sorted(maps.Keys(f.pods)) {
		out = append(out, f.pods[uid].view())
	}
	return out, ctx.Err()
}

func (f *Fake) Sandbox(ctx context.Context, pod types.UID) (runtime.Sandbox, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.pods[pod]
	if !ok {
		return runtime.Sandbox{}, fmt.Errorf("sandbox of pod %s: %w", pod, runtime.ErrNotFound)
	}
	return s.view(), ctx.Err()
}

func (f *Fake) MakeSandbox(ctx context.Context, spec runtime.SandboxSpec) (out runtime.Sandbox, err error) {
	err = f.change(ctx, Call{Verb: "MakeSandbox", Pod: spec.Pod}, func() (bool, error) {
		if spec.Handler != "" && spec.Handler != "runc" {
			return false, fmt.Errorf("make sandbox of pod %s: no runtime for handler %q is on this node", spec.Pod, spec.Handler)
		}
		s, ok := f.pods[spec.Pod]
		if !ok || !s.Ready {
			f.clear(s)
			s = &sandbox{spec: spec, Sandbox: runtime.Sandbox{
				Pod: spec.Pod, Namespace: spec.Namespace, Name: spec.Name, Ready: true, Created: f.Now(), Labels: maps.Clone(spec.Labels),
			}}
			if !spec.HostNetwork {
				s.NetNS = "/run/fake/pods/" + string(spec.Pod) + "/net"
			}
			f.pods[spec.Pod] = s
		}
		out = s.view()
		return false, nil
	})
	return out, err
}

func (f *Fake) RemoveSandbox(ctx context.Context, pod types.UID) error {
	return f.change(ctx, Call{Verb: "RemoveSandbox", Pod: pod}, func() (bool, error) {
		s, ok := f.pods[pod]
		if !ok {
			return false, nil
		}
		f.clear(s)
		delete(f.pods, pod)
		return len(s.containers) > 0, nil
	})
}

// clear ends the containers of a sandbox, which may be nil.
func (f *Fake) clear(s *sandbox) {
	if s == nil {
		return
	}
	for _, c := range s.containers {
		c.removed = true
		f.end(c, 137)
	}
	f.moved.Broadcast()
}

func (f *Fake) MountImage(ctx context.Context, pod types.UID, volume, image string) (out runtime.ImageMount, err error) {
	err = f.change(ctx, Call{Verb: "MountImage", Pod: pod}, func() (bool, error) {
		s, ok := f.pods[pod]
		if !ok || !s.Ready {
			return false, fmt.Errorf("sandbox of pod %s: %w", pod, runtime.ErrNotFound)
		}
		if i := slices.IndexFunc(s.Images, func(m runtime.ImageMount) bool { return m.Volume == volume }); i >= 0 {
			out = s.Images[i]
			return false, nil
		}
		found, ok := f.images[image]
		if !ok {
			return false, fmt.Errorf("image %s: %w", image, runtime.ErrNoImage)
		}
		out = runtime.ImageMount{Volume: volume, Image: image, ImageID: found.Digest, Path: "/run/fake/pods/" + string(pod) + "/images/" + volume}
		s.Images = append(s.Images, out)
		return false, nil
	})
	return out, err
}

func (f *Fake) Create(ctx context.Context, spec runtime.ContainerSpec) error {
	return f.change(ctx, Call{Verb: "Create", Pod: spec.ID.Pod, ID: spec.ID}, func() (bool, error) {
		if _, ok := f.find(spec.ID); ok {
			return false, nil
		}
		s, ok := f.pods[spec.ID.Pod]
		if !ok || !s.Ready {
			return false, fmt.Errorf("sandbox of pod %s: %w", spec.ID.Pod, runtime.ErrNotFound)
		}
		image, ok := f.images[spec.Image]
		if !ok {
			return false, fmt.Errorf("image %s: %w", spec.Image, runtime.ErrNoImage)
		}
		c, err := newContainer(spec, s.spec, image, f.Now())
		if err == nil {
			s.containers = append(s.containers, c)
		}
		return false, err
	})
}
