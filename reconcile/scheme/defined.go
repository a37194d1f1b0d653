package scheme

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Kinds are those of a Scheme, and those that are defined by the CustomResourceDefinitions of a snapshot, served or not yet.
type Kinds struct {
	*Scheme
	definitions func() map[schema.GroupKind]*apiextensionsv1.CustomResourceDefinition
}

var _ decode.Kinds = Kinds{}

// In are the kinds that there are in a snapshot.
func (s *Scheme) In(at *store.Snapshot) Kinds {
	return Kinds{s, sync.OnceValue(func() map[schema.GroupKind]*apiextensionsv1.CustomResourceDefinition {
		all := map[schema.GroupKind]*apiextensionsv1.CustomResourceDefinition{}
		for d := range store.List[*apiextensionsv1.CustomResourceDefinition](at) {
			all[schema.GroupKind{Group: d.Spec.Group, Kind: d.Spec.Names.Kind}] = d
		}
		return all
	})}
}

// Lookup is the kind of that name and version. The error is for users, as that of Scheme.Lookup.
func (k Kinds) Lookup(gvk schema.GroupVersionKind) (*Kind, error) {
	d, ok := k.definitions()[gvk.GroupKind()]
	switch {
	case k.Scheme.Kind(gvk.GroupKind()) != nil, !ok && !definable(k.Scheme, gvk.Group):
		return k.Scheme.Lookup(gvk)
	case !ok:
		return nil, k.undefined(gvk)
	}
	var served []string
	for _, v := range d.Spec.Versions {
		if v.Served {
			served = append(served, v.Name)
		}
	}
	switch {
	case d.DeletionTimestamp != nil:
		return nil, fmt.Errorf("kind %s: CustomResourceDefinition %s, which defines it, is being deleted", gvk.Kind, d.Name)
	case !slices.Contains(served, gvk.Version):
		return nil, fmt.Errorf("kind %s is in %s/%s, not in %s", gvk.Kind, gvk.Group, strings.Join(served, ", "), gvk.GroupVersion())
	}
	return k.defined.get(k.Scheme, d, gvk)
}

// undefined says that nobody defines gvk, which a user may have mistyped.
func (k Kinds) undefined(gvk schema.GroupVersionKind) error {
	var all []schema.GroupVersionKind
	for gk := range k.definitions() {
		if gk.Group == gvk.Group {
			all = append(all, gk.WithVersion(gvk.Version))
		}
	}
	if like, ok := alike(gvk.Kind, all); ok {
		return fmt.Errorf("unknown kind %s in %s, did you mean %s?", gvk.Kind, gvk.GroupVersion(), like.Kind)
	}
	return fmt.Errorf("unknown kind %s in %s: no CustomResourceDefinition serves it", gvk.Kind, gvk.GroupVersion())
}

// Of is the kind of an object, in its version; nil if there is none.
func (k Kinds) Of(o runtime.Object) *Kind {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return k.Scheme.Of(o)
	}
	found, err := k.Lookup(u.GroupVersionKind())
	if err != nil {
		return nil
	}
	return found
}

// Namespaced says whether objects of that kind live in a namespace. Those of unknown kinds do.
func (k Kinds) Namespaced(gk schema.GroupKind) bool {
	if d, ok := k.definitions()[gk]; ok && k.Scheme.Kind(gk) == nil {
		return d.Spec.Scope == apiextensionsv1.NamespaceScoped
	}
	return k.Scheme.Namespaced(gk)
}

// definable tells whether users may define kinds of that group: not of those that Kubernetes has.
func definable(s *Scheme, group string) bool {
	if !strings.Contains(group, ".") {
		return false
	}
	for _, k := range s.kinds {
		if k.Group == group {
			return false
		}
	}
	return !slices.ContainsFunc(known(), func(k schema.GroupVersionKind) bool { return k.Group == group })
}

// memory keeps what was made of definitions: schemas are read, and rules compiled, once.
type memory struct {
	mu   sync.Mutex
	made map[schema.GroupVersionKind]made
}

type made struct {
	of   *apiextensionsv1.CustomResourceDefinition
	kind *Kind
}

func (m *memory) get(s *Scheme, d *apiextensionsv1.CustomResourceDefinition, gvk schema.GroupVersionKind) (*Kind, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if is, ok := m.made[gvk]; ok && (is.of == d || equality.Semantic.DeepEqual(is.of.Spec, d.Spec)) {
		return is.kind, nil
	}
	k, err := define(s, d, gvk)
	if err != nil {
		return nil, fmt.Errorf("kind %s: read CustomResourceDefinition %s, which defines it: %w", gvk.Kind, d.Name, err)
	}
	if m.made == nil {
		m.made = map[schema.GroupVersionKind]made{}
	}
	m.made[gvk] = made{d, k}
	return k, nil
}
