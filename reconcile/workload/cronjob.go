package workload

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var (
	cronJobKind    = schema.GroupKind{Group: batchv1.GroupName, Kind: "CronJob"}
	cronJobVersion = batchv1.SchemeGroupVersion.WithKind("CronJob")
)

// CronJob starts a Job whenever the schedule of a CronJob says so. The Job of a time is named by it, and is made in the
// transaction that notes the time: so it is made once.
type CronJob struct{}

func (CronJob) Name() string { return "cronjob-controller" }

func (CronJob) Owns() []control.Owned {
	return []control.Owned{{Kind: jobKind}, {Kind: cronJobKind, Part: control.Status}}
}

func (CronJob) Watches() []control.Watch {
	return []control.Watch{{Kind: cronJobKind}, control.Controlled(jobKind, cronJobKind)}
}

// A rota is one CronJob while it is planned.
type rota struct {
	control.World
	cron *batchv1.CronJob // as it is
	next *batchv1.CronJob // as it shall be: status
	jobs []*batchv1.Job   // the oldest first
	plan control.Plan
}

// Plan moves a CronJob on by one step.
func (CronJob) Plan(w control.World, key store.Key) (control.Plan, error) {
	c, ok := store.Get[*batchv1.CronJob](w.Snapshot, key.Namespace, key.Name)
	if !ok {
		return control.Plan{}, nil
	}
	r := &rota{World: w, cron: c, next: c.DeepCopy()}
	for j := range store.List[*batchv1.Job](w.Snapshot, store.InNamespace(c.Namespace), store.OwnedBy(c.UID)) {
		if metav1.IsControlledBy(j, c) {
			r.jobs = append(r.jobs, j)
		}
	}
	slices.SortFunc(r.jobs, func(a, b *batchv1.Job) int {
		return cmp.Or(startedAt(a).Compare(startedAt(b)), strings.Compare(a.Name, b.Name))
	})
	r.look()
	r.forget()
	if c.DeletionTimestamp == nil && (c.Spec.Suspend == nil || !*c.Spec.Suspend) {
		r.schedule()
	}
	if !equality.Semantic.DeepEqual(c.Status, r.next.Status) {
		r.plan.Status(r.next, "its Jobs changed")
	}
	return r.plan, nil
}

// startedAt is when j started; one that has not is younger than all.
func startedAt(j *batchv1.Job) time.Time {
	if t := j.Status.StartTime; t != nil {
		return t.Time
	}
	return time.Unix(1<<40, 0)
}

// look brings the status up to date: which of its Jobs run, and when one last succeeded. Those that people start by hand do not
// count among those that run.
func (r *rota) look() {
	s := &r.next.Status
	is := map[types.UID]*batchv1.Job{}
	for _, j := range r.jobs {
		is[j.UID] = j
	}
	for _, ref := range s.Active {
		switch j := is[ref.UID]; {
		case j == nil:
			r.plan.Event(r.cron, "MissingJob", "Active job went missing: %v", ref.Name)
		case jobFinished(j):
			r.plan.Event(r.cron, "SawCompletedJob", "Saw completed job: %s, condition: %v", j.Name, endedBy(j))
		}
	}
	s.Active = nil
	for _, j := range r.jobs {
		if _, scheduled := j.Annotations[batchv1.CronJobScheduledTimestampAnnotation]; scheduled && !jobFinished(j) {
			s.Active = append(s.Active, corev1.ObjectReference{
				APIVersion: jobVersion.GroupVersion().String(), Kind: jobVersion.Kind, Namespace: j.Namespace, Name: j.Name, UID: j.UID,
			})
		}
		if t := j.Status.CompletionTime; t != nil && jobIs(j, batchv1.JobComplete) && (s.LastSuccessfulTime == nil || t.After(s.LastSuccessfulTime.Time)) {
			s.LastSuccessfulTime = t.DeepCopy()
		}
	}
}

// endedBy is the condition by which j has ended.
func endedBy(j *batchv1.Job) batchv1.JobConditionType {
	if jobIs(j, batchv1.JobComplete) {
		return batchv1.JobComplete
	}
	return batchv1.JobFailed
}

