package scheme

import (
	"maps"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// undefined is a kind without a Go type of which nothing is known but its name: enough to delete its objects, and to change
// their metadata.
func undefined(gvk schema.GroupVersionKind) *Kind {
	plural, _ := meta.UnsafeGuessKindToResource(gvk)
	allowed := func(*unstructured.Unstructured) field.ErrorList { return nil }
	changed := func(_, _ *unstructured.Unstructured) field.ErrorList { return nil }
	k := typed(Kind{GroupVersionKind: gvk, Plural: plural.Resource, Namespaced: true}, rules[*unstructured.Unstructured]{
		generation: true, changed: changedCustom, validate: allowed, update: changed, status: changed,
	})
	k.New = func() store.Object { return empty(gvk) }
	k.NewList = func() runtime.Object {
		l := &unstructured.UnstructuredList{}
		l.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		return l
	}
	return k
}

func empty(gvk schema.GroupVersionKind) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	return u
}

// changedCustom tells whether anything but the metadata differs. Where the status has a subresource of its own, a write of
// the object has left it as it was.
func changedCustom(new, old *unstructured.Unstructured) bool {
	a, b := maps.Clone(new.Object), maps.Clone(old.Object)
	delete(a, "metadata")
	delete(b, "metadata")
	return !equality.Semantic.DeepEqual(a, b)
}
