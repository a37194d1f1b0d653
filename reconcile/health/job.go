package health

import (
	"cmp"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// job is healthy when it has done what it was for, or is suspended as it should be; a Job that failed is stuck.
func job(s *store.Snapshot, j *batchv1.Job) Status {
	for _, c := range j.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			return Status{State: Healthy}
		case batchv1.JobFailed, batchv1.JobFailureTarget:
			return Status{State: Degraded, Cause: cmp.Or(c.Message, c.Reason, "it failed"), Stuck: true}
		case batchv1.JobSuspended:
			if j.Spec.Suspend != nil && *j.Spec.Suspend {
				return Status{State: Healthy}
			}
		}
	}
	st := Status{State: Progressing}
	st.cause(s, j)
	st.Stuck = false // its back-off limit decides about that
	return st
}
