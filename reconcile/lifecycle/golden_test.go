package lifecycle

import (
	"net/netip"
	"testing"

	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
)

func TestGarbagePlans(t *testing.T) { controltest.Golden(t, Garbage{}, "testdata/garbage/*.txtar") }

func TestNamespacePlans(t *testing.T) {
	controltest.Golden(t, Namespaces{}, "testdata/namespaces/*.txtar")
}

func TestNodePlans(t *testing.T) { controltest.Golden(t, Nodes{}, "testdata/nodes/*.txtar") }

func TestSystemPlans(t *testing.T) {
	controltest.Golden(t, System{ServiceAddress: netip.MustParseAddr("10.43.0.1"), API: netip.MustParseAddrPort("10.42.0.1:6443")}, "testdata/system/*.txtar")
}

func TestAccountPlans(t *testing.T) {
	controltest.Golden(t, Accounts{CA: []byte("a certificate")}, "testdata/accounts/*.txtar")
}
