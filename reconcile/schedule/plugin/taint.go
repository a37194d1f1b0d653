package plugin

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	helper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"

	"github.com/mainstay-gitops/mainstay/reconcile/schedule"
)

// Unschedulable refuses nodes that are cordoned.
type Unschedulable struct{}

func (Unschedulable) Name() string { return "NodeUnschedulable" }

func (Unschedulable) Prepare(pod *corev1.Pod, _ *schedule.View) func(*schedule.NodeInfo) *schedule.Reject {
	cordon := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	if helper.TolerationsTolerateTaint(klog.Background(), pod.Spec.Tolerations, &cordon, false) {
		return nil
	}
	return func(n *schedule.NodeInfo) *schedule.Reject {
		if n.Node.Spec.Unschedulable {
			return reject(true, "node(s) were unschedulable")
		}
		return nil
	}
}

// TaintToleration refuses nodes with a taint NoSchedule or NoExecute that the pod does not tolerate.
type TaintToleration struct{}

func (TaintToleration) Name() string { return "TaintToleration" }

func (TaintToleration) Prepare(pod *corev1.Pod, _ *schedule.View) func(*schedule.NodeInfo) *schedule.Reject {
	hard := func(t *corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	}
	return func(n *schedule.NodeInfo) *schedule.Reject {
		t, found := helper.FindMatchingUntoleratedTaint(klog.Background(), n.Node.Spec.Taints, pod.Spec.Tolerations, hard, false)
		if !found {
			return nil
		}
		return reject(true, fmt.Sprintf("node(s) had untolerated taint {%s: %s}", t.Key, t.Value))
	}
}

// PreferredTaints prefers nodes with fewer taints PreferNoSchedule that the pod does not tolerate.
type PreferredTaints struct{}

func (PreferredTaints) Name() string { return "TaintToleration" }

func (PreferredTaints) Prepare(pod *corev1.Pod, _ *schedule.View, feasible []*schedule.NodeInfo) func(*schedule.NodeInfo) int64 {
	return normal(func(n *schedule.NodeInfo) int64 {
		var bad int64
		for _, t := range n.Node.Spec.Taints {
			if t.Effect == corev1.TaintEffectPreferNoSchedule && !helper.TolerationsTolerateTaint(klog.Background(), pod.Spec.Tolerations, &t, false) {
				bad++
			}
		}
		return bad
	}, feasible, true)
}
