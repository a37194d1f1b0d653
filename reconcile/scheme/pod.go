package scheme

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/component-helpers/resource"
)

const unreachableSeconds = 300 // how long a pod stays on a node that is lost, unless it says otherwise

// createPod gives a new pod what Kubernetes' built-in admission gives every pod.
func createPod(p *corev1.Pod, now time.Time) {
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qos(&p.Spec)}
	s := &p.Spec
	if s.Resources != nil {
		requestForPod(p)
	}
	if len(s.SchedulingGates) > 0 {
		p.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates", LastTransitionTime: stamp(now),
		}}
	}
	if s.ServiceAccountName == "" {
		s.ServiceAccountName = "default"
		s.DeprecatedServiceAccount = "default"
	}
	if value, ok := Priority(s.PriorityClassName); ok && s.Priority == nil {
		s.Priority = &value
	}
	if s.PreemptionPolicy == nil {
		lower := corev1.PreemptLowerPriority
		s.PreemptionPolicy = &lower
	}
	tolerateLoss(s)
	bear := corev1.Toleration{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}
	if p.Status.QOSClass != corev1.PodQOSBestEffort && !slices.ContainsFunc(s.Tolerations, func(t corev1.Toleration) bool { return bears(t, bear) }) {
		s.Tolerations = append(s.Tolerations, bear) // it is promised memory
	}
}

// changePod gives a pod whose tolerations somebody replaced the usual ones again.
func changePod(new, old *corev1.Pod) {
	if !equality.Semantic.DeepEqual(new.Spec.Tolerations, old.Spec.Tolerations) {
		tolerateLoss(&new.Spec)
	}
}

// tolerateLoss lets a pod stay for a while on a node that is lost, unless it says otherwise.
func tolerateLoss(s *corev1.PodSpec) {
	for _, taint := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		if !tolerates(s.Tolerations, taint) {
			seconds := int64(unreachableSeconds)
			s.Tolerations = append(s.Tolerations, corev1.Toleration{
				Key: taint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds,
			})
		}
	}
}

// Priority is that of the pods of a class; false if there is no such class. There are those that every cluster has.
func Priority(class string) (int32, bool) {
	switch class {
	case "":
		return 0, true
	case "system-cluster-critical":
		return 2_000_000_000, true
	case "system-node-critical":
		return 2_000_001_000, true
	}
	return 0, false
}

// requestForPod lets a pod that has limits as a whole ask for what its containers ask for together or, where none of them
// asks, for its limits.
func requestForPod(p *corev1.Pod) {
	r := p.Spec.Resources
	if len(r.Limits) == 0 {
		return
	}
	together := resource.AggregateContainerRequests(p, resource.PodResourcesOptions{})
	for name, limit := range r.Limits {
		if _, ok := r.Requests[name]; ok || !resource.IsSupportedPodLevelResource(name) {
			continue
		}
		if r.Requests == nil {
			r.Requests = corev1.ResourceList{}
		}
		if sum, ok := together[name]; ok {
			limit = sum
		}
		r.Requests[name] = limit.DeepCopy()
	}
}

func tolerates(all []corev1.Toleration, taint string) bool {
	for _, t := range all {
		if (t.Key == taint || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return true
		}
	}
	return false
}

// bears tells whether a pod that has toleration t needs no other.
func bears(t, other corev1.Toleration) bool {
	return t.MatchToleration(&other) || t.Key == "" && t.Operator == corev1.TolerationOpExists && (t.Effect == "" || t.Effect == other.Effect)
}

// changePodStatus keeps what a node, which writes the status, must not change.
func changePodStatus(new, old *corev1.Pod) {
	new.OwnerReferences = old.OwnerReferences
	if new.Status.QOSClass == "" {
		new.Status.QOSClass = old.Status.QOSClass
	}
}

// qos is how much of what the pod uses it is promised: all, some, or nothing.
func qos(s *corev1.PodSpec) corev1.PodQOSClass {
	var all []corev1.ResourceRequirements
	if s.Resources != nil {
		all = append(all, *s.Resources)
	} else {
		for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
			for _, c := range list {
				all = append(all, c.Resources)
			}
		}
	}
	anything, everything := false, true
	for _, r := range all {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, limited := r.Limits[name]
			request, requested := r.Requests[name]
			if limited && !requested {
				request = limit
			}
			anything = anything || !limit.IsZero() || !request.IsZero()
			everything = everything && !limit.IsZero() && limit.Cmp(request) == 0
		}
	}
	switch {
	case !anything:
		return corev1.PodQOSBestEffort
	case everything:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}
