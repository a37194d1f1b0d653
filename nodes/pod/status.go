package pod

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/util/qos"
)

// status is what people are told of the pod. A finished pod stays as it ended.
func (v *view) status() corev1.PodStatus {
	s := v.want.Status
	if finished(v.prev.Phase) {
		foreign := s.Conditions
		s = *v.prev
		s.Conditions = mergeConditions(v.prev.Conditions, foreign)
		return s
	}
	s.ObservedGeneration = v.want.Generation
	s.QOSClass = qos.GetPodQOS(v.want)
	s.HostIP, s.HostIPs = "", nil
	if v.seen.Host.IsValid() {
		s.HostIP = v.seen.Host.String()
		s.HostIPs = []corev1.HostIP{{IP: s.HostIP}}
	}
	s.PodIP, s.PodIPs = v.prev.PodIP, v.prev.PodIPs
	if v.seen.Network == Here {
		s.PodIP = v.seen.Address.String()
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	}
	if s.StartTime = v.prev.StartTime; s.StartTime == nil {
		now := when(v.now)
		s.StartTime = &now
	}
	s.InitContainerStatuses = v.containerStatuses(v.init)
	s.ContainerStatuses = v.containerStatuses(v.main)
	s.EphemeralContainerStatuses = v.containerStatuses(v.extra)
	s.Phase, s.Reason, s.Message = v.phase(), "", ""
	if s.Phase == corev1.PodFailed && v.expired() {
		s.Reason, s.Message = deadlineExceeded, "Pod was active on the node longer than the specified deadline"
	}
	if e := v.eviction; e != nil {
		s.Reason, s.Message = e.Reason, e.Message
	}
	s.Conditions = mergeConditions(v.conditions(&s), v.want.Status.Conditions)
	return s
}

// when is a time as the API keeps it: in whole seconds, so that it is the same after it was written and read.
func when(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }

// phase follows Kubernetes' rules for what containers in which states add up to. Sidecars do not count, but that a pod is
// not over while one of its containers runs.
func (v *view) phase() corev1.PodPhase {
	switch e := v.eviction; {
	case e != nil && e.Reason != "" && !v.anyRunning():
		return corev1.PodFailed
	case (v.want.DeletionTimestamp != nil || v.over()) && !v.anyRunning():
		return v.outcome()
	case !v.initialized():
		return corev1.PodPending
	}
	for i := range v.main {
		c := &v.main[i]
		first := c.last() != nil && c.restarts() == 0 && c.ended(nil) == nil
		if !c.begun() || first && !(c.running() && v.hooked(c)) {
			return corev1.PodPending
		}
	}
	return corev1.PodRunning
}

// outcome is the phase of a pod of which nothing runs any more.
func (v *view) outcome() corev1.PodPhase {
	if v.want.DeletionTimestamp == nil && v.expired() {
		return corev1.PodFailed
	}
	for i := range v.main {
		if end := v.main[i].ended(nil); end == nil || end.ExitCode != 0 {
			return corev1.PodFailed
		}
	}
	return corev1.PodSucceeded
}

func (v *view) anyRunning() bool {
	for c := range v.all() {
		if c.running() {
			return true
		}
	}
	return false
}

// Owned tells whether a pod's condition of that type is decided here; all others belong to somebody else.
func Owned(t corev1.PodConditionType) bool {
	switch t {
	case corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady:
		return true
	}
	return false
}

// Merge is status with the conditions and fields in it that others decide about taken from live.
func Merge(status, live corev1.PodStatus) corev1.PodStatus {
	status.Conditions = mergeConditions(status.Conditions, live.Conditions)
	status.NominatedNodeName = live.NominatedNodeName
	return status
}

// mergeConditions is our conditions of ours, then those of theirs that are not ours to decide.
func mergeConditions(ours, theirs []corev1.PodCondition) []corev1.PodCondition {
	all := make([]corev1.PodCondition, 0, len(ours)+len(theirs))
	for _, c := range ours {
		if Owned(c.Type) || disrupted(c) {
			all = append(all, c)
		}
	}
	for _, c := range theirs {
		if !Owned(c.Type) && !slices.ContainsFunc(all, func(o corev1.PodCondition) bool { return o.Type == c.Type }) {
			all = append(all, c)
		}
	}
	return all
}

