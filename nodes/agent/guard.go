package agent

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/pressure"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Guard drives pods away before this node lacks what it cannot take back.
type Guard struct {
	Gauge      Gauge
	Thresholds []pressure.Threshold
	Transition time.Duration // how long a condition stays after it was last seen
	MaxGrace   time.Duration // that a pod gets when a soft threshold is crossed
}

// A Gauge measures this machine.
type Gauge interface {
	// Levels is what is left.
	Levels() (pressure.Levels, error)
	// Usage is what a pod uses, and each of its containers: of disk only when asked, since that takes long.
	Usage(ctx context.Context, p *corev1.Pod, disk bool) (pressure.Usage, map[string]pressure.Usage)
	// Reclaim takes back of the disk what nobody uses, images above all.
	Reclaim(ctx context.Context) error
}

func (g *Guard) thresholds() []pressure.Threshold {
	if g == nil {
		return nil
	}
	return g.Thresholds
}

// duty is what the guard knows from one round to the next.
type duty struct {
	past   pressure.Past
	victim types.UID // that was told to go
	told   time.Time
}

const (
	guardInterval = 10 * time.Second
	settleTime    = 3 * time.Second  // until it shows what was gained
	victimTime    = 30 * time.Second // until the next has to go, whether the last one has gone or not
)

// watchOver measures, says how the node is, and if something is short takes back what nobody uses, or else has one pod go.
func (a *Agent) watchOver(ctx context.Context, _ struct{}) (time.Duration, error) {
	j, err := a.judge()
	if err != nil || j.Act == nil {
		return guardInterval, err
	}
	if a.leaving() {
		return time.Second, nil
	}
	a.report.nodeEvent(warning("EvictionThresholdMet", "", fmt.Sprintf("Attempting to reclaim %s", j.Act.Resource())))
	if j.Act.Disk() {
		if j, err = a.reclaim(ctx); err != nil || j.Act == nil {
			return guardInterval, err
		}
	}
	v, ok := pressure.Choose(j, a.candidates(ctx, j.Act.Disk()), a.cfg.Guard.MaxGrace)
	if !ok {
		return guardInterval, nil
	}
	a.drive(v)
	return time.Second, nil
}

// judge measures, and says how the node is.
func (a *Agent) judge() (pressure.Judgement, error) {
	levels, err := a.cfg.Guard.Gauge.Levels()
	if err != nil {
		return pressure.Judgement{}, fmt.Errorf("measure what is left on this node: %w", err)
	}
	j := pressure.Judge(levels, a.cfg.Guard.Thresholds, a.cfg.Guard.Transition, a.duty.past, a.cfg.Now())
	a.duty.past = j.Next
	a.press(j.Under)
	return j, nil
}

// reclaim takes back what nobody uses, and measures anew.
func (a *Agent) reclaim(ctx context.Context) (pressure.Judgement, error) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := a.cfg.Guard.Gauge.Reclaim(limited); err != nil {
		a.report.nodeEvent(warning("FreeDiskSpaceFailed", "", err.Error()))
	}
	return a.judge()
}

// leaving tells whether a pod that was told to go is still on its way.
func (a *Agent) leaving() bool {
	since := a.cfg.Now().Sub(a.duty.told)
	if a.duty.victim == "" || since > victimTime {
		return false
	}
	if since < settleTime {
		return true
	}
	status := a.statusOf(a.duty.victim)
	return status != nil && status.Phase != corev1.PodFailed && status.Phase != corev1.PodSucceeded
}

// candidates are the pods that run here, with what they use. Those of this node's own are not: they never have to go.
func (a *Agent) candidates(ctx context.Context, disk bool) []pressure.Pod {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var all []pressure.Pod
	for p := range store.List[*corev1.Pod](a.cfg.Reader.Snapshot(), store.OnNode(a.cfg.Node.Name)) {
		status := a.statusOf(p.UID)
		if local(p) != p.UID || p.DeletionTimestamp != nil || status == nil || status.Phase != corev1.PodRunning && status.Phase != corev1.PodPending || status.Reason != "" {
			continue
		}
		c := pressure.Pod{Pod: p}
		c.Usage, c.Containers = a.cfg.Guard.Gauge.Usage(limited, p, disk)
		all = append(all, c)
	}
	return all
}

// drive tells a pod to go.
func (a *Agent) drive(v pressure.Victim) {
	a.mu.Lock()
	w := a.workers[v.UID]
	if w == nil {
		a.mu.Unlock()
		return
	}
	key := w.key
	a.mu.Unlock()
	a.duty.victim, a.duty.told = v.UID, a.cfg.Now()
	if p, ok := store.Get[*corev1.Pod](a.cfg.Reader.Snapshot(), key.Namespace, key.Name); ok && p.UID == v.UID {
		a.podEvent(p, warning(pod.Evicted, "", v.Message))
	}
	a.cfg.Log.Warn("evicting a pod", "pod", key.Namespace+"/"+key.Name, "why", v.Message)
	a.evict(w, pod.Eviction{Reason: pod.Evicted, Message: v.Message, Grace: v.Grace})
}
