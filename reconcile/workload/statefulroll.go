package workload

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// renew deletes pods of older templates from the highest ordinal down to the partition: those that are not well at once,
// the others while no more than allowed are not well.
func (r *series) renew() {
	u := r.set.Spec.UpdateStrategy
	if u.Type != appsv1.RollingUpdateStatefulSetStrategyType {
		return
	}
	allowed := r.maxUnavailable()
	for _, p := range r.place {
		if p == nil || !r.well(p) {
			allowed--
		}
	}
	for i := len(r.place) - 1; i >= r.partition(); i-- {
		p := r.place[i]
		if p == nil || p.DeletionTimestamp != nil || !active(p) || revisionName(p) == r.update.Name {
			continue
		}
		if r.well(p) {
			if allowed <= 0 {
				return
			}
			allowed--
		}
		r.remove(p, "its template is old")
	}
}

func (r *series) maxUnavailable() int {
	u := r.set.Spec.UpdateStrategy.RollingUpdate
	if u == nil || u.MaxUnavailable == nil {
		return 1
	}
	n, _ := intstr.GetScaledValueFromIntOrPercent(u.MaxUnavailable, len(r.place), true)
	return max(n, 1)
}

// status counts what is there.
func (r *series) status() {
	s := &r.next.Status
	*s = appsv1.StatefulSetStatus{
		ObservedGeneration: r.set.Generation, CurrentRevision: r.current.Name, UpdateRevision: r.update.Name,
		CollisionCount: s.CollisionCount, Conditions: s.Conditions,
	}
	for _, p := range r.pods {
		s.Replicas++
		if p.Status.Phase == corev1.PodRunning {
			if _, ready := readySince(p); ready {
				s.ReadyReplicas++
				if r.well(p) {
					s.AvailableReplicas++
				}
			}
		}
		if p.DeletionTimestamp != nil || !active(p) {
			continue
		}
		if revisionName(p) == r.current.Name {
			s.CurrentReplicas++
		}
		if revisionName(p) == r.update.Name {
			s.UpdatedReplicas++
		}
	}
	if r.set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType &&
		s.UpdatedReplicas == s.Replicas && s.ReadyReplicas == s.Replicas && int(s.Replicas) == len(r.place) {
		s.CurrentReplicas, s.CurrentRevision = s.UpdatedReplicas, s.UpdateRevision
	}
}
