package workload

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// FinishedJobs deletes Jobs that have ended, with their pods, when they have been kept for as long as they ask.
type FinishedJobs struct{}

func (FinishedJobs) Name() string { return "ttl-after-finished-controller" }

func (FinishedJobs) Owns() []control.Owned {
	return []control.Owned{{Kind: jobKind, Part: control.Existing}}
}

func (FinishedJobs) Watches() []control.Watch { return []control.Watch{{Kind: jobKind}} }

// Plan deletes a Job whose time is up.
func (FinishedJobs) Plan(w control.World, key store.Key) (p control.Plan, _ error) {
	j, ok := store.Get[*batchv1.Job](w.Snapshot, key.Namespace, key.Name)
	if !ok || j.DeletionTimestamp != nil || j.Spec.TTLSecondsAfterFinished == nil || !jobFinished(j) {
		return p, nil
	}
	left := jobEnded(j).Add(time.Duration(*j.Spec.TTLSecondsAfterFinished) * time.Second).Sub(w.Now)
	if left > 0 {
		p.Again(left)
		return p, nil
	}
	p.Writes = append(p.Writes, control.Write{Op: control.Delete, Object: j, Why: "it has been over for as long as it was to be kept", Propagation: metav1.DeletePropagationForeground})
	return p, nil
}

// jobEnded is when a Job that has ended did.
func jobEnded(j *batchv1.Job) time.Time {
	for _, t := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
		if jobIs(j, t) {
			return jobCondition(j, t).LastTransitionTime.Time
		}
	}
	return time.Time{}
}
