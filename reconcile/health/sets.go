package health

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// daemonSet is healthy when each node that it is for has a pod of the newest template, which is available.
func daemonSet(s *store.Snapshot, d *appsv1.DaemonSet) Status {
	want := d.Status.DesiredNumberScheduled
	st := Status{State: Progressing, Want: want, Ready: d.Status.NumberReady}
	if d.Status.ObservedGeneration < d.Generation {
		return st
	}
	updated := d.Status.UpdatedNumberScheduled == want || d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType
	if updated && d.Status.NumberAvailable == want {
		st.State = Healthy
		return st
	}
	st.cause(s, d)
	return st
}

// statefulSet is healthy when all of its pods are there and available, and those that are to be renewed are.
func statefulSet(s *store.Snapshot, o *appsv1.StatefulSet) Status {
	want := replicas(o.Spec.Replicas)
	st := Status{State: Progressing, Want: want, Ready: min(o.Status.ReadyReplicas, want)}
	if o.Status.ObservedGeneration < o.Generation {
		return st
	}
	renew := want
	switch u := o.Spec.UpdateStrategy; {
	case u.Type == appsv1.OnDeleteStatefulSetStrategyType:
		renew = 0
	case u.RollingUpdate != nil && u.RollingUpdate.Partition != nil:
		renew = max(want-*u.RollingUpdate.Partition, 0)
	}
	if o.Status.Replicas == want && o.Status.AvailableReplicas == want && o.Status.UpdatedReplicas >= renew {
		st.State = Healthy
		return st
	}
	st.cause(s, o)
	return st
}

func replicationController(s *store.Snapshot, r *corev1.ReplicationController) Status {
	want := replicas(r.Spec.Replicas)
	st := Status{State: Progressing, Want: want, Ready: r.Status.ReadyReplicas}
	if r.Status.ObservedGeneration >= r.Generation && r.Status.Replicas == want && r.Status.AvailableReplicas == want {
		st.State = Healthy
		return st
	}
	st.cause(s, r)
	return st
}
