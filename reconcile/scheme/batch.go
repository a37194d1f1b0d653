package scheme

import (
	"maps"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/columns"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/defaults"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/validate"
)

func batchKinds(v validate.Rules) []*Kind {
	return []*Kind{
		typed(Kind{GroupVersionKind: batchv1.SchemeGroupVersion.WithKind("CronJob"), Plural: "cronjobs", Short: list("cj"), Categories: list("all"), Namespaced: true, Status: true}, rules[*batchv1.CronJob]{
			defaults: defaults.CronJob, generation: true,
			validate: v.CronJob, update: v.CronJobUpdate, status: validate.CronJobStatusUpdate,
			table: columns.CronJobs(),
		}),
		typed(Kind{GroupVersionKind: batchv1.SchemeGroupVersion.WithKind("Job"), Plural: "jobs", Categories: list("all"), Namespaced: true, Status: true}, rules[*batchv1.Job]{
			defaults: defaults.Job, generation: true, create: createJob,
			validate: v.Job, update: v.JobUpdate, status: validate.JobStatusUpdate,
			table: columns.Jobs(), labels: list("status.successful"),
			fields: func(j *batchv1.Job, set fields.Set) {
				set["status.successful"] = strconv.Itoa(int(j.Status.Succeeded))
			},
		}),
	}
}

// createJob gives a Job a selector that no other has, and its pods the labels for it.
func createJob(j *batchv1.Job, _ time.Time) {
	if *j.Spec.ManualSelector {
		return
	}
	t := &j.Spec.Template
	unlabelled := maps.Equal(j.Labels, t.Labels) // it has none of its own
	for _, l := range []struct{ key, value string }{
		{"job-name", j.Name}, {batchv1.JobNameLabel, j.Name},
		{"controller-uid", string(j.UID)}, {batchv1.ControllerUidLabel, string(j.UID)},
	} {
		if _, ok := t.Labels[l.key]; !ok {
			metav1.SetMetaDataLabel(&t.ObjectMeta, l.key, l.value)
		}
	}
	if unlabelled {
		j.Labels = maps.Clone(t.Labels)
	}
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if _, ok := j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; !ok {
		j.Spec.Selector = metav1.AddLabelToSelector(j.Spec.Selector, batchv1.ControllerUidLabel, string(j.UID))
	}
}
