package scheme

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// PrepareInside is PrepareUpdate for the writers inside Mainstay. They edit a copy of what is stored and may write its
// status in the same go, so that nothing is left to do but count the generation.
func (k *Kind) PrepareInside(new, old store.Object) {
	new.SetGeneration(old.GetGeneration())
	if k.generation && k.changed(new, old) {
		new.SetGeneration(old.GetGeneration() + 1)
	}
}

// Namespaced says whether objects of that kind live in a namespace. Those of kinds that are not served do.
func (s *Scheme) Namespaced(gk schema.GroupKind) bool {
	k := s.Kind(gk)
	return k == nil || k.Namespaced
}
