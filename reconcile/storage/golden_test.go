package storage

import (
	"testing"

	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
)

func TestClaimPlans(t *testing.T) {
	controltest.Golden(t, Claims{}, "testdata/claims/*.txtar")
}

func TestVolumePlans(t *testing.T) {
	controltest.Golden(t, Volumes{}, "testdata/volumes/*.txtar")
}

func TestEphemeralPlans(t *testing.T) {
	controltest.Golden(t, Ephemeral{}, "testdata/ephemeral/*.txtar")
}
