package apply

import (
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// served is the kind of an item's document, and what is live in the version of that. False: the document cannot be applied,
// and the reasons are noted.
func (p *preparation) served(item Item) (kind *scheme.Kind, live store.Object, ok bool) {
	doc := item.doc.Object
	kind, err := p.kinds.Lookup(doc.GroupVersionKind())
	if err != nil {
		p.fail(item.Origin, "kind", "%s", err)
		return nil, nil, false
	}
	if kind.Defined == nil {
		return kind, item.live, true
	}
	unknown, err := kind.Defined.Unknown(doc)
	if err != nil {
		p.fail(item.Origin, "metadata", "%s: %s", item.Key, err)
		return nil, nil, false
	}
	for _, path := range unknown {
		p.fail(item.Origin, path, "unknown field %q", path)
	}
	if kind.Version != kind.Defined.Stored && !kind.Defined.Same {
		p.fail(item.Origin, "apiVersion", "%s: its versions are converted by a webhook: write it in %s, in which it is stored",
			item.Key, schema.GroupVersion{Group: kind.Group, Version: kind.Defined.Stored})
		return nil, nil, false
	}
	return kind, inVersion(item.live, kind.GroupVersion()), len(unknown) == 0
}

// stored is o, which is a custom resource or any other object, in the version in which it is stored.
func stored(kind *scheme.Kind, o store.Object) store.Object {
	if kind.Defined == nil {
		return o
	}
	return inVersion(o, schema.GroupVersion{Group: kind.Group, Version: kind.Defined.Stored})
}

// inVersion is o in version v of its group. What does not change is shared.
func inVersion(o store.Object, v schema.GroupVersion) store.Object {
	u, ok := o.(*unstructured.Unstructured)
	if !ok || u.GetAPIVersion() == v.String() {
		return o
	}
	c := &unstructured.Unstructured{Object: maps.Clone(u.Object)}
	c.SetAPIVersion(v.String())
	return c
}
