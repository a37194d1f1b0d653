package columns

import (
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Jobs shows how far they are.
func Jobs() Table[*batchv1.Job] {
	return Table[*batchv1.Job]{
		header("Name,Status,Completions,Duration,Age,Containers*,Images*,Selector*"),
		func(j *batchv1.Job, now time.Time) []any {
			names, images := containers(&j.Spec.Template.Spec)
			return []any{j.Name, jobState(j), completions(j), took(j, now), created(j, now), names, images, metav1.FormatLabelSelector(j.Spec.Selector)}
		},
	}
}

func jobState(j *batchv1.Job) string {
	is := map[batchv1.JobConditionType]bool{}
	for _, c := range j.Status.Conditions {
		is[c.Type] = c.Status == corev1.ConditionTrue
	}
	switch {
	case is[batchv1.JobComplete]:
		return "Complete"
	case is[batchv1.JobFailed]:
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case is[batchv1.JobSuspended]:
		return "Suspended"
	case is[batchv1.JobFailureTarget]:
		return "FailureTarget"
	case is[batchv1.JobSuccessCriteriaMet]:
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func completions(j *batchv1.Job) string {
	if n := j.Spec.Completions; n != nil {
		return nOf(j.Status.Succeeded, *n)
	}
	if n := replicas(j.Spec.Parallelism); n > 1 {
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, n)
	}
	return nOf(j.Status.Succeeded, 1)
}

// took is how long j ran, or has been running.
func took(j *batchv1.Job, now time.Time) string {
	switch start, end := j.Status.StartTime, j.Status.CompletionTime; {
	case start == nil:
		return ""
	case end == nil:
		return duration.HumanDuration(now.Sub(start.Time))
	default:
		return duration.HumanDuration(end.Sub(start.Time))
	}
}

// CronJobs shows when they run, and when they last did.
func CronJobs() Table[*batchv1.CronJob] {
	return Table[*batchv1.CronJob]{
		header("Name,Schedule,Timezone,Suspend:boolean,Active:integer,Last Schedule,Age,Containers*,Images*,Selector*"),
		func(c *batchv1.CronJob, now time.Time) []any {
			names, images := containers(&c.Spec.JobTemplate.Spec.Template.Spec)
			last, zone, suspend := none, none, "<unset>"
			if t := c.Status.LastScheduleTime; t != nil {
				last = age(*t, now)
			}
			if z := c.Spec.TimeZone; z != nil {
				zone = *z
			}
			if s := c.Spec.Suspend; s != nil {
				suspend = map[bool]string{true: "True", false: "False"}[*s]
			}
			return []any{
				c.Name, c.Spec.Schedule, zone, suspend, int64(len(c.Status.Active)), last, created(c, now),
				names, images, metav1.FormatLabelSelector(c.Spec.JobTemplate.Spec.Selector),
			}
		},
	}
}
