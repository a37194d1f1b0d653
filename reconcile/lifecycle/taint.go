package lifecycle

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// taints are those that n should have: the ones that its conditions call for, and whatever others it has. Each taint that
// drives pods away bears the time of its arrival, since the pods that bear it for a while count from there.
func taints(n *corev1.Node, now metav1.Time) []corev1.Taint {
	wanted := conditionTaints(n)
	var next []corev1.Taint
	for _, t := range n.Spec.Taints {
		id := taintID{t.Key, t.Effect}
		if want, ours := wanted[id]; ours && !want {
			continue
		}
		delete(wanted, id)
		if t.TimeAdded == nil && t.Effect == corev1.TaintEffectNoExecute {
			t.TimeAdded = &now
		}
		next = append(next, t)
	}
	for _, id := range ownTaints {
		if wanted[id] {
			next = append(next, corev1.Taint{Key: id.key, Effect: id.effect, TimeAdded: &now})
		}
	}
	return next
}

type taintID struct {
	key    string
	effect corev1.TaintEffect
}

// ownTaints are those that conditions decide about, in the order in which they are added.
var ownTaints = []taintID{
	{corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule},
	{corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute},
	{corev1.TaintNodeUnreachable, corev1.TaintEffectNoSchedule},
	{corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute},
	{corev1.TaintNodeMemoryPressure, corev1.TaintEffectNoSchedule},
	{corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule},
	{corev1.TaintNodePIDPressure, corev1.TaintEffectNoSchedule},
	{corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule},
	{corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule},
}

// conditionTaints tells of each of ownTaints whether n should have it.
func conditionTaints(n *corev1.Node) map[taintID]bool {
	ready := conditionOf(n, corev1.NodeReady)
	why := map[string]bool{
		corev1.TaintNodeNotReady:           ready == corev1.ConditionFalse,
		corev1.TaintNodeUnreachable:        ready == corev1.ConditionUnknown,
		corev1.TaintNodeMemoryPressure:     conditionOf(n, corev1.NodeMemoryPressure) == corev1.ConditionTrue,
		corev1.TaintNodeDiskPressure:       conditionOf(n, corev1.NodeDiskPressure) == corev1.ConditionTrue,
		corev1.TaintNodePIDPressure:        conditionOf(n, corev1.NodePIDPressure) == corev1.ConditionTrue,
		corev1.TaintNodeNetworkUnavailable: conditionOf(n, corev1.NodeNetworkUnavailable) == corev1.ConditionTrue,
		corev1.TaintNodeUnschedulable:      n.Spec.Unschedulable,
	}
	all := map[taintID]bool{}
	for _, id := range ownTaints {
		all[id] = why[id.key]
	}
	return all
}
