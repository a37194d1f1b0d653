package validate

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mainstay-gitops/mainstay/reconcile/indexes"
)

// jobHas tells whether a condition of j is true.
func jobHas(j *batchv1.Job, t batchv1.JobConditionType) bool {
	for _, c := range j.Status.Conditions {
		if c.Type == t && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

func jobFinished(j *batchv1.Job) bool {
	return jobHas(j, batchv1.JobComplete) || jobHas(j, batchv1.JobFailed)
}

// JobStatusUpdate keeps a status such that those who read it can rely on it, whoever writes it. What has not changed may be as
// it is: a change of the spec can make it wrong for a moment.
func JobStatusUpdate(new, old *batchv1.Job) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, jobCounts(new, old)...)
	errs = append(errs, uncounted(&new.Status, root("status").Child("uncountedTerminatedPods"))...)
	errs = append(errs, jobConditions(new, old)...)
	errs = append(errs, jobTimes(new, old)...)
	errs = append(errs, jobIndexes(new, old)...)
	return append(errs, finishedJob(new, old)...)
}

func jobCounts(new, old *batchv1.Job) field.ErrorList {
	s, was, path := &new.Status, &old.Status, root("status")
	errs := notNegative(s.Active, path.Child("active"))
	errs = append(errs, notNegative(s.Succeeded, path.Child("succeeded"))...)
	errs = append(errs, notNegative(s.Failed, path.Child("failed"))...)
	if s.Ready != nil {
		errs = append(errs, notNegative(*s.Ready, path.Child("ready"))...)
	}
	if s.Terminating != nil {
		errs = append(errs, notNegative(*s.Terminating, path.Child("terminating"))...)
	}
	if s.Failed < was.Failed {
		errs = append(errs, field.Invalid(path.Child("failed"), s.Failed, "cannot decrease the failed counter"))
	}
	elastic := indexed(&new.Spec) && same(new.Spec.Completions, new.Spec.Parallelism)
	if s.Succeeded < was.Succeeded && !elastic {
		errs = append(errs, field.Invalid(path.Child("succeeded"), s.Succeeded, "cannot decrease the succeeded counter"))
	}
	if s.Ready != nil && *s.Ready > s.Active && (!same(s.Ready, was.Ready) || s.Active != was.Active) {
		errs = append(errs, field.Invalid(path.Child("ready"), *s.Ready, "cannot set more ready pods than active"))
	}
	return errs
}

func uncounted(s *batchv1.JobStatus, path *field.Path) field.ErrorList {
	if s.UncountedTerminatedPods == nil {
		return nil
	}
	var errs field.ErrorList
	seen := map[types.UID]bool{}
	check := func(uids []types.UID, path *field.Path) {
		for i, uid := range uids {
			if uid == "" {
				errs = append(errs, field.Invalid(path.Index(i), uid, "must not be empty"))
			} else if seen[uid] {
				errs = append(errs, field.Duplicate(path.Index(i), uid))
			}
			seen[uid] = true
		}
	}
	check(s.UncountedTerminatedPods.Succeeded, path.Child("succeeded"))
	check(s.UncountedTerminatedPods.Failed, path.Child("failed"))
	return errs
}

