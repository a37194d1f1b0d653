package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Reasons for which a machine ends a pod, as Kubernetes names them.
const (
	Evicted    = "Evicted"    // it lacked something
	Terminated = "Terminated" // it shut down
)

// An Eviction is that this machine ends a pod for a reason of its own. The pod then has failed, for that reason; without a
// reason it only rests: whoever looks at it later without an Eviction starts it again.
type Eviction struct {
	Reason, Message string
	Grace           time.Duration // no longer than this, and than the pod's own
}

// evicted is the eviction of the pod. One that a status tells of is carried through, whoever began it.
func (v *view) evicted() *Eviction {
	if v.seen.Eviction != nil {
		return v.seen.Eviction
	}
	for _, s := range []*corev1.PodStatus{v.prev, &v.want.Status} {
		if s.Reason == Evicted || s.Reason == Terminated {
			return &Eviction{Reason: s.Reason, Message: s.Message, Grace: graceOf(v.want)}
		}
	}
	return nil
}

// ending tells whether the pod is on its way out: nothing of it is started again.
func (v *view) ending() bool { return v.want.DeletionTimestamp != nil || v.eviction != nil }

// condition tells those who follow the pod that it did not fail by itself.
func (e *Eviction) condition() corev1.PodCondition {
	return corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonTerminationByKubelet, Message: e.Message,
	}
}

// disrupted tells whether c is what Eviction says of a pod.
func disrupted(c corev1.PodCondition) bool {
	return c.Type == corev1.DisruptionTarget && c.Reason == corev1.PodReasonTerminationByKubelet
}
