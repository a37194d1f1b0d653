package workload

import (
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/indexes"
)

// judge decides whether the Job ends, in the documented order: what was decided before stands; then failures; then the
// success policy.
func (r *run) judge() {
	for _, t := range []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobFailureTarget} {
		if jobIs(r.job, t) {
			r.end = jobCondition(r.next, t).DeepCopy()
			return
		}
	}
	s := &r.job.Spec
	switch why := r.failJob(); {
	case why != "":
		r.fails(batchv1.JobReasonPodFailurePolicy, why)
	case r.failures > *s.BackoffLimit || r.restartedTooOften():
		r.fails(batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
	case r.pastDeadline():
		r.fails(batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline")
	case s.MaxFailedIndexes != nil && r.failed.Len() > int(*s.MaxFailedIndexes):
		r.fails(batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes")
	case r.failed.Len() > 0 && r.failed.Len()+r.succeeded.Len() >= int(*s.Completions):
		r.fails(batchv1.JobReasonFailedIndexes, "Job has failed indexes")
	default:
		if rule, ok := r.succeedsByPolicy(); ok {
			r.ends(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonSuccessPolicy, fmt.Sprintf("Matched rules at index %d", rule))
		}
	}
}

func (r *run) fails(reason, message string) { r.ends(batchv1.JobFailureTarget, reason, message) }

func (r *run) ends(t batchv1.JobConditionType, reason, message string) {
	r.end = &batchv1.JobCondition{Type: t, Status: corev1.ConditionTrue, Reason: reason, Message: message, LastProbeTime: *r.time(), LastTransitionTime: *r.time()}
}

// failJob is why one failed pod makes the whole Job fail; empty if none does.
func (r *run) failJob() string {
	for _, p := range r.pods {
		if r.job.Spec.PodFailurePolicy != nil && r.failedPod(p) {
			if v := verdict(r.job, p); v.action == batchv1.PodFailurePolicyActionFailJob {
				return v.message
			}
		}
	}
	return ""
}

// restartedTooOften counts the restarts of containers within pods against the limit too.
func (r *run) restartedTooOften() bool {
	if r.job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	var n int32
	for _, p := range r.pods {
		if p.Status.Phase == corev1.PodRunning || p.Status.Phase == corev1.PodPending {
			for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
				n += c.RestartCount
			}
		}
	}
	return n >= max(*r.job.Spec.BackoffLimit, 1)
}

// pastDeadline tells whether the Job's time is up, and asks to be woken when it will be.
func (r *run) pastDeadline() bool {
	limit, start := r.job.Spec.ActiveDeadlineSeconds, r.next.Status.StartTime
	if limit == nil || start == nil || r.suspended() {
		return false
	}
	remaining := start.Add(time.Duration(*limit) * time.Second).Sub(r.Now)
	r.plan.Again(remaining)
	return remaining <= 0
}

// succeedsByPolicy tells which rule of the success policy is met.
func (r *run) succeedsByPolicy() (rule int, ok bool) {
	policy := r.job.Spec.SuccessPolicy
	if policy == nil || !r.indexed() {
		return 0, false
	}
	for i, rule := range policy.Rules {
		have, want := r.succeeded.Len(), 0
		if rule.SucceededIndexes != nil {
			named, err := indexes.Parse(*rule.SucceededIndexes, int(*r.job.Spec.Completions))
			if err != nil || len(named) == 0 {
				continue
			}
			have, want = r.succeeded.Common(named), named.Len()
		}
		if rule.SucceededCount != nil {
			want = int(*rule.SucceededCount)
		}
		if have >= want {
			return i, true
		}
	}
	return 0, false
}

// complete decides whether the Job has all that it wants, and else whether it rests.
func (r *run) complete() {
	done := r.successes > 0
	if n := r.job.Spec.Completions; n != nil {
		done = r.successes >= *n
	}
	if done && r.activeAfter() == 0 {
		r.ends(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods")
		return
	}
	was := jobCondition(r.job, batchv1.JobSuspended)
	switch {
	case r.suspended() && (was == nil || was.Status != corev1.ConditionTrue):
		r.condition(batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended", "Job suspended")
		r.plan.Event(r.job, "Suspended", "Job suspended")
		r.next.Status.StartTime = nil
	case !r.suspended() && was != nil && was.Status == corev1.ConditionTrue:
		r.condition(batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed", "Job resumed")
		r.plan.Event(r.job, "Resumed", "Job resumed")
		r.next.Status.StartTime = r.time()
		if limit := r.job.Spec.ActiveDeadlineSeconds; limit != nil {
			r.plan.Again(time.Duration(*limit) * time.Second)
		}
	}
}

// condition sets a condition of the Job.
func (r *run) condition(t batchv1.JobConditionType, status corev1.ConditionStatus, reason, message string) {
	c := jobCondition(r.next, t)
	if c == nil {
		r.next.Status.Conditions = append(r.next.Status.Conditions, batchv1.JobCondition{Type: t})
		c = &r.next.Status.Conditions[len(r.next.Status.Conditions)-1]
	}
	if c.Status != status {
		c.LastTransitionTime, c.LastProbeTime = *r.time(), *r.time()
	}
	c.Status, c.Reason, c.Message = status, reason, message
}

// count writes the counts, and lets the pods go that they hold.
func (r *run) count() {
	s := &r.next.Status
	s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	var succeeded []int
	n := 0
	for _, p := range r.pods {
		if !tracked(p) || r.deleted[p] || !r.released(p) {
			continue
		}
		if n++; n > mostAtOnce {
			r.more = true // which its end waits for
			break
		}
		switch {
		case !r.counts(p):
		case p.Status.Phase == corev1.PodSucceeded:
			s.Succeeded++
			succeeded = append(succeeded, indexOf(p))
		case r.failedPod(p) || r.end != nil && r.end.Type == batchv1.JobFailureTarget:
			if verdict(r.job, p).counts {
				s.Failed++
			}
		}
		r.plan.Update(untracked(p), "its result is counted")
	}
	if r.end != nil && r.end.Type == batchv1.JobFailureTarget {
		for p := range r.deleted {
			if r.counts(p) {
				s.Failed++ // whatever had not ended when the Job failed
			}
		}
	}
	if r.indexed() {
		completed := known(s.CompletedIndexes, r.job).Or(indexes.Of(succeeded...))
		s.Succeeded, s.CompletedIndexes = int32(completed.Len()), completed.String()
		s.FailedIndexes = nil
		if r.job.Spec.BackoffLimitPerIndex != nil {
			text := r.failed.String()
			s.FailedIndexes = &text
		}
	}
	r.tallyLive()
}

// released tells whether nothing speaks against counting p now.
func (r *run) released(p *corev1.Pod) bool {
	switch {
	case r.job.DeletionTimestamp != nil || r.end != nil || p.Status.Phase == corev1.PodSucceeded:
		return true
	case !r.failedPod(p):
		return false
	}
	return r.replaced[indexOf(p)] != p // the one that takes its place must learn how often its index has failed
}

// tallyLive writes how many pods run, are ready and are ending.
func (r *run) tallyLive() {
	s := &r.next.Status
	var ready, terminating int32
	for _, p := range r.live {
		if _, ok := readySince(p); ok && !r.deleted[p] {
			ready++
		}
	}
	for _, p := range r.pods {
		if ending(p) || r.deleted[p] && lingers(p) {
			terminating++
		}
	}
	s.Active, s.Ready, s.Terminating = r.activeAfter(), &ready, &terminating
}

// lingers tells whether p is still there for a while when it has been deleted.
func lingers(p *corev1.Pod) bool { return p.Spec.NodeName != "" || len(untracked(p).Finalizers) > 0 }

func (r *run) activeAfter() int32 { return int32(len(r.live)-len(r.deleted)) + r.created }

// finish writes why the Job ends and, when nothing of it runs any more, that it has ended.
func (r *run) finish() {
	if r.end == nil {
		return
	}
	e := r.end
	r.condition(e.Type, corev1.ConditionTrue, e.Reason, e.Message)
	s := &r.next.Status
	if *s.Terminating > 0 || r.more {
		return
	}
	if e.Type == batchv1.JobFailureTarget {
		r.condition(batchv1.JobFailed, corev1.ConditionTrue, e.Reason, e.Message)
		r.plan.Warn(r.job, e.Reason, "%s", e.Message)
		return
	}
	r.condition(batchv1.JobComplete, corev1.ConditionTrue, e.Reason, e.Message)
	s.CompletionTime = r.time()
	if n := r.job.Spec.Completions; n != nil && s.Succeeded > *n {
		r.plan.Warn(r.job, "TooManySucceededPods", "Too many succeeded pods running after completion count reached")
	}
	r.plan.Event(r.job, "Completed", "Job completed")
}
