package network

import (
	"testing"

	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
)

func TestEndpointPlans(t *testing.T) { controltest.Golden(t, Endpoints{}, "testdata/*.txtar") }
