package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"sync"

	"github.com/containerd/containerd/leases"
	"github.com/containerd/containerd/snapshots"
	"k8s.io/apimachinery/pkg/types"
)

// Clear removes all sandboxes with their containers, and what this runtime has in its run folder and its cgroup. Images
// stay. Nothing else may be called meanwhile but Run, and nothing afterwards.
func (r *Runtime) Clear(ctx context.Context) error {
	r.mu.Lock()
	all := make(chan types.UID, len(r.pods))
	for uid := range r.pods {
		all <- uid
	}
	close(all)
	r.mu.Unlock()
	errs := make([]error, 2*goruntime.NumCPU())
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for uid := range all {
				errs[i] = errors.Join(errs[i], r.RemoveSandbox(ctx, uid))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, name := range []string{"pods", "runc"} {
		dir := filepath.Join(r.cfg.RunDir, name)
		if err := errors.Join(unmountUnder(dir), os.RemoveAll(dir)); err != nil {
			return fmt.Errorf("clear container runtime: %w", err)
		}
	}
	return r.cfg.Tree.Remove(ctx, r.cfg.Pods.Root())
}

// RemoveAll removes all images, and the namespace of containerd that they were in. No container may be left in it.
func (s *Images) RemoveAll(ctx context.Context) error {
	if err := s.removeAll(s.client.in(ctx)); err != nil {
		return fmt.Errorf("remove all images: %w", err)
	}
	return nil
}

func (s *Images) removeAll(ctx context.Context) error {
	held, err := s.client.LeasesService().List(ctx)
	if err != nil {
		return err
	}
	for _, l := range held {
		if err := s.client.LeasesService().Delete(ctx, leases.Lease{ID: l.ID}); ignoreNotFound(err) != nil {
			return err
		}
	}
	all, err := s.store.List(ctx)
	if err != nil {
		return err
	}
	for _, i := range all {
		if err := s.Remove(ctx, i.Name); err != nil { // the last one waits until the blobs are gone too
			return err
		}
	}
	if err := s.removeSnapshots(ctx); err != nil {
		return err
	}
	return ignoreNotFound(s.client.NamespaceService().Delete(ctx, s.client.namespace))
}

// removeSnapshots removes them children first: those that have any cannot be, and are tried again.
func (s *Images) removeSnapshots(ctx context.Context) error {
	store := s.client.SnapshotService(snapshotter)
	for before := -1; ; {
		var names []string
		err := store.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
			names = append(names, info.Name)
			return nil
		})
		if err != nil || len(names) == 0 {
			return err
		}
		var errs []error
		for _, name := range names {
			errs = append(errs, ignoreNotFound(store.Remove(ctx, name)))
		}
		if len(names) == before {
			return errors.Join(errs...)
		}
		before = len(names)
	}
}
