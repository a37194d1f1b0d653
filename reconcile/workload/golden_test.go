package workload

import (
	"testing"

	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
)

func TestReplicaSetPlans(t *testing.T) {
	controltest.Golden(t, ReplicaSet{}, "testdata/replicaset/*.txtar")
}

func TestDeploymentPlans(t *testing.T) {
	controltest.Golden(t, Deployment{}, "testdata/deployment/*.txtar")
}

func TestJobPlans(t *testing.T) {
	controltest.Golden(t, Job{}, "testdata/job/*.txtar")
}

func TestFinishedJobsPlans(t *testing.T) {
	controltest.Golden(t, FinishedJobs{}, "testdata/finished/*.txtar")
}

func TestCronJobPlans(t *testing.T) {
	controltest.Golden(t, CronJob{}, "testdata/cronjob/*.txtar")
}
