// Package registry serves each kind with what k8s.io/apiserver wants of one: its resource and subresources. It knows no
// kind by itself: what a kind is, scheme says; what happens to its objects, the store keeps.
package registry

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/admit"
	"github.com/mainstay-gitops/mainstay/reconcile/api/kubestore"
	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Logs reads what containers wrote. The node that runs them implements it.
type Logs interface {
	// Logs opens the output of a container of a pod, which the options name. The reader ends with the output, or, if the
	// options say to follow it, with ctx or the container. Whoever asked closes it. An error that is an API status is
	// passed on to the client as it is.
	Logs(ctx context.Context, namespace, pod string, opts *corev1.PodLogOptions) (io.ReadCloser, error)
}

// Options are what all kinds share.
type Options struct {
	Scheme  *scheme.Scheme
	Store   kubestore.Store
	Logs    Logs           // nil: logs cannot be read
	Streams Streams        // nil: nobody can reach into containers
	Usage   Usage          // nil: nothing is measured
	Issuer  *access.Issuer // nil: no tokens can be asked for
	// Node is what answers for a node, as a kubelet does; nil, or if it returns nil: nothing does.
	Node func(name string) http.Handler
	// Dial is how proxies reach pods and nodes; nil: as everybody on this machine does.
	Dial  func(ctx context.Context, network, address string) (net.Conn, error)
	Chain *admit.Chain // nil: all is admitted
	// Assign gives what is about to be written what must be given once: see kubestore.Config.
	Assign  func(tx *store.Tx, old, new store.Object) error
	Owned   Owned // nil: nothing came from Git
	Now     func() time.Time
	Closing <-chan struct{} // closed when streams must end

	codec *scheme.Codec
	pins  *kubestore.Pins
}

const (
	listFor      = 5 * time.Minute // a list in pages may be read as long
	listsPinned  = 16
	BookmarkEach = time.Minute // watches that want bookmarks get one
)

// A Registry makes the storage of kinds.
type Registry struct{ Options }

// New makes a Registry.
func New(o Options) *Registry {
	o.codec = o.Scheme.Codec()
	o.pins = &kubestore.Pins{For: listFor, Limit: listsPinned, Now: o.Now}
	return &Registry{o}
}

// Pins keep the states that lists in pages are of.
func (r *Registry) Pins() *kubestore.Pins { return r.pins }

// Intern lets an object share memory with others: see scheme.Codec.
func (r *Registry) Intern(o store.Object) { r.codec.Intern(o) }

// Sweep lets go of what is kept for clients that do not come back. Call it about once a minute.
func (r *Registry) Sweep() { r.pins.Drop() }

// Storage is what serves k, by resource and subresource: "deployments", "deployments/status", "deployments/scale".
func (r *Registry) Storage(k *scheme.Kind) (map[string]rest.Storage, error) {
	res, err := r.resource(k)
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", k.Resource(), err)
	}
	all := map[string]rest.Storage{k.Plural: res}
	if k.Status {
		all[k.Plural+"/status"] = newStatus(res)
	}
	if k.Scale != nil {
		all[k.Plural+"/scale"] = &scales{res}
	}
	for _, name := range k.Others {
		sub, err := r.other(res, name)
		if err != nil {
			return nil, err
		}
		if sub != nil {
			all[k.Plural+"/"+name] = sub
		}
	}
	return all, nil
}

// other is a subresource that only one kind has; nil if it cannot be served here.
func (r *Registry) other(res *resource, name string) (rest.Storage, error) {
	switch res.kind.Plural + "/" + name {
	case "pods/log":
		if r.Logs == nil {
			return nil, nil
		}
		return &logs{pods: res, from: r.Logs, closing: r.Closing}, nil
	case "pods/attach", "pods/exec", "pods/portforward":
		if r.Streams == nil {
			return nil, nil
		}
		return map[string]func(*resource) *connects{"attach": r.attach, "exec": r.exec, "portforward": r.portForward}[name](res), nil
	case "pods/proxy":
		return r.podProxy(res), nil
	case "services/proxy":
		return r.serviceProxy(res), nil
	case "nodes/proxy":
		return r.nodeProxy(res), nil
	case "pods/binding":
		return &bindings{res}, nil
	case "certificatesigningrequests/approval":
		return newApproval(res), nil
	case "pods/ephemeralcontainers":
		return newEphemeral(res), nil
	case "pods/eviction":
		return &evictions{res}, nil
	case "serviceaccounts/token":
		if r.Issuer == nil {
			return nil, nil
		}
		return &tokens{accounts: res, store: r.Store, issuer: r.Issuer}, nil
	case "namespaces/finalize":
		return newFinalize(res), nil
	}
	return nil, fmt.Errorf("serve %s: there is no subresource %s", res.kind.Resource(), name)
}

