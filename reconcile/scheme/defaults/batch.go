package defaults

import (
	"maps"
	"math"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Job runs one pod to its end, and gives up after six failures. Without labels it gets those of its pods.
func Job(j *batchv1.Job) {
	s := &j.Spec
	if s.Parallelism == nil && s.Completions == nil {
		missing(&s.Completions, 1)
	}
	missing(&s.Parallelism, 1)
	limit := int32(6)
	if s.BackoffLimitPerIndex != nil {
		limit = math.MaxInt32
	}
	missing(&s.BackoffLimit, limit)
	missing(&s.CompletionMode, batchv1.NonIndexedCompletion)
	missing(&s.Suspend, false)
	missing(&s.ManualSelector, false)
	replacement := batchv1.TerminatingOrFailed
	if s.PodFailurePolicy != nil {
		replacement = batchv1.Failed
	}
	missing(&s.PodReplacementPolicy, replacement)
	if len(j.Labels) == 0 && s.Template.Labels != nil {
		j.Labels = maps.Clone(s.Template.Labels)
	}
	failurePolicy(s.PodFailurePolicy)
	PodTemplate(&s.Template)
}

// CronJob lets its Jobs overlap, and keeps three that succeeded and one that failed.
func CronJob(c *batchv1.CronJob) {
	s := &c.Spec
	unset(&s.ConcurrencyPolicy, batchv1.AllowConcurrent)
	missing(&s.Suspend, false)
	missing(&s.SuccessfulJobsHistoryLimit, 3)
	missing(&s.FailedJobsHistoryLimit, 1)
	failurePolicy(s.JobTemplate.Spec.PodFailurePolicy)
	PodTemplate(&s.JobTemplate.Spec.Template)
}

// failurePolicy has conditions that are true.
func failurePolicy(p *batchv1.PodFailurePolicy) {
	if p == nil {
		return
	}
	for _, r := range p.Rules {
		for i := range r.OnPodConditions {
			unset(&r.OnPodConditions[i].Status, corev1.ConditionTrue)
		}
	}
}
