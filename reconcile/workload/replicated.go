package workload

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// replicated is what keeps a number of equal pods: a ReplicaSet, or a ReplicationController, which is one of older times.
type replicated struct {
	owner    store.Object
	kind     schema.GroupVersionKind
	replicas int32
	minReady int32
	selector labels.Selector
	template *corev1.PodTemplateSpec
	last     []appsv1.ReplicaSetCondition
}

// plan creates or deletes pods until there are as many as are asked for, and returns what the status should say.
func (r *replicated) plan(w control.World) (control.Plan, appsv1.ReplicaSetStatus) {
	var p control.Plan
	f := familyOf[*corev1.Pod](w.Snapshot, r.owner, r.selector)
	pods := append(slices.Clone(f.kept), f.adopted...)
	live := slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return !active(p) })
	var failed error
	if r.owner.GetDeletionTimestamp() == nil {
		takeIn(&p, f, r.owner, r.kind)
		missing, trial := int(r.replicas)-len(live), w.Trial()
		for range missing {
			pod := podOf(r.template, r.owner, r.kind)
			pod.GenerateName = r.owner.GetName() + "-"
			pod.Name = podName(r.owner.GetName(), suffix(w.Rand))
			if failed = create(&p, trial, r.owner, pod, "a replica is missing"); failed != nil {
				break
			}
		}
		for _, pod := range leastWanted(live, w.Now)[:max(-missing, 0)] {
			remove(&p, r.owner, pod, "one replica too many")
		}
	}
	status, later := r.status(pods, w.Now, failed)
	p.Again(later)
	return p, status
}

// takeIn adopts and releases.
func takeIn[T store.Object](p *control.Plan, f family[T], owner store.Object, kind schema.GroupVersionKind) {
	for _, o := range f.adopted {
		p.Update(withOwner(o, owner, kind), "its labels match")
	}
	for _, o := range f.released {
		p.Update(withoutOwner(o, owner), "its labels match no more")
	}
}

const failedCreate = "FailedCreate"

// refusedAgain is when pods that were not admitted are tried again, if nothing that they are judged by changes before.
const refusedAgain = time.Minute

// create adds the creation of a pod, and tells of it; or, if it would be refused, why, and has it tried again.
func create(p *control.Plan, trial *control.Trial, owner store.Object, pod *corev1.Pod, why string) error {
	if err := trial.Create(pod); err != nil {
		p.Warn(owner, failedCreate, "Error creating: %s", err)
		p.Again(refusedAgain)
		return err
	}
	p.Create(pod, why)
	p.Event(owner, "SuccessfulCreate", "Created pod: %s", pod.Name)
	return nil
}

// remove adds the deletion of a pod, and tells of it.
func remove(p *control.Plan, owner store.Object, pod *corev1.Pod, why string) {
	p.Delete(pod, why)
	p.Event(owner, "SuccessfulDelete", "Deleted pod: %s", pod.Name)
}

// podOf makes a pod of a template, controlled by owner, which has no name yet.
func podOf(t *corev1.PodTemplateSpec, owner store.Object, kind schema.GroupVersionKind) *corev1.Pod {
	t = t.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       owner.GetNamespace(),
			Labels:          t.Labels,
			Annotations:     t.Annotations,
			Finalizers:      t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, kind)},
		},
		Spec: t.Spec,
	}
}

// podName keeps within what a host name may have.
func podName(owner, suffix string) string {
	const longest = 63
	return owner[:min(len(owner), longest-1-len(suffix))] + "-" + suffix
}

// status is what the owner should say, and when that will change by itself.
func (r *replicated) status(pods []*corev1.Pod, now time.Time, failed error) (appsv1.ReplicaSetStatus, time.Duration) {
	minReady := time.Duration(r.minReady) * time.Second
	s := appsv1.ReplicaSetStatus{ObservedGeneration: r.owner.GetGeneration(), Conditions: replicaFailure(r.last, failed, now)}
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
		if hasLabels(pod, r.template.Labels) {
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

// replicaFailure is conditions with the one that says that pods cannot be made, or without.
func replicaFailure(conditions []appsv1.ReplicaSetCondition, err error, now time.Time) []appsv1.ReplicaSetCondition {
	was := refusal(conditions)
	if err != nil && was != nil && was.Reason == failedCreate {
		return conditions // the words name another pod each time
	}
	all := slices.DeleteFunc(slices.Clone(conditions), func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure })
	if err == nil {
		return all
	}
	return append(all, appsv1.ReplicaSetCondition{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
		Reason: failedCreate, Message: err.Error(),
	})
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
