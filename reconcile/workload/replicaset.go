package workload

import (
	"cmp"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// ReplicaSet keeps as many pods as each ReplicaSet asks for.
type ReplicaSet struct{}

func (ReplicaSet) Name() string { return "replicaset-controller" }

func (ReplicaSet) Owns() []control.Owned {
	return []control.Owned{{Kind: podKind}, {Kind: replicaSetKind, Part: control.Status}}
}

func (ReplicaSet) Watches() []control.Watch {
	return []control.Watch{
		{Kind: replicaSetKind},
		control.Controlled(podKind, replicaSetKind),
		{Kind: accountKind, Keys: accountWakes(func(rs *appsv1.ReplicaSet) *corev1.PodTemplateSpec { return &rs.Spec.Template })},
		{Kind: quotaKind, Keys: failureWakes}, {Kind: limitRangeKind, Keys: failureWakes}, {Kind: namespaceKind, Keys: failureWakes}, {Kind: priorityClassKind, Keys: failureWakes},
		{Kind: podKind, Keys: orphanWakes(replicaSetKind, func(rs *appsv1.ReplicaSet) *metav1.LabelSelector { return rs.Spec.Selector })},
	}
}

// accountWakes are the sets of pods that may have waited for a service account.
func accountWakes[T store.Object](template func(T) *corev1.PodTemplateSpec) func(*store.Snapshot, store.Change) []store.Key {
	return func(s *store.Snapshot, c store.Change) []store.Key {
		if c.Old != nil {
			return nil
		}
		var keys []store.Key
		for o := range store.List[T](s, store.InNamespace(c.New.GetNamespace())) {
			if t := template(o); t != nil && cmp.Or(t.Spec.ServiceAccountName, "default") == c.New.GetName() {
				keys = append(keys, s.Key(o))
			}
		}
		return keys
	}
}

// failureWakes are the ReplicaSets whose pods were not admitted, when what they were judged by has changed.
func failureWakes(s *store.Snapshot, c store.Change) []store.Key {
	namespace := c.Object().GetNamespace()
	if s.Key(c.Object()).Kind == namespaceKind {
		namespace = c.Object().GetName()
	}
	var keys []store.Key
	for rs := range store.List[*appsv1.ReplicaSet](s, store.InNamespace(namespace)) {
		if refusal(rs.Status.Conditions) != nil {
			keys = append(keys, s.Key(rs))
		}
	}
	return keys
}

// refusal is the condition of a ReplicaSet whose pods are not admitted; nil if they are.
func refusal(all []appsv1.ReplicaSetCondition) *appsv1.ReplicaSetCondition {
	for i := range all {
		if all[i].Type == appsv1.ReplicaSetReplicaFailure && all[i].Status == corev1.ConditionTrue {
			return &all[i]
		}
	}
	return nil
}

// Plan creates or deletes pods until rs has as many as it asks for.
func (ReplicaSet) Plan(w control.World, key store.Key) (control.Plan, error) {
	rs, ok := store.Get[*appsv1.ReplicaSet](w.Snapshot, key.Namespace, key.Name)
	if !ok {
		return control.Plan{}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		return control.Plan{}, err
	}
	p, status := (&replicated{
		owner: rs, kind: replicaSetVersion, replicas: replicas(rs.Spec.Replicas), minReady: rs.Spec.MinReadySeconds,
		selector: selector, template: &rs.Spec.Template, last: rs.Status.Conditions,
	}).plan(w)
	if !equality.Semantic.DeepEqual(status, rs.Status) {
		next := rs.DeepCopy()
		next.Status = status
		p.Status(next, "its pods changed")
	}
	return p, nil
}

var (
	replicaSetVersion            = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
	replicationControllerVersion = corev1.SchemeGroupVersion.WithKind("ReplicationController")
	replicationControllerKind    = schema.GroupKind{Kind: "ReplicationController"}
)