func jobConditions(new, old *batchv1.Job) field.ErrorList {
	const complete, failed, target, met = batchv1.JobComplete, batchv1.JobFailed, batchv1.JobFailureTarget, batchv1.JobSuccessCriteriaMet
	is := func(t batchv1.JobConditionType) bool { return jobHas(new, t) }
	was := func(t batchv1.JobConditionType) bool { return jobHas(old, t) }
	changed := func(t batchv1.JobConditionType) bool { return is(t) != was(t) }
	var errs field.ErrorList
	refuse := func(when bool, why string) {
		if when {
			errs = append(errs, field.Invalid(root("status").Child("conditions"), field.OmitValueType{}, why))
		}
	}
	refuse(is(complete) && is(failed) && (changed(complete) || changed(failed)), "cannot set Complete=True and Failed=true conditions")
	refuse(is(complete) && is(target) && (changed(complete) || changed(target)), "cannot set Complete=True and FailureTarget=true conditions")
	refuse(is(failed) && !is(target) && (changed(failed) || !same(new.Status.FailedIndexes, old.Status.FailedIndexes)),
		"cannot set Failed=True condition without the FailureTarget=true condition")
	refuse(is(complete) && !is(met) && (changed(complete) || changed(met)), "cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
	refuse(is(met) && is(failed), "cannot set SuccessCriteriaMet=True and Failed=true conditions")
	refuse(is(met) && is(target), "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
	refuse(new.Spec.SuccessPolicy != nil && !is(met) && is(complete), "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
	for _, t := range []batchv1.JobConditionType{failed, complete, target} {
		refuse(was(t) && !is(t), fmt.Sprintf("cannot disable the terminal %s=True condition", t))
	}
	refuse(was(met) && !is(met), "cannot disable the SuccessCriteriaMet=True condition")
	refuse(was(complete) && !was(met) && is(met), "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
	return errs
}

func jobTimes(new, old *batchv1.Job) field.ErrorList {
	s, was := &new.Status, &old.Status
	start, end := root("status").Child("startTime"), root("status").Child("completionTime")
	complete := jobHas(new, batchv1.JobComplete)
	startChanged, endChanged := !same(s.StartTime, was.StartTime), !same(s.CompletionTime, was.CompletionTime)
	completeChanged := complete != jobHas(old, batchv1.JobComplete)
	resumes := jobHas(old, batchv1.JobSuspended) && !jobHas(new, batchv1.JobSuspended)
	var errs field.ErrorList
	if (endChanged || completeChanged) && s.CompletionTime != nil && !complete {
		errs = append(errs, field.Invalid(end, s.CompletionTime, "cannot set completionTime when there is no Complete=True condition"))
	}
	if (endChanged || completeChanged) && s.CompletionTime == nil && complete {
		errs = append(errs, field.Required(end, "completionTime is required for Complete jobs"))
	}
	if (endChanged || startChanged) && s.StartTime != nil && s.CompletionTime != nil && s.CompletionTime.Before(s.StartTime) {
		errs = append(errs, field.Invalid(end, s.CompletionTime, "must be equal to or after `startTime`"))
	}
	if endChanged && s.CompletionTime != nil && was.CompletionTime != nil {
		errs = append(errs, field.Invalid(end, s.CompletionTime, "field is immutable"))
	}
	if startChanged && !resumes && was.StartTime != nil && !isTrue(new.Spec.Suspend) {
		errs = append(errs, field.Invalid(start, s.StartTime, "field is immutable for unsuspended job once set"))
	}
	return errs
}

func jobIndexes(new, old *batchv1.Job) field.ErrorList {
	s, path := &new.Status, root("status")
	completedChanged, failedChanged := s.CompletedIndexes != old.Status.CompletedIndexes, !same(s.FailedIndexes, old.Status.FailedIndexes)
	var errs field.ErrorList
	var completed, failed indexes.Set
	var err error
	if completions := new.Spec.Completions; completions != nil {
		if completed, err = indexes.Parse(s.CompletedIndexes, int(*completions)); err != nil && completedChanged {
			errs = append(errs, field.Invalid(path.Child("completedIndexes"), s.CompletedIndexes, "error parsing completedIndexes: "+err.Error()))
		}
		if s.FailedIndexes != nil {
			if failed, err = indexes.Parse(*s.FailedIndexes, int(*completions)); err != nil && failedChanged {
				errs = append(errs, field.Invalid(path.Child("failedIndexes"), s.FailedIndexes, "error parsing failedIndexes: "+err.Error()))
			}
		}
	}
	if completedChanged && s.CompletedIndexes != "" && !indexed(&new.Spec) {
		errs = append(errs, field.Invalid(path.Child("completedIndexes"), s.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode"))
	}
	if failedChanged && s.FailedIndexes != nil && new.Spec.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Invalid(path.Child("failedIndexes"), *s.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null"))
	}
	if (completedChanged || failedChanged) && completed.Common(failed) > 0 {
		first := 0
		for !completed.Has(first) || !failed.Has(first) {
			first++
		}
		errs = append(errs, field.Invalid(path.Child("failedIndexes"), *s.FailedIndexes, fmt.Sprintf("failedIndexes and completedIndexes overlap at index: %d", first)))
	}
	return errs
}

func finishedJob(new, old *batchv1.Job) field.ErrorList {
	if !jobFinished(new) {
		return nil
	}
	s, was, path := &new.Status, &old.Status, root("status")
	news := !jobFinished(old)
	var errs field.ErrorList
	if s.Active > 0 && (news || s.Active != was.Active) {
		errs = append(errs, field.Invalid(path.Child("active"), s.Active, "active>0 is invalid for finished job"))
	}
	never := isTrue(new.Spec.Suspend) && new.Spec.Completions != nil && *new.Spec.Completions == 0
	if s.StartTime == nil && !never && (news || was.StartTime != nil) {
		errs = append(errs, field.Required(path.Child("startTime"), "startTime is required for finished job"))
	}
	if u := s.UncountedTerminatedPods; u != nil && len(u.Failed)+len(u.Succeeded) > 0 && (news || !same(u, was.UncountedTerminatedPods)) {
		errs = append(errs, field.Invalid(path.Child("uncountedTerminatedPods"), u, "must be empty for finished job"))
	}
	if n := s.Terminating; n != nil && *n > 0 && (news || !same(n, was.Terminating)) {
		errs = append(errs, field.Invalid(path.Child("terminating"), n, "terminating>0 is invalid for finished job"))
	}
	return errs
}
