package network

import (
	"net/netip"
	"testing"

	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
)

func TestEndpointSlicePlans(t *testing.T) {
	controltest.Golden(t, Endpoints{}, "testdata/endpointslices/*.txtar")
}

func TestEndpointsPlans(t *testing.T) {
	controltest.Golden(t, LegacyEndpoints{}, "testdata/endpoints/*.txtar")
}

func TestMirrorPlans(t *testing.T) { controltest.Golden(t, Mirror{}, "testdata/mirror/*.txtar") }

func TestPlansOfWhatIsGiven(t *testing.T) {
	controltest.Golden(t, Given{netip.MustParsePrefix("10.43.0.0/16")}, "testdata/given/*.txtar", Index())
}
