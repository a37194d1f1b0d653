package plugin

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/mainstay-gitops/mainstay/reconcile/schedule"
)

// NodeName refuses all nodes but the one that the pod names.
type NodeName struct{}

func (NodeName) Name() string { return "NodeName" }

func (NodeName) Prepare(pod *corev1.Pod, _ *schedule.View) func(*schedule.NodeInfo) *schedule.Reject {
	if pod.Spec.NodeName == "" {
		return nil
	}
	return func(n *schedule.NodeInfo) *schedule.Reject {
		if n.Node.Name != pod.Spec.NodeName {
			return reject(true, "node(s) didn't match the requested node name")
		}
		return nil
	}
}

// NodeAffinity refuses nodes that nodeSelector or a required node affinity does not match.
type NodeAffinity struct{}

func (NodeAffinity) Name() string { return "NodeAffinity" }

func (NodeAffinity) Prepare(pod *corev1.Pod, _ *schedule.View) func(*schedule.NodeInfo) *schedule.Reject {
	a := nodeAffinity(pod)
	if len(pod.Spec.NodeSelector) == 0 && (a == nil || a.RequiredDuringSchedulingIgnoredDuringExecution == nil) {
		return nil
	}
	required := nodeaffinity.GetRequiredNodeAffinity(pod)
	return func(n *schedule.NodeInfo) *schedule.Reject {
		if ok, err := required.Match(n.Node); err != nil || !ok {
			return reject(true, "node(s) didn't match Pod's node affinity/selector")
		}
		return nil
	}
}

func nodeAffinity(pod *corev1.Pod) *corev1.NodeAffinity {
	if pod.Spec.Affinity == nil {
		return nil
	}
	return pod.Spec.Affinity.NodeAffinity
}

// PreferredNodeAffinity prefers nodes that more of the preferred terms match.
type PreferredNodeAffinity struct{}

func (PreferredNodeAffinity) Name() string { return "NodeAffinity" }

func (PreferredNodeAffinity) Prepare(pod *corev1.Pod, _ *schedule.View, feasible []*schedule.NodeInfo) func(*schedule.NodeInfo) int64 {
	a := nodeAffinity(pod)
	if a == nil || len(a.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		return nil
	}
	terms, err := nodeaffinity.NewPreferredSchedulingTerms(a.PreferredDuringSchedulingIgnoredDuringExecution)
	if err != nil {
		return nil // validation refused it
	}
	return normal(func(n *schedule.NodeInfo) int64 { return terms.Score(n.Node) }, feasible, false)
}
