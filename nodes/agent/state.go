package agent

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/pressure"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// state is how this node is, as far as pods and the cluster must know.
type state struct {
	under    map[corev1.NodeConditionType]bool // the pressure that it is under; nil: nobody measured yet
	stopping bool
}

// saying of a condition: the words are kubelet's, by which tools know them.
type wording struct{ is, isNot, sayIs, sayIsNot, event, relief string }

func wordingOf(t corev1.NodeConditionType) wording {
	switch t {
	case corev1.NodeMemoryPressure:
		return wording{
			"KubeletHasInsufficientMemory", "KubeletHasSufficientMemory", "kubelet has insufficient memory available", "kubelet has sufficient memory available",
			"NodeHasInsufficientMemory", "NodeHasSufficientMemory",
		}
	case corev1.NodeDiskPressure:
		return wording{
			"KubeletHasDiskPressure", "KubeletHasNoDiskPressure", "kubelet has disk pressure", "kubelet has no disk pressure",
			"NodeHasDiskPressure", "NodeHasNoDiskPressure",
		}
	}
	return wording{
		"KubeletHasInsufficientPID", "KubeletHasSufficientPID", "kubelet has insufficient PID available", "kubelet has sufficient PID available",
		"NodeHasInsufficientPID", "NodeHasSufficientPID",
	}
}

// conditions are the node's as they are now.
func (a *Agent) conditions(now metav1.Time) []corev1.NodeCondition {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []corev1.NodeCondition
	if a.state.under != nil {
		for _, t := range pressure.Conditions() {
			w := wordingOf(t)
			c := corev1.NodeCondition{Type: t, Status: corev1.ConditionFalse, Reason: w.isNot, Message: w.sayIsNot}
			if a.state.under[t] {
				c.Status, c.Reason, c.Message = corev1.ConditionTrue, w.is, w.sayIs
			}
			all = append(all, c)
		}
	}
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "AgentReady", Message: "the agent runs"}
	if a.state.stopping {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, "AgentNotReady", "node is shutting down"
	}
	all = append(all, ready)
	for i := range all {
		all[i].LastHeartbeatTime, all[i].LastTransitionTime = now, now
	}
	return all
}

// known tells whether the node is stored, with the conditions that it has.
func (a *Agent) known(s *store.Snapshot) bool {
	n, ok := store.Get[*corev1.Node](s, "", a.cfg.Node.Name)
	if !ok {
		return false
	}
	stored := map[corev1.NodeConditionType]corev1.ConditionStatus{}
	for _, c := range n.Status.Conditions {
		stored[c.Type] = c.Status
	}
	for _, c := range a.conditions(metav1.Time{}) {
		if stored[c.Type] != c.Status {
			return false
		}
	}
	return true
}

// press notes the pressure that the node is under, and tells of what changed.
func (a *Agent) press(under map[corev1.NodeConditionType]bool) {
	a.mu.Lock()
	was := a.state.under
	a.state.under = under
	a.mu.Unlock()
	for _, t := range pressure.Conditions() {
		switch {
		case under[t] && !was[t]:
			a.report.nodeEvent(normal(wordingOf(t).event, "", a.nodeStatusIs(wordingOf(t).event)))
		case !under[t] && was[t]:
			a.report.nodeEvent(normal(wordingOf(t).relief, "", a.nodeStatusIs(wordingOf(t).relief)))
		}
	}
	if !a.known(a.cfg.Reader.Snapshot()) {
		a.heart.Wake(struct{}{})
	}
}

func (a *Agent) nodeStatusIs(event string) string {
	return "Node " + a.cfg.Node.Name + " status is now: " + event
}

// evict has a pod end, for a reason of this node's own.
func (a *Agent) evict(w *worker, e pod.Eviction) {
	a.post(w, func(w *worker) {
		if w.seen.Eviction == nil {
			w.seen.Eviction = &e
		}
	})
}
