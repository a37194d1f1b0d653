package defaults

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
)

// GitSource looks every minute, prunes, and gives a rollout five minutes. Without a ref it follows the branch main, which is
// not filled in: a plain folder has none.
func GitSource(g *v1alpha1.GitSource) {
	s := &g.Spec
	missing(&s.Interval, metav1.Duration{Duration: time.Minute})
	missing(&s.Timeout, metav1.Duration{Duration: 5 * time.Minute})
	missing(&s.Prune, true)
	unset(&s.DriftPolicy, v1alpha1.DriftRevert)
	unset(&s.Namespace, metav1.NamespaceDefault)
}
