package custom

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"

	"github.com/mainstay-gitops/mainstay/reconcile/admit"
	"github.com/mainstay-gitops/mainstay/reconcile/api/kubestore"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// options gives each kind that is defined its place in the store.
type options struct{ *Config }

var _ generic.RESTOptionsGetter = options{}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (o options) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	p := newPassage()
	return generic.RESTOptions{
		ResourcePrefix:          resource.String(),
		EnableGarbageCollection: true,
		DeleteCollectionWorkers: 1,
		StorageConfig:           &storagebackend.ConfigForResource{GroupResource: resource, Config: storagebackend.Config{Codec: p}},
		Decorator: func(c *storagebackend.ConfigForResource, _ string, _ func(runtime.Object) (string, error), newObject, _ func() runtime.Object,
			_ storage.AttrFunc, _ storage.IndexerFuncs, _ *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
			return o.storage(resource, newObject, p.conversion(c.Codec)), func() {}, nil
		},
	}, nil
}

func (o options) storage(resource schema.GroupResource, newObject func() runtime.Object, convert *kubestore.Conversion) *kubestore.Storage {
	kind := newObject().GetObjectKind().GroupVersionKind().GroupKind()
	return kubestore.New(kubestore.Config{
		Store: o.Store, Kind: kind, Prefix: resource.String(), Convert: convert, Intern: o.Intern, New: newObject,
		Encode: func(u store.Object) ([]byte, error) { return json.Marshal(u.(*unstructured.Unstructured).Object) },
		Admit: func(tx *store.Tx, old, new store.Object) error {
			r := &admit.Request{Operation: admit.Create, Kind: new.GetObjectKind().GroupVersionKind(), Namespace: new.GetNamespace(), Name: new.GetName(), Object: new}
			r.Resource = resource.WithVersion(r.Kind.Version)
			if old != nil {
				r.Operation, r.Old = admit.Update, old
			}
			return o.Chain.Commit(tx, r)
		},
		Pins: o.Pins, Bookmarks: o.Bookmarks, Closing: o.Closing,
	})
}
