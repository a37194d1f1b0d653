package containerd

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/images"
	"github.com/containerd/containerd/leases"
	"github.com/containerd/containerd/remotes"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/mainstay-gitops/mainstay/nodes/image"
)

// Pull fetches an image and unpacks it, unless what its registry has by that name is here already.
func (s *Images) Pull(ctx context.Context, ref string, auth image.Auth, f image.Follow) (image.Image, error) {
	ctx, cancel := context.WithCancel(quiet(s.client.in(ctx)))
	defer cancel()
	r, err := s.asks(ctx, ref, auth)
	if err != nil {
		return image.Image{}, err
	}
	defer r.close()
	name, desc, err := r.Resolve(ctx, ref)
	if err != nil {
		return image.Image{}, pullError(ref, err)
	}
	if i, err := s.Get(ctx, ref); err == nil && i.ID == desc.Digest.String() {
		return i, nil
	}
	if f.Turn != nil {
		if err := f.Turn(ctx); err != nil {
			return image.Image{}, err
		}
	}
	what := resolved{r, name, desc}
	if err = s.resume(ctx, what, f.Progress); refusesParts(err) {
		err = s.resume(ctx, what, f.Progress) // from the beginning: what came before was dropped
	}
	if err != nil {
		return image.Image{}, pullError(ref, err)
	}
	return s.Get(ctx, ref)
}

// resume fetches what was resolved, going on from what an interrupted pull has left. If it is interrupted itself, it leaves
// what has come by then.
func (s *Images) resume(ctx context.Context, what resolved, progress func(done, total int64)) error {
	ctx, release, err := s.lease(ctx, what.name)
	if err != nil {
		return fmt.Errorf("keep what is pulled: %w", err)
	}
	err = s.platformError(ctx, what.desc, s.fetch(ctx, what, progress))
	release(interrupted(ctx, err))
	return err
}

// fetch fetches and unpacks what was resolved.
func (s *Images) fetch(ctx context.Context, what resolved, progress func(done, total int64)) error {
	ctx, cancel := context.WithCancel(ctx)
	seen := &parts{client: s.client}
	var told sync.WaitGroup
	defer told.Wait()
	defer cancel()
	if progress != nil {
		told.Go(func() { seen.tell(ctx, progress) })
	}
	_, err := s.client.Pull(ctx, what.name,
		containerd.WithPullUnpack,
		containerd.WithPullSnapshotter(snapshotter),
		containerd.WithResolver(what),
		containerd.WithMaxConcurrentDownloads(3),
		containerd.WithImageHandler(images.HandlerFunc(seen.note)),
	)
	return err
}

// resolved is a resolver that knows the answer.
type resolved struct {
	remotes.Resolver
	name string
	desc ocispec.Descriptor
}

func (r resolved) Resolve(context.Context, string) (string, ocispec.Descriptor, error) {
	return r.name, r.desc, nil
}

// quiet keeps containerd's client from writing to the daemon's stderr: what fails is returned. hooks see what it says.
func quiet(ctx context.Context, hooks ...logrus.Hook) context.Context {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	for _, h := range hooks {
		logger.AddHook(h)
	}
	return log.WithLogger(ctx, logrus.NewEntry(logger))
}

const (
	leaseHolds = 24 * time.Hour // what came of a pull that did not end
	leaseFresh = leaseHolds / 2 // so that a pull has that long at least
	leaseLabel = "mainstay.dev/pull"
)

// lease keeps containerd's garbage collector from what a pull brings: while it goes on, and if it fails, so that the next one
// goes on from there. release gives up what is not part of an image by then, unless it is to be kept.
func (s *Images) lease(ctx context.Context, ref string) (_ context.Context, release func(keep bool), err error) {
	id := "mainstay-pull-" + digest.FromString(ref).Encoded()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leases[id] == 0 {
		if err := s.makeLease(ctx, id); err != nil {
			return nil, nil, err
		}
	}
	s.leases[id]++
	return leases.WithLease(ctx, id), func(keep bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.leases[id]--; s.leases[id] > 0 {
			return
		}
		delete(s.leases, id)
		if !keep {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			_ = s.client.LeasesService().Delete(ctx, leases.Lease{ID: id}, leases.SynchronousDelete) // it expires by itself
		}
	}, nil
}

func (s *Images) makeLease(ctx context.Context, id string) error {
	service := s.client.LeasesService()
	found, err := service.List(ctx, fmt.Sprintf("id==%q", id))
	if err != nil {
		return err
	}
	for _, l := range found {
		if time.Since(l.CreatedAt) < leaseFresh {
			return nil
		}
		if err := service.Delete(ctx, l); ignoreNotFound(err) != nil {
			return err
		}
	}
	_, err = service.Create(ctx, leases.WithID(id), leases.WithExpiration(leaseHolds), leases.WithLabels(map[string]string{leaseLabel: "true"}))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}
