package lifecycle

import (
	"net/netip"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func TestGarbagePlans(t *testing.T) { controltest.Golden(t, Garbage{}, "testdata/garbage/*.txtar") }

func TestNamespacePlans(t *testing.T) {
	controltest.Golden(t, Namespaces{}, "testdata/namespaces/*.txtar")
}

func TestNodePlans(t *testing.T) { controltest.Golden(t, Nodes{}, "testdata/nodes/*.txtar") }

func TestSystemPlans(t *testing.T) {
	controltest.Golden(t, System{ServiceAddress: netip.MustParseAddr("10.43.0.1"), API: netip.MustParseAddrPort("10.42.0.1:6443")}, "testdata/system/*.txtar")
}

func TestTaintEvictionPlans(t *testing.T) {
	controltest.Golden(t, TaintEviction{}, "testdata/taint-eviction/*.txtar")
}

func TestANodeIsNotHeldForLostBeforeItCouldBeHeard(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", CreationTimestamp: metav1.NewTime(now.Add(-time.Hour))}}
	kinds := store.Kinds{}
	kinds.Add(coordinationv1.SchemeGroupVersion.WithKind("Lease"), &coordinationv1.Lease{})
	for began, want := range map[time.Duration]time.Duration{time.Second: 39 * time.Second, time.Minute: -20 * time.Second} {
		m, err := store.Open(store.NewVolatile(kinds), kinds, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if left := (Nodes{Began: now.Add(-began)}).lastSign(m.Snapshot(), n).Add(silence).Sub(now); left != want {
			t.Errorf("begun %s ago: %s left, want %s", began, left, want)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAccountPlans(t *testing.T) {
	controltest.Golden(t, Accounts{CA: []byte("a certificate")}, "testdata/accounts/*.txtar")
}

func TestAPIServicePlans(t *testing.T) {
	controltest.Golden(t, APIServices{CA: []byte("a certificate"), Served: []schema.GroupVersion{{Version: "v1"}, {Group: "apps", Version: "v1"}}}, "testdata/apiservices/*.txtar")
}
