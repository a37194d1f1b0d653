package main

import (
	"context"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// definitionKind is how users define kinds.
var definitionKind = apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition").GroupKind()

// kind finds a kind by what people call it, also one that users have defined.
func (c *client) kind(ctx context.Context, name string) (*scheme.Kind, error) {
	k, unknown := kindNamed(c.scheme, name)
	if unknown == nil {
		return k, nil
	}
	s, err := c.snapshot(ctx, definitionKind)
	if err != nil {
		return nil, err
	}
	name = strings.ToLower(name)
	for d := range store.List[*apiextensionsv1.CustomResourceDefinition](s) {
		n := d.Spec.Names
		if name != strings.ToLower(n.Kind) && name != n.Plural && name != n.Singular && name != d.Name && !slices.Contains(n.ShortNames, name) {
			continue
		}
		return c.defined(s, d)
	}
	return nil, unknown
}

// defined is the kind of a definition that s has, in the version that is stored.
func (c *client) defined(s *store.Snapshot, d *apiextensionsv1.CustomResourceDefinition) (*scheme.Kind, error) {
	k := schema.GroupVersionKind{Group: d.Spec.Group, Kind: d.Spec.Names.Kind}
	for _, v := range d.Spec.Versions {
		if v.Storage {
			k.Version = v.Name
		}
	}
	return c.scheme.In(s).Lookup(k)
}

// custom reads all objects of a kind that users have defined.
func (c *client) custom(ctx context.Context, k *scheme.Kind) ([]store.Object, error) {
	r, err := c.rest(k.GroupVersion())
	if err != nil {
		return nil, err
	}
	data, err := r.Get().Resource(k.Plural).SetHeader("Accept", "application/json").DoRaw(ctx)
	if err != nil {
		return nil, unreachable(err)
	}
	var list unstructured.UnstructuredList
	if err := list.UnmarshalJSON(data); err != nil {
		return nil, err
	}
	all := make([]store.Object, len(list.Items))
	for i := range list.Items {
		all[i] = &list.Items[i]
	}
	return all, nil
}
