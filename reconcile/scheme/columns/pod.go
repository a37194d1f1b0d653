package columns

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Pods shows how many of their containers are ready, and the one word that matters most about them.
func Pods() Table[*corev1.Pod] {
	return Table[*corev1.Pod]{
		header("Name,Ready,Status,Restarts,Age,IP*,Node*,Nominated Node*,Readiness Gates*"),
		func(p *corev1.Pod, now time.Time) []any {
			s := summarize(p)
			return []any{
				p.Name, nOf(s.ready, s.total), s.reason, s.restarted(now), created(p, now),
				podIP(p), or(p.Spec.NodeName, none), or(p.Status.NominatedNodeName, none), gates(p),
			}
		},
	}
}

// summary is what the containers of a pod add up to.
type summary struct {
	ready, total int
	reason       string
	restarts     int
	restart      time.Time // the last one
}

func summarize(p *corev1.Pod) summary {
	s := summary{total: len(p.Spec.Containers), reason: or(p.Status.Reason, string(p.Status.Phase))}
	if c := condition(p, corev1.PodScheduled); c != nil && c.Reason == corev1.PodReasonSchedulingGated {
		s.reason = corev1.PodReasonSchedulingGated
	}
	sidecars := map[string]bool{}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars[c.Name] = true
			s.total++
		}
	}
	initializing, restarts := s.initContainers(p, sidecars)
	if c := condition(p, corev1.PodInitialized); !initializing || c != nil && c.Status == corev1.ConditionTrue {
		s.restarts, s.restart = restarts.restarts, restarts.restart
		s.containers(p)
	}
	ended := p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
	switch {
	case p.DeletionTimestamp == nil:
	case p.Status.Reason == "NodeLost":
		s.reason = "Unknown"
	case !ended:
		s.reason = "Terminating"
	}
	return s
}

// initContainers tells whether one of them is still at work, and how often sidecars were restarted.
func (s *summary) initContainers(p *corev1.Pod, sidecars map[string]bool) (initializing bool, ofSidecars summary) {
	for i, c := range p.Status.InitContainerStatuses {
		s.count(c)
		if sidecars[c.Name] {
			ofSidecars.count(c)
		}
		waiting, ended := c.State.Waiting, c.State.Terminated
		switch {
		case ended != nil && ended.ExitCode == 0:
			continue
		case sidecars[c.Name] && c.Started != nil && *c.Started:
			if c.Ready {
				s.ready++
			}
			continue
		case ended != nil:
			s.reason = "Init:" + ending(ended)
		case waiting != nil && waiting.Reason != "" && waiting.Reason != "PodInitializing":
			s.reason = "Init:" + waiting.Reason
		default:
			s.reason = "Init:" + nOf(i, len(p.Spec.InitContainers))
		}
		return true, ofSidecars
	}
	return false, ofSidecars
}

// containers asks the first of them last, so that its reason counts.
func (s *summary) containers(p *corev1.Pod) {
	running := false
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := p.Status.ContainerStatuses[i]
		s.count(c)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.reason = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			s.reason = ending(c.State.Terminated)
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	if s.reason == "Completed" && running {
		s.reason = "NotReady"
		if c := condition(p, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
			s.reason = string(corev1.PodRunning)
		}
	}
}

func (s *summary) count(c corev1.ContainerStatus) {
	s.restarts += int(c.RestartCount)
	if t := c.LastTerminationState.Terminated; t != nil && t.FinishedAt.After(s.restart) {
		s.restart = t.FinishedAt.Time
	}
}

func (s *summary) restarted(now time.Time) string {
	if s.restarts == 0 || s.restart.IsZero() {
		return fmt.Sprint(s.restarts)
	}
	return fmt.Sprintf("%d (%s ago)", s.restarts, duration.HumanDuration(now.Sub(s.restart)))
}

func ending(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

func condition(p *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == kind {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func podIP(p *corev1.Pod) string {
	if len(p.Status.PodIPs) > 0 {
		return or(p.Status.PodIPs[0].IP, none)
	}
	return or(p.Status.PodIP, none)
}

func gates(p *corev1.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return none
	}
	open := 0
	for _, g := range p.Spec.ReadinessGates {
		if c := condition(p, g.ConditionType); c != nil && c.Status == corev1.ConditionTrue {
			open++
		}
	}
	return nOf(open, len(p.Spec.ReadinessGates))
}