// resource is the storage of one kind: upstream's, but for how objects are deleted.
type resource struct {
	*genericregistry.Store
	kind    *scheme.Kind
	objects *kubestore.Storage
	now     func() time.Time
	owned   func(store.Key) (apply.Brought, bool) // nil: nothing came from Git
}

var (
	_ rest.StandardStorage      = (*resource)(nil)
	_ rest.ShortNamesProvider   = (*resource)(nil)
	_ rest.CategoriesProvider   = (*resource)(nil)
	_ rest.SingularNameProvider = (*resource)(nil)
)

// ShortNames implements rest.ShortNamesProvider.
func (r *resource) ShortNames() []string { return r.kind.Short }

// Categories implements rest.CategoriesProvider.
func (r *resource) Categories() []string { return r.kind.Categories }

func (r *Registry) resource(k *scheme.Kind) (*resource, error) {
	s := strategy{ObjectTyper: r.Scheme.Runtime, NameGenerator: names.SimpleNameGenerator, kind: k, now: r.Now}
	res := &resource{kind: k, now: r.Now, objects: r.objects(k)}
	attributes := func(o runtime.Object) (labels.Set, fields.Set, error) {
		object, ok := o.(store.Object)
		if !ok {
			return nil, nil, fmt.Errorf("select a %T: it has no metadata", o)
		}
		return object.GetLabels(), k.Fields(object), nil
	}
	if r.Owned != nil {
		res.owned = func(k store.Key) (apply.Brought, bool) { return r.Owned(r.Store.Snapshot(), k) }
	}
	res.Store = &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return k.New() },
		NewListFunc:               k.NewList,
		DefaultQualifiedResource:  k.Resource(),
		SingularQualifiedResource: schema.GroupResource{Group: k.Group, Resource: k.Singular},
		PredicateFunc: func(l labels.Selector, f fields.Selector) storage.SelectionPredicate {
			return storage.SelectionPredicate{Label: l, Field: f, GetAttrs: attributes}
		},
		CreateStrategy:      s,
		UpdateStrategy:      s,
		DeleteStrategy:      s,
		ResetFieldsStrategy: s,
		TableConvertor:      table{kind: k, now: r.Now},
		ShouldDeleteDuringUpdate: func(_ context.Context, _ string, o, _ runtime.Object) bool {
			return scheme.Gone(o.(store.Object))
		},
	}
	prefix := k.Resource().String()
	return res, res.CompleteWithOptions(&generic.StoreOptions{
		AttrFunc: attributes,
		RESTOptions: generic.RESTOptions{
			ResourcePrefix: prefix,
			StorageConfig: &storagebackend.ConfigForResource{
				GroupResource: k.Resource(),
				// What dry runs copy objects with, and the version that discovery says objects are stored in.
				Config: storagebackend.Config{Codec: r.Scheme.Codecs.LegacyCodec(k.GroupVersion()), EncodeVersioner: k.GroupVersion()},
			},
			Decorator: func(*storagebackend.ConfigForResource, string, func(runtime.Object) (string, error), func() runtime.Object, func() runtime.Object,
				storage.AttrFunc, storage.IndexerFuncs, *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
				return res.objects, func() {}, nil
			},
		},
	})
}

func (r *Registry) objects(k *scheme.Kind) *kubestore.Storage {
	return kubestore.New(kubestore.Config{
		Store:  r.Store,
		Kind:   k.GroupVersionKind.GroupKind(),
		Prefix: k.Resource().String(),
		Encode: r.codec.Encode,
		Intern: r.codec.Intern,
		New:    func() runtime.Object { return k.New() },
		Admit: func(tx *store.Tx, old, new store.Object) error {
			op := admit.Create
			if old != nil {
				op = admit.Update
			}
			return r.Chain.Commit(tx, admit.For(k, op, old, new))
		},
		Assign:    r.Assign,
		Pins:      r.pins,
		Bookmarks: BookmarkEach,
		Closing:   r.Closing,
	})
}