// forget deletes the oldest of the Jobs that have ended, beyond those that are to be kept.
func (r *rota) forget() {
	r.keep(batchv1.JobComplete, r.cron.Spec.SuccessfulJobsHistoryLimit)
	r.keep(batchv1.JobFailed, r.cron.Spec.FailedJobsHistoryLimit)
}

func (r *rota) keep(t batchv1.JobConditionType, limit *int32) {
	if limit == nil {
		return
	}
	over := slices.DeleteFunc(slices.Clone(r.jobs), func(j *batchv1.Job) bool { return !jobIs(j, t) || j.DeletionTimestamp != nil })
	for _, j := range over[:max(len(over)-int(*limit), 0)] {
		r.remove(j, "enough others are kept")
	}
}

func (r *rota) remove(j *batchv1.Job, why string) {
	r.plan.Delete(j, why)
	r.plan.Event(r.cron, "SuccessfulDelete", "Deleted job %v", j.Name)
}

// schedule starts a Job if one is due, and asks to be woken when the next one is.
func (r *rota) schedule() {
	t, err := readTimetable(r.cron, r.Now)
	if err != nil {
		r.plan.Warn(r.cron, "UnparseableSchedule", "unparseable schedule: %q : %s", r.cron.Spec.Schedule, err)
		return
	}
	due, err := t.due(true)
	if err != nil {
		r.plan.Warn(r.cron, "InvalidSchedule", "invalid schedule: %s : %s", r.cron.Spec.Schedule, err)
		return
	}
	r.plan.Again(t.next().Sub(r.Now))
	last := r.cron.Status.LastScheduleTime
	if due.at.IsZero() || last != nil && last.Time.Equal(due.at) {
		return
	}
	name := fmt.Sprintf("%s-%d", r.cron.Name, due.at.Unix()/60)
	if deadline := r.cron.Spec.StartingDeadlineSeconds; deadline != nil && due.at.Add(time.Duration(*deadline)*time.Second).Before(r.Now) {
		r.plan.Warn(r.cron, "MissSchedule", "Missed scheduled time to start a job: %s", due.at.UTC().Format(time.RFC1123Z))
		return
	}
	if r.cron.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent && len(r.next.Status.Active) > 0 {
		if r.Now.Sub(due.at) < time.Second { // it is said when it is due, not whenever somebody looks
			r.plan.Event(r.cron, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
		}
		return
	}
	if _, taken := store.Get[*batchv1.Job](r.Snapshot, r.cron.Namespace, name); taken {
		return
	}
	if due.missed > mostMissed {
		r.plan.Warn(r.cron, "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	if r.cron.Spec.ConcurrencyPolicy == batchv1.ReplaceConcurrent {
		r.replace()
	}
	r.plan.Create(r.job(name, due.at.In(t.zone)), "it is time")
	r.plan.Event(r.cron, "SuccessfulCreate", "Created job %v", name)
	at := metav1.NewTime(due.at)
	r.next.Status.LastScheduleTime = &at
}

// replace deletes the Jobs that still run.
func (r *rota) replace() {
	for _, ref := range r.next.Status.Active {
		if j, ok := store.Get[*batchv1.Job](r.Snapshot, ref.Namespace, ref.Name); ok && j.UID == ref.UID && j.DeletionTimestamp == nil {
			r.remove(j, "the next one replaces it")
		}
	}
	r.next.Status.Active = nil
}

// job makes the Job of a time.
func (r *rota) job(name string, at time.Time) *batchv1.Job {
	t := r.cron.Spec.JobTemplate.DeepCopy()
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: r.cron.Namespace, Labels: t.Labels, Annotations: maps.Clone(t.Annotations),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(r.cron, cronJobVersion)},
		},
		Spec: t.Spec,
	}
	metav1.SetMetaDataAnnotation(&j.ObjectMeta, batchv1.CronJobScheduledTimestampAnnotation, at.Format(time.RFC3339))
	return j
}
