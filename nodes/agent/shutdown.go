package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/pressure"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Shutdown ends the pods of this node, those of the lowest priority first, and says that the node is not ready; nothing is
// started after that. Critical pods end last: they have critical of all the time that there is, grace. Pods that a
// controller looks after have failed, so that it makes others; those that nobody would make anew only rest, and run again
// when there is an agent again. It returns when all have ended, or grace is over, and tells of each group.
func (a *Agent) Shutdown(ctx context.Context, grace, critical time.Duration, tell func(string)) {
	a.mu.Lock()
	a.state.stopping = true
	a.mu.Unlock()
	a.heart.Wake(struct{}{})
	start := a.cfg.Now()
	groups := a.byPriority()
	for i, g := range groups {
		end := start.Add(grace - critical)
		if g.critical || i == len(groups)-1 && critical == 0 {
			end = start.Add(grace)
		}
		left := max(end.Sub(a.cfg.Now()), 0)
		tell(fmt.Sprintf("ending %s of priority %d, within %s", plural(len(g.pods), "pod"), g.priority, left.Round(time.Second)))
		for _, p := range g.pods {
			a.rest(p, left)
		}
		still := a.await(ctx, g.pods, left+killTime)
		for _, p := range still {
			tell(fmt.Sprintf("pod %s/%s has not ended", p.Namespace, p.Name))
		}
	}
}

const (
	killTime        = 3 * time.Second // for what was killed to be gone
	shutdownMessage = "Pod was terminated in response to imminent node shutdown."
)

type priorityGroup struct {
	priority int32
	critical bool
	pods     []*corev1.Pod
}

// byPriority are the pods of this node that have not ended, in groups, the lowest first.
func (a *Agent) byPriority() []priorityGroup {
	var all []priorityGroup
	for _, p := range slices.SortedStableFunc(store.List[*corev1.Pod](a.cfg.Reader.Snapshot(), store.OnNode(a.cfg.Node.Name), store.Active), func(x, y *corev1.Pod) int {
		return cmp.Compare(priorityOf(x), priorityOf(y))
	}) {
		if len(all) == 0 || all[len(all)-1].priority != priorityOf(p) {
			c := pressure.Pod{Pod: p}
			all = append(all, priorityGroup{priority: priorityOf(p), critical: c.Critical()})
		}
		last := &all[len(all)-1]
		last.pods = append(last.pods, p)
	}
	return all
}

func priorityOf(p *corev1.Pod) int32 {
	if p.Spec.Priority == nil {
		return 0
	}
	return *p.Spec.Priority
}

// rest has a pod end: for good if somebody makes another in its place, else for now.
func (a *Agent) rest(p *corev1.Pod, grace time.Duration) {
	a.mu.Lock()
	w := a.workers[local(p)]
	a.mu.Unlock()
	if w == nil {
		return
	}
	e := pod.Eviction{Grace: grace}
	if local(p) == p.UID && metav1.GetControllerOf(p) != nil {
		e.Reason, e.Message = pod.Terminated, shutdownMessage
	}
	a.evict(w, e)
}

// await returns when none of these pods runs any more, by what is stored of them, or after d: then with those that do.
func (a *Agent) await(ctx context.Context, pods []*corev1.Pod, d time.Duration) []*corev1.Pod {
	end := time.NewTimer(d)
	defer end.Stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		pods = slices.DeleteFunc(pods, a.ended)
		if len(pods) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return pods
		case <-end.C:
			return pods
		case <-look.C:
		}
	}
}

// ended tells whether nothing of a pod runs.
func (a *Agent) ended(p *corev1.Pod) bool {
	now, ok := store.Get[*corev1.Pod](a.cfg.Reader.Snapshot(), p.Namespace, p.Name)
	return !ok || now.UID != p.UID || !slices.ContainsFunc(slices.Concat(now.Status.InitContainerStatuses, now.Status.ContainerStatuses, now.Status.EphemeralContainerStatuses),
		func(c corev1.ContainerStatus) bool { return c.State.Running != nil })
}

// hush keeps a pod from starting while the node shuts down.
func (a *Agent) hush(w *worker) {
	a.mu.Lock()
	stopping := a.state.stopping
	a.mu.Unlock()
	if stopping && w.seen.Sandbox == nil && w.seen.Eviction == nil {
		w.seen.Eviction = &pod.Eviction{}
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
