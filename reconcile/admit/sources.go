package admit

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// definition tells whether users have defined a kind for the whole cluster; false if there is none of that name.
func definition(s *store.Snapshot, kind schema.GroupKind) (cluster, ok bool) {
	for _, d := range all[*apiextensionsv1.CustomResourceDefinition](s) {
		if d.Spec.Group == kind.Group && d.Spec.Names.Kind == kind.Kind {
			return d.Spec.Scope == apiextensionsv1.ClusterScoped, true
		}
	}
	return false, false
}

// objects are those of a kind in a snapshot, as upstream's parts read them: through what looks like an informer.
type objects struct {
	s    *store.Snapshot
	kind schema.GroupVersionKind
}

var (
	_ informers.GenericInformer = objects{}
	_ cache.GenericLister       = objects{}
)

func (o objects) Informer() cache.SharedIndexInformer { return synced{} }
func (o objects) Lister() cache.GenericLister         { return o }

func (o objects) List(selector labels.Selector) ([]runtime.Object, error) {
	return o.ByNamespace("").List(selector)
}

func (o objects) Get(name string) (runtime.Object, error) { return o.ByNamespace("").Get(name) }

func (o objects) ByNamespace(namespace string) cache.GenericNamespaceLister {
	return inNamespace{o, namespace}
}

type inNamespace struct {
	objects
	namespace string
}

func (n inNamespace) List(selector labels.Selector) ([]runtime.Object, error) {
	var list []runtime.Object
	for o := range n.s.List(store.Select(n.kind.GroupKind(), store.InNamespace(n.namespace), store.Labelled(selector))) {
		list = append(list, o)
	}
	return list, nil
}

func (n inNamespace) Get(name string) (runtime.Object, error) {
	o, ok := n.s.Get(store.Key{Kind: n.kind.GroupKind(), Namespace: n.namespace, Name: name})
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: n.kind.Group, Resource: n.kind.Kind}, name)
	}
	return o, nil
}

// synced is an informer that has seen all, and tells of nothing.
type synced struct{ cache.SharedIndexInformer }

func (synced) HasSynced() bool { return true }

func (synced) AddEventHandler(cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return registered{}, nil
}

type registered struct {
	cache.ResourceEventHandlerRegistration
}

func (registered) HasSynced() bool { return true }
