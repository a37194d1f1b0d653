package health

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/storage"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// claim is healthy when it has its volume, or waits for the first pod that uses it, as its class says.
func claim(s *store.Snapshot, c *corev1.PersistentVolumeClaim) Status {
	switch c.Status.Phase {
	case corev1.ClaimBound:
		return Status{State: Healthy}
	case corev1.ClaimLost:
		return Status{State: Degraded, Cause: fmt.Sprintf("its volume %s is gone", c.Spec.VolumeName), Stuck: true}
	}
	class := storage.ClassOf(s, c)
	if storage.Delayed(class) && !wanted(s, c) {
		return Status{State: Healthy}
	}
	st := Status{State: Progressing}
	if class != nil && class.Provisioner == storage.Driver {
		if why := storage.Refuse(c, class); why != "" {
			st = Status{State: Degraded, Cause: why, Stuck: true}
		}
	}
	return st
}

// wanted tells whether a pod uses c.
func wanted(s *store.Snapshot, c *corev1.PersistentVolumeClaim) bool {
	for p := range store.List[*corev1.Pod](s, store.InNamespace(c.Namespace), store.Active) {
		for i := range p.Spec.Volumes {
			if storage.ClaimName(p, &p.Spec.Volumes[i]) == c.Name {
				return true
			}
		}
	}
	return false
}

func volume(v *corev1.PersistentVolume) Status {
	if v.Status.Phase == corev1.VolumeFailed {
		return Status{State: Degraded, Cause: v.Status.Message, Stuck: true}
	}
	return Status{State: Healthy}
}
