package agent

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const (
	measureEach  = 10 * time.Second
	measureShare = 20 // of the time goes at most one part in this into measuring
	evictGrace   = time.Second
)

// watchStorage has pods go that use more of the disk than they may, until ctx ends. Where measuring takes long it is done
// less often.
func (a *Agent) watchStorage(ctx context.Context) error {
	timer := time.NewTimer(measureEach)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		begun := time.Now()
		a.MeasureStorage(ctx)
		timer.Reset(max(measureEach, measureShare*time.Since(begun)))
	}
}

// MeasureStorage measures once what pods use that have limits, and evicts those that use more. While Run runs nobody needs
// to call it.
func (a *Agent) MeasureStorage(ctx context.Context) {
	for p := range store.List[*corev1.Pod](a.cfg.Reader.Snapshot(), store.OnNode(a.cfg.Node.Name)) {
		if p.DeletionTimestamp != nil || p.Status.Reason == pod.Evicted || !pod.LimitsStorage(p) {
			continue
		}
		a.mu.Lock()
		w := a.workers[p.UID]
		a.mu.Unlock()
		if w == nil {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, patience)
		why := pod.Overused(p, a.storageOf(limited, p))
		cancel()
		if ctx.Err() != nil || why == "" {
			continue
		}
		a.podEvent(p, warning(pod.Evicted, "", why))
		a.evict(w, pod.Eviction{Reason: pod.Evicted, Message: why, Grace: evictGrace})
	}
}

// storageOf is what a pod uses. What has gone meanwhile uses nothing.
func (a *Agent) storageOf(ctx context.Context, p *corev1.Pod) pod.Storage {
	used := a.cfg.Volumes.Usage(ctx, p)
	box, err := a.cfg.Runtime.Sandbox(ctx, p.UID)
	if err != nil {
		return used
	}
	for _, c := range box.Containers {
		n, err := a.cfg.Runtime.Written(ctx, c.ID)
		if err != nil && !errors.Is(err, runtime.ErrNotFound) && ctx.Err() == nil {
			a.cfg.Log.Warn("a container cannot be measured", "pod", p.Namespace+"/"+p.Name, "container", c.ID.Name, "err", err)
		}
		used.Containers[c.ID.Name] += n
	}
	return used
}
