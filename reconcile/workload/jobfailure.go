package workload

import (
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// A failure is what the failure policy of a Job says about a failed pod.
type failure struct {
	action  batchv1.PodFailurePolicyAction // empty: no rule is about it
	counts  bool                           // against the back-off limits
	message string                         // if the whole Job fails by it
}

// verdict finds the first rule that is about p.
func verdict(j *batchv1.Job, p *corev1.Pod) failure {
	if j.Spec.PodFailurePolicy == nil {
		return failure{counts: true}
	}
	for i, rule := range j.Spec.PodFailurePolicy.Rules {
		what := ""
		if rule.OnExitCodes != nil {
			if c := exited(p, rule.OnExitCodes); c != nil {
				what = fmt.Sprintf("Container %s for pod %s/%s failed with exit code %d", c.Name, p.Namespace, p.Name, c.State.Terminated.ExitCode)
			}
		} else if c := conditionOf(p, rule.OnPodConditions); c != "" {
			what = fmt.Sprintf("Pod %s/%s has condition %s", p.Namespace, p.Name, c)
		}
		if what != "" {
			return failure{rule.Action, rule.Action != batchv1.PodFailurePolicyActionIgnore, fmt.Sprintf("%s matching %s rule at index %d", what, rule.Action, i)}
		}
	}
	return failure{counts: true}
}

// exited is the first container of p that failed as the rule says.
func exited(p *corev1.Pod, rule *batchv1.PodFailurePolicyOnExitCodesRequirement) *corev1.ContainerStatus {
	for _, c := range slices.Concat(p.Status.ContainerStatuses, p.Status.InitContainerStatuses) {
		t := c.State.Terminated
		if t == nil || t.ExitCode == 0 || rule.ContainerName != nil && *rule.ContainerName != c.Name {
			continue
		}
		if slices.Contains(rule.Values, t.ExitCode) == (rule.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
			return &c
		}
	}
	return nil
}

func conditionOf(p *corev1.Pod, patterns []batchv1.PodFailurePolicyOnPodConditionsPattern) corev1.PodConditionType {
	for _, c := range p.Status.Conditions {
		for _, pattern := range patterns {
			if c.Type == pattern.Type && c.Status == pattern.Status {
				return c.Type
			}
		}
	}
	return ""
}

// The back-off of pods that fail.
const (
	backOffFirst = 10 * time.Second
	backOffMost  = 6 * time.Minute
)

// backOff is how long to wait before a failed pod is replaced: by how many have failed since the last that succeeded.
func (r *run) backOff() time.Duration {
	var lastSuccess, lastFailure time.Time
	for _, p := range r.pods {
		if at := endedAt(p); p.Status.Phase == corev1.PodSucceeded && at.After(lastSuccess) {
			lastSuccess = at
		}
	}
	failed := 0
	for _, p := range r.pods {
		dismissed := p.DeletionTimestamp != nil && !tracked(p) // it was not wanted any more
		if at := endedAt(p); r.failedPod(p) && !dismissed && at.After(lastSuccess) {
			failed++
			if at.After(lastFailure) {
				lastFailure = at
			}
		}
	}
	return remaining(failed, lastFailure, r.Now)
}

// backOffOf is backOff for one index, of which p failed last; nil: it did not fail.
func (r *run) backOffOf(p *corev1.Pod) time.Duration {
	if p == nil {
		return 0
	}
	counted, ignored := failuresOf(p)
	return remaining(counted+ignored+1, endedAt(p), r.Now)
}

func remaining(failed int, last, now time.Time) time.Duration {
	if failed == 0 {
		return 0
	}
	wait := backOffFirst
	for i := 1; i < failed && wait < backOffMost; i++ {
		wait *= 2
	}
	return max(last.Add(min(wait, backOffMost)).Sub(now), 0)
}

// endedAt is when p ended: its last container; when it ceased to be ready; when its deletion was asked for; or, if nothing
// tells, when it was made.
func endedAt(p *corev1.Pod) time.Time {
	var last time.Time
	all := len(p.Status.ContainerStatuses) > 0
	for _, c := range p.Status.ContainerStatuses {
		if t := c.State.Terminated; t == nil || t.FinishedAt.IsZero() {
			all = false
		} else if t.FinishedAt.After(last) {
			last = t.FinishedAt.Time
		}
	}
	if all {
		return last
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionFalse && !c.LastTransitionTime.IsZero() {
			return c.LastTransitionTime.Time
		}
	}
	if d := p.DeletionTimestamp; d != nil {
		grace := int64(0)
		if p.DeletionGracePeriodSeconds != nil {
			grace = *p.DeletionGracePeriodSeconds
		}
		return d.Add(-time.Duration(grace) * time.Second)
	}
	return p.CreationTimestamp.Time
}