// conditions are those that this machine decides about. Each keeps its time while it stays the same.
func (v *view) conditions(s *corev1.PodStatus) []corev1.PodCondition {
	containers := v.containersReady(s)
	cs := []corev1.PodCondition{
		of(corev1.PodReadyToStartContainers, v.connected(s)), of(corev1.PodInitialized, v.initializedCondition(s)),
		of(corev1.PodReady, v.ready(containers)), of(corev1.ContainersReady, containers),
	}
	if e := v.eviction; e != nil && e.Reason != "" {
		cs = append(cs, e.condition())
	}
	for i := range cs {
		cs[i].ObservedGeneration = v.want.Generation
		cs[i].LastTransitionTime = when(v.now)
		for _, old := range v.prev.Conditions {
			if old.Type == cs[i].Type && old.Status == cs[i].Status {
				cs[i].LastTransitionTime = old.LastTransitionTime
			}
		}
	}
	return cs
}

func of(t corev1.PodConditionType, c corev1.PodCondition) corev1.PodCondition {
	c.Type = t
	return c
}

func isTrue() corev1.PodCondition { return corev1.PodCondition{Status: corev1.ConditionTrue} }

func isFalse(reason, message string) corev1.PodCondition {
	return corev1.PodCondition{Status: corev1.ConditionFalse, Reason: reason, Message: message}
}

// connected: it has a sandbox and an address, and keeps them.
func (v *view) connected(s *corev1.PodStatus) corev1.PodCondition {
	if !finished(s.Phase) && v.sandboxReady() && (v.seen.Network == Here || v.seen.Network == Unknown && v.prev.PodIP != "") {
		return isTrue()
	}
	return isFalse("", "")
}

func (v *view) initializedCondition(s *corev1.PodStatus) corev1.PodCondition {
	if v.initialized() {
		c := isTrue()
		if s.Phase == corev1.PodSucceeded {
			c.Reason = "PodCompleted"
		}
		return c
	}
	var names []string
	for i, c := range s.InitContainerStatuses {
		if v.init[i].role == initial && !c.Ready || v.init[i].role == sidecar && !*c.Started {
			names = append(names, c.Name)
		}
	}
	return isFalse("ContainersNotInitialized", fmt.Sprintf("containers with incomplete status: [%s]", strings.Join(names, " ")))
}

func (v *view) containersReady(s *corev1.PodStatus) corev1.PodCondition {
	switch {
	case s.Phase == corev1.PodSucceeded:
		return isFalse("PodCompleted", "")
	case s.Phase == corev1.PodFailed:
		return isFalse("PodFailed", "")
	case v.expired():
		return isFalse(deadlineExceeded, "") // so that nobody is led to it any more
	}
	var names []string
	for i, c := range s.InitContainerStatuses {
		if v.init[i].role == sidecar && !c.Ready {
			names = append(names, c.Name)
		}
	}
	for _, c := range s.ContainerStatuses {
		if !c.Ready {
			names = append(names, c.Name)
		}
	}
	if len(names) > 0 {
		return isFalse("ContainersNotReady", fmt.Sprintf("containers with unready status: [%s]", strings.Join(names, " ")))
	}
	return isTrue()
}

// ready: its containers are, and all readiness gates are open.
func (v *view) ready(containers corev1.PodCondition) corev1.PodCondition {
	if containers.Status != corev1.ConditionTrue {
		return containers
	}
	for _, gate := range v.want.Spec.ReadinessGates {
		open := false
		for _, c := range v.want.Status.Conditions {
			open = open || c.Type == gate.ConditionType && c.Status == corev1.ConditionTrue
		}
		if !open {
			return isFalse("ReadinessGatesNotReady", fmt.Sprintf("the readiness gate %q is not true", gate.ConditionType))
		}
	}
	return isTrue()
}
