// Package patch changes typed objects in the ways that Kubernetes has for it, outside HTTP: server-side apply, with an
// owner for each field, and the three other patches. It also tells what differs between two objects. Objects and documents
// that are handed in are only read.
package patch

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Patcher patches objects of the kinds of a scheme. It may be used from any number of goroutines.
type Patcher struct {
	scheme  *scheme.Scheme
	kinds   map[schema.GroupVersionKind]*kind
	at      *scheme.Kinds // nil: none that users define
	defined *definedKinds
}

// kind is what patching needs of one kind.
type kind struct {
	*scheme.Kind
	manager *managedfields.FieldManager
	typeOf  func() (typed.ParseableType, error)
	ignored *fieldpath.Set // what nobody owns by an apply
}

// New makes a Patcher. The merge schema is read at its first use.
func New(s *scheme.Scheme) (*Patcher, error) {
	p := &Patcher{scheme: s, kinds: map[schema.GroupVersionKind]*kind{}, defined: &definedKinds{}}
	types := s.OpenAPI.Converter(s.Runtime)
	for _, k := range s.All() {
		version := fieldpath.APIVersion(k.GroupVersion().String())
		reset := k.ResetFields("")
		manager, err := managedfields.NewDefaultFieldManager(types, asItIs{s.Runtime}, s.Runtime, s.Runtime, k.GroupVersionKind, k.GroupVersion(), "",
			map[fieldpath.APIVersion]fieldpath.Filter{version: fieldpath.NewExcludeSetFilter(reset)})
		if err != nil {
			return nil, fmt.Errorf("make the field manager of %s: %w", k.Kind, err)
		}
		name, err := s.Runtime.ToOpenAPIDefinitionName(k.GroupVersionKind)
		if err != nil {
			return nil, fmt.Errorf("find the merge schema of %s: %w", k.Kind, err)
		}
		p.kinds[k.GroupVersionKind] = &kind{Kind: k, manager: manager, ignored: unowned().Union(reset), typeOf: func() (typed.ParseableType, error) {
			parser, err := s.OpenAPI.Parser()
			if err != nil {
				return typed.ParseableType{}, err
			}
			return parser.Type(name), nil
		}}
	}
	return p, nil
}

// unowned are the fields that every object has and nobody owns, as apimachinery has them.
func unowned() *fieldpath.Set {
	set := fieldpath.NewSet(fieldpath.MakePathOrDie("apiVersion"), fieldpath.MakePathOrDie("kind"), fieldpath.MakePathOrDie("metadata"))
	for _, name := range []string{"name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields", "resourceVersion"} {
		set.Insert(fieldpath.MakePathOrDie("metadata", name))
	}
	return set
}

func (p *Patcher) kind(gvk schema.GroupVersionKind) (*kind, error) {
	if k, ok := p.kinds[gvk]; ok {
		return k, nil
	}
	if p.at == nil {
		_, err := p.scheme.Lookup(gvk)
		return nil, err
	}
	k, err := p.at.Lookup(gvk)
	if err != nil {
		return nil, err
	}
	return p.defined.get(k)
}

// asItIs converts nothing that is in the version that is asked for, which is the stored one but for what other owners say. Field owners are left out of what is merged: they
// are kept apart, and cost as much to read as the rest.
type asItIs struct{ runtime.ObjectConvertor }

func (c asItIs) ConvertToVersion(o runtime.Object, v runtime.GroupVersioner) (runtime.Object, error) {
	is := o.GetObjectKind().GroupVersionKind()
	wanted, ok := v.(schema.GroupVersion)
	if _, merged := o.(runtime.Unstructured); merged || is.Empty() || ok && wanted != is.GroupVersion() {
		// What merging yields is to become typed, what is new to say its kind, and what another owner wrote in another
		// version is compared in that.
		return c.ObjectConvertor.ConvertToVersion(o, v)
	}
	return withoutOwners(o), nil
}

// withoutOwners is a shallow copy of o without managedFields; o itself if it has none.
func withoutOwners(o runtime.Object) runtime.Object {
	m, ok := o.(store.Object)
	if !ok || m.GetManagedFields() == nil {
		return o
	}
	if u, ok := m.(*unstructured.Unstructured); ok {
		c := &unstructured.Unstructured{Object: maps.Clone(u.Object)}
		meta := maps.Clone(u.Object["metadata"].(map[string]any))
		delete(meta, "managedFields")
		c.Object["metadata"] = meta
		return c
	}
	c := shallow(m)
	c.SetManagedFields(nil)
	return c
}

// settle gives what owner and now have to do with each other: an entry of o gets the time now if owner changed it or it is
// new, and keeps the time that it has in live otherwise. Then it puts the entries in apimachinery's order. It is what makes
// apimachinery, which reads the clock, repeatable.
func settle(o, live store.Object, owner metav1.ManagedFieldsEntry, now time.Time) {
	all := o.GetManagedFields()
	var before []metav1.ManagedFieldsEntry
	if live != nil {
		before = live.GetManagedFields()
	}
	for i := range all {
		e := &all[i]
		e.Time = stamp(now)
		was := slices.IndexFunc(before, func(b metav1.ManagedFieldsEntry) bool { return sameOwner(b, *e) })
		if was >= 0 && (!sameOwner(*e, owner) || sameFields(*e, before[was])) {
			e.Time = before[was].Time
		}
	}
	slices.SortFunc(all, compareEntries)
	o.SetManagedFields(all)
}

func stamp(now time.Time) *metav1.Time {
	t := metav1.NewTime(now.UTC().Truncate(time.Second))
	return &t
}

func sameOwner(a, b metav1.ManagedFieldsEntry) bool {
	return a.Manager == b.Manager && a.Operation == b.Operation && a.Subresource == b.Subresource &&
		(a.APIVersion == b.APIVersion || a.Operation == metav1.ManagedFieldsOperationApply)
}

func sameFields(a, b metav1.ManagedFieldsEntry) bool {
	return a.APIVersion == b.APIVersion && bytes.Equal(a.FieldsV1.GetRawBytes(), b.FieldsV1.GetRawBytes())
}

func compareEntries(a, b metav1.ManagedFieldsEntry) int {
	seconds := func(e metav1.ManagedFieldsEntry) int64 {
		if e.Time == nil {
			return 0
		}
		return e.Time.Unix()
	}
	return cmp.Or(
		cmp.Compare(a.Operation, b.Operation), cmp.Compare(seconds(a), seconds(b)), cmp.Compare(a.Manager, b.Manager),
		cmp.Compare(a.APIVersion, b.APIVersion), cmp.Compare(a.Subresource, b.Subresource))
}
