package patch

import (
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// holds tells whether live already is as doc wants it, and its owner known: then there is nothing to merge, which costs ten
// times as much. No means that it could not tell, for instance because a quantity is written in another way.
func (p *Patcher) holds(k *kind, live store.Object, doc *unstructured.Unstructured, owned metav1.ManagedFieldsEntry) bool {
	all := live.GetManagedFields()
	i := slices.IndexFunc(all, func(e metav1.ManagedFieldsEntry) bool { return sameOwner(e, owned) })
	if i < 0 && !nothing(owned) || i >= 0 && !sameFields(all[i], owned) {
		return false
	}
	t, err := k.typeOf()
	if err != nil {
		return false
	}
	alone, err := p.typed(k, doc)
	if err != nil {
		return false
	}
	k.Default(alone)
	is, err := runtime.DefaultUnstructuredConverter.ToUnstructured(withoutOwners(live))
	if err != nil {
		return false
	}
	full, err := runtime.DefaultUnstructuredConverter.ToUnstructured(alone)
	if err != nil {
		return false
	}
	return schemaOf(t).contains(t.TypeRef, is, doc.Object, full)
}

// shape walks values along the merge schema.
type shape struct{ *schema.Schema }

func schemaOf(t typed.ParseableType) shape { return shape{t.Schema} }

// contains tells whether merging want into is would change nothing. Full is want with defaults, and written as is is: it
// has the values, want tells which of them count. Nil is what is not there.
func (s shape) contains(t schema.TypeRef, is, want, full any) bool {
	a, ok := s.Resolve(t)
	if !ok || want == nil {
		return false
	}
	switch want := want.(type) {
	case map[string]any:
		is, isMap := is.(map[string]any)
		full, fullMap := full.(map[string]any)
		if isMap && fullMap && a.Map != nil && a.Map.ElementRelationship != schema.Atomic {
			return s.containsFields(a.Map, is, want, full)
		}
	case []any:
		is, isList := is.([]any)
		full, fullList := full.([]any)
		if isList && fullList && a.List != nil && a.List.ElementRelationship == schema.Associative {
			return len(full) == len(want) && s.containsItems(a.List, is, want, full)
		}
	}
	return reflect.DeepEqual(is, full)
}

func (s shape) containsFields(m *schema.Map, is, want, full map[string]any) bool {
	for name, w := range want {
		t := m.ElementType
		if f, ok := m.FindField(name); ok {
			t = f.Type
		}
		if !s.contains(t, is[name], w, full[name]) {
			return false
		}
	}
	return true
}

// containsItems wants the items of want among those of is, in the same order.
func (s shape) containsItems(l *schema.List, is, want, full []any) bool {
	at := 0
	for i, w := range want {
		for at < len(is) && !s.sameItem(l, is[at], full[i]) {
			at++
		}
		if at == len(is) || !s.contains(l.ElementType, is[at], w, full[i]) {
			return false
		}
		at++
	}
	return true
}

// sameItem tells whether two items have the same keys or, in a set, are the same.
func (s shape) sameItem(l *schema.List, a, b any) bool {
	if len(l.Keys) == 0 {
		return equality.Semantic.DeepEqual(a, b)
	}
	for _, key := range l.Keys {
		if s.key(l, a, key) != s.key(l, b, key) {
			return false
		}
	}
	return true
}

// key is the value of an item's key, or what it is by default: "TCP", for the protocol of a port.
func (s shape) key(l *schema.List, item any, name string) any {
	fields, ok := item.(map[string]any)
	if !ok {
		return nil
	}
	if v, ok := fields[name]; ok {
		return v
	}
	if a, ok := s.Resolve(l.ElementType); ok && a.Map != nil {
		if f, ok := a.FindField(name); ok {
			return f.Default
		}
	}
	return nil
}
