package workload

import (
	"testing"

	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
)

func TestReplicationControllerPlans(t *testing.T) {
	controltest.Golden(t, ReplicationController{}, "testdata/replicationcontroller/*.txtar")
}

func TestDaemonSetPlans(t *testing.T) {
	controltest.Golden(t, DaemonSet{}, "testdata/daemonset/*.txtar")
}

func TestStatefulSetPlans(t *testing.T) {
	controltest.Golden(t, StatefulSet{}, "testdata/statefulset/*.txtar")
}
