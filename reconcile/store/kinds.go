package store

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kinds tells the kind that each Go type (a pointer to a struct) is stored as. One Go type per kind: other versions are
// converted before they reach the store. Objects of other types must name their kind themselves (unstructured).
type Kinds map[reflect.Type]schema.GroupVersionKind

// Add registers the Go type of o.
func (k Kinds) Add(gvk schema.GroupVersionKind, o runtime.Object) { k[reflect.TypeOf(o)] = gvk }

// Of is the kind of o, empty if unknown.
func (k Kinds) Of(o runtime.Object) schema.GroupVersionKind {
	if gvk, ok := k[reflect.TypeOf(o)]; ok {
		return gvk
	}
	return o.GetObjectKind().GroupVersionKind()
}

// Key is the key of o.
func (k Kinds) Key(o Object) Key {
	return Key{Kind: k.Of(o).GroupKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
}

// kindOf is the kind that T is stored as. Asking for a type that is not registered is a mistake in the program.
func kindOf[T Object](k Kinds) schema.GroupKind {
	gvk, ok := k[reflect.TypeFor[T]()]
	if !ok {
		panic(fmt.Sprintf("store: type %s is not registered", reflect.TypeFor[T]()))
	}
	return gvk.GroupKind()
}
