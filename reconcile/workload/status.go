package workload

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func asPod(o store.Object) *corev1.Pod { return o.(*corev1.Pod) }

// status brings the counts and conditions up to date. Counts are those that the ReplicaSets report.
func (r *rollout) status() {
	s := &r.next.Status
	s.ObservedGeneration = r.d.Generation
	all := r.all()
	s.Replicas = sum(all, func(rs *appsv1.ReplicaSet) int32 { return rs.Status.Replicas })
	s.ReadyReplicas = sum(all, func(rs *appsv1.ReplicaSet) int32 { return rs.Status.ReadyReplicas })
	s.AvailableReplicas = sum(all, available32)
	s.UnavailableReplicas = max(sum(all, r.sizeOf)-s.AvailableReplicas, 0)
	s.UpdatedReplicas = 0
	if r.newest != nil {
		s.UpdatedReplicas = r.newest.Status.Replicas
	}
	terminating := sum(all, func(rs *appsv1.ReplicaSet) int32 {
		if rs.Status.TerminatingReplicas == nil {
			return 0
		}
		return *rs.Status.TerminatingReplicas
	})
	s.TerminatingReplicas = &terminating

	if s.AvailableReplicas >= replicas(r.d.Spec.Replicas)-r.maxUnavailable() {
		r.condition(appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability.")
	} else {
		r.condition(appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
	}
	r.progressing()
	r.failing()
}

// failing repeats what the newest ReplicaSet says of pods that are not admitted.
func (r *rollout) failing() {
	if r.newest != nil {
		if c := refusal(r.newest.Status.Conditions); c != nil {
			r.condition(appsv1.DeploymentReplicaFailure, c.Status, c.Reason, c.Message)
			return
		}
	}
	r.next.Status.Conditions = slices.DeleteFunc(r.next.Status.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == appsv1.DeploymentReplicaFailure })
}

func available32(rs *appsv1.ReplicaSet) int32 { return rs.Status.AvailableReplicas }

// complete tells whether all replicas are of the wanted template, and available.
func (r *rollout) complete() bool {
	want := replicas(r.d.Spec.Replicas)
	return r.newest.Status.ObservedGeneration >= r.newest.Generation && r.newest.ResourceVersion != "" &&
		r.newest.Status.Replicas == want && r.newest.Status.AvailableReplicas == want && r.sizeOf(r.newest) == want &&
		sum(r.old, func(rs *appsv1.ReplicaSet) int32 { return max(rs.Status.Replicas, r.sizeOf(rs)) }) == 0
}

// progressing keeps the condition that tells whether the rollout moves on, and asks to be woken when its time is up.
func (r *rollout) progressing() {
	deadline := r.d.Spec.ProgressDeadlineSeconds
	if deadline == nil || *deadline == 1<<31-1 {
		return
	}
	last := r.find(appsv1.DeploymentProgressing)
	name := r.d.Name
	if r.newest != nil {
		name = r.newest.Name
	}
	done := last != nil && last.Reason == "NewReplicaSetAvailable"
	switch {
	case r.d.Spec.Paused:
		if last == nil || last.Reason != "DeploymentPaused" {
			r.condition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, "DeploymentPaused", "Deployment is paused")
		}
	case last != nil && last.Reason == "DeploymentPaused":
		r.condition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, "DeploymentResumed", "Deployment is resumed")
	case r.newest != nil && r.complete():
		r.progressed("NewReplicaSetAvailable", fmt.Sprintf("ReplicaSet %q has successfully progressed.", name), !done)
	case r.moved():
		r.progressed("ReplicaSetUpdated", fmt.Sprintf("ReplicaSet %q is progressing.", name), true)
	case last != nil && !done && last.Status != corev1.ConditionFalse:
		left := last.LastUpdateTime.Add(time.Duration(*deadline) * time.Second).Sub(r.Now)
		if left > 0 {
			r.plan.Again(left)
			return
		}
		r.condition(appsv1.DeploymentProgressing, corev1.ConditionFalse, "ProgressDeadlineExceeded", fmt.Sprintf("ReplicaSet %q has timed out progressing.", name))
	}
}

// moved tells whether the counts are better than when they were last written.
func (r *rollout) moved() bool {
	was, is := r.d.Status, r.next.Status
	return is.UpdatedReplicas > was.UpdatedReplicas || is.Replicas-is.UpdatedReplicas < was.Replicas-was.UpdatedReplicas ||
		is.ReadyReplicas > was.ReadyReplicas || is.AvailableReplicas > was.AvailableReplicas
}

func (r *rollout) progress(reason, message string) { r.progressed(reason, message, true) }

// progressed notes progress; touch moves its time although nothing else changes.
func (r *rollout) progressed(reason, message string, touch bool) {
	r.condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reason, message)
	if c := r.find(appsv1.DeploymentProgressing); touch {
		c.LastUpdateTime = metav1.NewTime(r.Now)
		if r.d.Spec.ProgressDeadlineSeconds != nil && reason != "NewReplicaSetAvailable" {
			r.plan.Again(time.Duration(*r.d.Spec.ProgressDeadlineSeconds) * time.Second)
		}
	}
}

func (r *rollout) find(t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range r.next.Status.Conditions {
		if c := &r.next.Status.Conditions[i]; c.Type == t {
			return c
		}
	}
	return nil
}

// condition sets a condition; its times move with its status and reason.
func (r *rollout) condition(t appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) {
	now := metav1.NewTime(r.Now)
	c := r.find(t)
	if c == nil {
		r.next.Status.Conditions = append(r.next.Status.Conditions, appsv1.DeploymentCondition{Type: t, LastTransitionTime: now, LastUpdateTime: now})
		c = &r.next.Status.Conditions[len(r.next.Status.Conditions)-1]
	}
	if c.Status != status {
		c.LastTransitionTime = now
	}
	if c.Status != status || c.Reason != reason {
		c.LastUpdateTime = now
	}
	c.Status, c.Reason, c.Message = status, reason, message
}
