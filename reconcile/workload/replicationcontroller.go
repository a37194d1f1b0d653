package workload

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// ReplicationController keeps as many pods as each ReplicationController asks for: as ReplicaSet does.
type ReplicationController struct{}

func (ReplicationController) Name() string { return "replication-controller" }

func (ReplicationController) Owns() []control.Owned {
	return []control.Owned{{Kind: podKind}, {Kind: replicationControllerKind, Part: control.Status}}
}

func (ReplicationController) Watches() []control.Watch {
	return []control.Watch{
		{Kind: replicationControllerKind},
		control.Controlled(podKind, replicationControllerKind),
		{Kind: accountKind, Keys: accountWakes(func(r *corev1.ReplicationController) *corev1.PodTemplateSpec { return r.Spec.Template })},
		{Kind: podKind, Keys: orphanWakes(replicationControllerKind, func(r *corev1.ReplicationController) *metav1.LabelSelector {
			return &metav1.LabelSelector{MatchLabels: r.Spec.Selector}
		})},
	}
}

// Plan creates or deletes pods until there are as many as are asked for.
func (ReplicationController) Plan(w control.World, key store.Key) (control.Plan, error) {
	r, ok := store.Get[*corev1.ReplicationController](w.Snapshot, key.Namespace, key.Name)
	if !ok || r.Spec.Template == nil {
		return control.Plan{}, nil
	}
	var last []appsv1.ReplicaSetCondition
	for _, c := range r.Status.Conditions {
		last = append(last, appsv1.ReplicaSetCondition{Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message})
	}
	p, s := (&replicated{
		owner: r, kind: replicationControllerVersion, replicas: replicas(r.Spec.Replicas), minReady: r.Spec.MinReadySeconds,
		selector: labels.SelectorFromSet(r.Spec.Selector), template: r.Spec.Template, last: last,
	}).plan(w)
	status := corev1.ReplicationControllerStatus{
		Replicas: s.Replicas, FullyLabeledReplicas: s.FullyLabeledReplicas, ReadyReplicas: s.ReadyReplicas, AvailableReplicas: s.AvailableReplicas,
		ObservedGeneration: s.ObservedGeneration,
	}
	for _, c := range s.Conditions {
		status.Conditions = append(status.Conditions, corev1.ReplicationControllerCondition{Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message})
	}
	if !equality.Semantic.DeepEqual(status, r.Status) {
		next := r.DeepCopy()
		next.Status = status
		p.Status(next, "its pods changed")
	}
	return p, nil
}
