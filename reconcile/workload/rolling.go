package workload

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func (r *rollout) rolling() bool {
	return r.d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType && r.d.Spec.Strategy.RollingUpdate != nil
}

// maxSurge is how many pods more than wanted there may be.
func (r *rollout) maxSurge() int32 {
	if !r.rolling() {
		return 0
	}
	surge, _ := r.fence()
	return surge
}

// maxUnavailable is how many pods fewer than wanted may be available.
func (r *rollout) maxUnavailable() int32 {
	if !r.rolling() || replicas(r.d.Spec.Replicas) == 0 {
		return 0
	}
	_, unavailable := r.fence()
	return min(unavailable, replicas(r.d.Spec.Replicas))
}

// fence resolves percentages: surge rounded up, unavailable down, and one unavailable where both would be none.
func (r *rollout) fence() (surge, unavailable int32) {
	u := r.d.Spec.Strategy.RollingUpdate
	return resolveFence(u.MaxSurge, u.MaxUnavailable, replicas(r.d.Spec.Replicas))
}

func resolveFence(maxSurge, maxUnavailable *intstr.IntOrString, want int32) (surge, unavailable int32) {
	zero := intstr.FromInt32(0)
	s, _ := intstr.GetScaledValueFromIntOrPercent(cmp.Or(maxSurge, &zero), int(want), true)
	u, _ := intstr.GetScaledValueFromIntOrPercent(cmp.Or(maxUnavailable, &zero), int(want), false)
	if s == 0 && u == 0 {
		u = 1
	}
	return int32(s), int32(u)
}

// roll shrinks the older ReplicaSets as far as availability allows, and grows the newest as far as the surge then allows.
// Both are one step: growing adds as many pods that are not available as it adds pods.
func (r *rollout) roll() {
	want := replicas(r.d.Spec.Replicas)
	if r.sizeOf(r.newest) > want {
		r.setSize(r.newest, want)
	}
	if sum(r.old, r.sizeOf) > 0 {
		minimum := want - r.maxUnavailable()
		unavailable := r.sizeOf(r.newest) - r.lasting(r.newest)
		spare := sum(r.all(), r.sizeOf) - minimum - unavailable
		spare -= r.dropUnhealthy(spare)
		r.dropHealthy(min(spare, sum(r.all(), r.lasting)-minimum))
	}
	if room := want + r.maxSurge() - sum(r.all(), r.sizeOf); room > 0 {
		r.setSize(r.newest, min(r.sizeOf(r.newest)+room, want))
	}
}

// lasting is how many replicas of rs are available and stay: it may have been told to shrink and not have done so. It
// counts pods, since the status of rs may be a step behind them. How long they must have been ready is said by rs itself: what
// is available stays so when a newer template comes with a longer time.
func (r *rollout) lasting(rs *appsv1.ReplicaSet) int32 {
	minReady := time.Duration(rs.Spec.MinReadySeconds) * time.Second
	var n int32
	for p := range store.List[*corev1.Pod](r.Snapshot, store.InNamespace(rs.Namespace), store.OwnedBy(rs.UID), store.Active) {
		if ok, _ := available(p, minReady, r.Now); ok {
			n++
		}
	}
	return min(n, r.sizeOf(rs))
}

// dropUnhealthy takes up to spare replicas that are not available from the old ReplicaSets, so that a broken version does
// not block the way, and returns how many it took.
func (r *rollout) dropUnhealthy(spare int32) int32 {
	var took int32
	for _, rs := range r.old {
		n := r.sizeOf(rs)
		drop := min(spare-took, n-r.lasting(rs))
		if drop > 0 {
			r.setSize(rs, n-drop)
			took += drop
		}
	}
	return took
}

// dropHealthy takes up to spare replicas from the old ReplicaSets, the oldest first.
func (r *rollout) dropHealthy(spare int32) {
	for _, rs := range r.old {
		drop := min(spare, r.sizeOf(rs))
		if drop > 0 {
			r.setSize(rs, r.sizeOf(rs)-drop)
			spare -= drop
		}
	}
}

// stopOld takes the old ReplicaSets to nothing, and tells whether there is still anything of them.
func (r *rollout) stopOld() bool {
	busy := false
	for _, rs := range r.old {
		if r.sizeOf(rs) > 0 {
			r.setSize(rs, 0)
			busy = true
		}
		for p := range store.List[*corev1.Pod](r.Snapshot, store.InNamespace(rs.Namespace), store.OwnedBy(rs.UID)) {
			if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
				busy = true
			}
		}
	}
	return busy
}

// rescaled tells whether the Deployment was given another size since its ReplicaSets were last sized.
func (r *rollout) rescaled() bool {
	want := strconv.Itoa(int(replicas(r.d.Spec.Replicas)))
	return slices.ContainsFunc(r.all(), func(rs *appsv1.ReplicaSet) bool {
		was, ok := rs.Annotations[desiredAnnotation]
		return replicas(rs.Spec.Replicas) > 0 && ok && was != want
	})
}

// scale gives the ReplicaSets the Deployment's size without moving the rollout: the only active one all of it, several
// each their share, so that a change of size in the middle of a rollout changes its risk little.
func (r *rollout) scale() {
	want := replicas(r.d.Spec.Replicas)
	busy := slices.DeleteFunc(r.all(), func(rs *appsv1.ReplicaSet) bool { return r.sizeOf(rs) == 0 })
	switch {
	case len(busy) == 1:
		r.setSize(busy[0], want)
	case len(busy) == 0 && r.newest != nil:
		r.setSize(r.newest, want)
	case r.newest != nil && r.newest.Status.AvailableReplicas == want && r.sizeOf(r.newest) == want:
		for _, rs := range r.old {
			r.setSize(rs, 0)
		}
	case r.rolling():
		r.share(busy, want)
	}
}

// share spreads the change of size over sets in proportion to their sizes, the largest first; what rounding leaves goes to
// the first.
func (r *rollout) share(sets []*appsv1.ReplicaSet, want int32) {
	var allowed int32
	if want > 0 {
		allowed = want + r.maxSurge()
	}
	left := allowed - sum(sets, r.sizeOf)
	slices.SortStableFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		c := cmp.Compare(r.sizeOf(b), r.sizeOf(a))
		if left > 0 { // grow the newer of equals, shrink the older
			return cmp.Or(c, b.CreationTimestamp.Compare(a.CreationTimestamp.Time))
		}
		return cmp.Or(c, a.CreationTimestamp.Compare(b.CreationTimestamp.Time))
	})
	total := left
	sizes := make([]int32, len(sets))
	for i, rs := range sets {
		sizes[i] = r.sizeOf(rs)
		if left != 0 {
			part := fraction(rs, sizes[i], allowed)
			if total > 0 {
				part = min(part, left)
			} else {
				part = max(part, left)
			}
			sizes[i] += part
			left -= part
		}
	}
	if len(sizes) > 0 {
		sizes[0] = max(sizes[0]+left, 0)
	}
	for i, rs := range sets {
		r.setSize(rs, sizes[i])
	}
}

// fraction is by how much rs changes when all may have allowed replicas, as they had maximumAnnotation before.
func fraction(rs *appsv1.ReplicaSet, size, allowed int32) int32 {
	if allowed == 0 {
		return -size
	}
	before, err := strconv.ParseInt(rs.Annotations[maximumAnnotation], 10, 32)
	if err != nil || before <= 0 {
		before = int64(max(rs.Status.Replicas, 1))
	}
	exact := float64(size) * float64(allowed) / float64(before)
	return int32(exact+0.5) - size
}
