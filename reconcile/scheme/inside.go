package scheme

import "github.com/mainstay-gitops/mainstay/reconcile/store"

// PrepareInside is PrepareUpdate for the writers inside Mainstay. They edit a copy of what is stored and may write its
// status in the same go, so that nothing is left to do but count the generation.
func (k *Kind) PrepareInside(new, old store.Object) {
	new.SetGeneration(old.GetGeneration())
	if k.generation && k.changed(new, old) {
		new.SetGeneration(old.GetGeneration() + 1)
	}
}
