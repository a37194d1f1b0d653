package workload

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
		{Kind: accountKind, Keys: accountWakes},
		{Kind: quotaKind, Keys: failureWakes}, {Kind: limitRangeKind, Keys: failureWakes}, {Kind: namespaceKind, Keys: failureWakes}, {Kind: priorityClassKind, Keys: failureWakes},
		{Kind: podKind, Keys: orphanWakes(replicaSetKind, func(rs *appsv1.ReplicaSet) *metav1.LabelSelector { return rs.Spec.Selector })},
	}
}

// accountWakes are the ReplicaSets that may have waited for a service account.
func accountWakes(s *store.Snapshot, c store.Change) []store.Key {
	if c.Old != nil {
		return nil
	}
	var keys []store.Key
	for rs := range store.List[*appsv1.ReplicaSet](s, store.InNamespace(c.New.GetNamespace())) {
		if rs.Spec.Template.Spec.ServiceAccountName == c.New.GetName() {
			keys = append(keys, s.Key(rs))
		}
	}
	return keys
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

// refusedAgain is when pods that were not admitted are tried again, if nothing that they are judged by changes before.
const refusedAgain = time.Minute

// Plan creates or deletes pods until rs has as many as it asks for.
func (ReplicaSet) Plan(w control.World, key store.Key) (control.Plan, error) {
	var p control.Plan
	rs, ok := store.Get[*appsv1.ReplicaSet](w.Snapshot, key.Namespace, key.Name)
	if !ok {
		return p, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		return p, err
	}
	f := familyOf[*corev1.Pod](w.Snapshot, rs, selector)
	pods := append(slices.Clone(f.kept), f.adopted...)
	live := slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return !active(p) })

	var refused error
	if rs.DeletionTimestamp == nil {
		for _, pod := range f.adopted {
			p.Update(withOwner(pod, rs, replicaSetVersion), "its labels match")
		}
		for _, pod := range f.released {
			p.Update(withoutOwner(pod, rs), "its labels match no more")
		}
		missing := int(replicas(rs.Spec.Replicas)) - len(live)
		trial := w.Trial()
		for range missing {
			pod := podFor(rs, w)
			if refused = trial.Create(pod); refused != nil {
				p.Warn(rs, failedCreate, "Error creating: %s", refused)
				p.Again(refusedAgain)
				break
			}
			p.Create(pod, "a replica is missing")
			p.Event(rs, "SuccessfulCreate", "Created pod: %s", pod.Name)
		}
		for _, pod := range leastWanted(live, w.Now)[:max(-missing, 0)] {
			p.Delete(pod, "one replica too many")
			p.Event(rs, "SuccessfulDelete", "Deleted pod: %s", pod.Name)
		}
	}

	status, later := replicaSetStatus(rs, pods, w.Now)
	status.Conditions = failed(rs.Status.Conditions, refused, w.Now)
	if !equality.Semantic.DeepEqual(status, rs.Status) {
		next := rs.DeepCopy()
		next.Status = status
		p.Status(next, "its pods changed")
	}
	p.Again(later)
	return p, nil
}

// failed is conditions with that of pods that are not admitted, or without.
func failed(conditions []appsv1.ReplicaSetCondition, refused error, now time.Time) []appsv1.ReplicaSetCondition {
	was := refusal(conditions)
	if refused != nil && was != nil && was.Reason == failedCreate {
		return conditions // the words name another pod each time
	}
	all := slices.DeleteFunc(slices.Clone(conditions), func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure })
	if refused == nil {
		return all
	}
	return append(all, appsv1.ReplicaSetCondition{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: failedCreate, Message: refused.Error(), LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
	})
}

const failedCreate = "FailedCreate"

// podFor makes a pod of rs.
func podFor(rs *appsv1.ReplicaSet, w control.World) *corev1.Pod {
	t := rs.Spec.Template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName:    rs.Name + "-",
			Name:            podName(rs.Name, suffix(w.Rand)),
			Namespace:       rs.Namespace,
			Labels:          t.Labels,
			Annotations:     t.Annotations,
			Finalizers:      t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(rs, replicaSetVersion)},
		},
		Spec: t.Spec,
	}
}

// podName keeps within what a host name may have.
func podName(owner, suffix string) string {
	const longest = 63
	return owner[:min(len(owner), longest-1-len(suffix))] + "-" + suffix
}

// replicaSetStatus is what rs should say, and when that will change by itself.
func replicaSetStatus(rs *appsv1.ReplicaSet, pods []*corev1.Pod, now time.Time) (appsv1.ReplicaSetStatus, time.Duration) {
	minReady := time.Duration(rs.Spec.MinReadySeconds) * time.Second
	s := appsv1.ReplicaSetStatus{ObservedGeneration: rs.Generation, Conditions: rs.Status.Conditions}
	var soonest time.Duration
	var terminating int32
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil {
			terminating++
		}
		if !active(pod) {
			continue
		}
		s.Replicas++
		if hasLabels(pod, rs.Spec.Template.Labels) {
			s.FullyLabeledReplicas++
		}
		if _, ok := readySince(pod); !ok {
			continue
		}
		s.ReadyReplicas++
		if ok, left := available(pod, minReady, now); ok {
			s.AvailableReplicas++
		} else if soonest == 0 || left < soonest {
			soonest = left
		}
	}
	s.TerminatingReplicas = &terminating
	return s, soonest
}

func hasLabels(o metav1.Object, want map[string]string) bool {
	have := o.GetLabels()
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}
