package kubestore

import (
	"fmt"
	"reflect"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Private is a copy of o whose top may be written to. What is below the top is shared and may not. Typed objects carry
// no kind outside the store, as those that apiserver decodes itself.
func Private(o store.Object) store.Object {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return u.DeepCopy()
	}
	p := reflect.New(reflect.TypeOf(o).Elem())
	p.Elem().Set(reflect.ValueOf(o).Elem())
	return kindless(p.Interface().(store.Object))
}

// editable is a copy of o that is the caller's altogether.
func editable(o store.Object) store.Object { return kindless(o.DeepCopyObject().(store.Object)) }

func kindless(o store.Object) store.Object {
	if _, ok := o.(*unstructured.Unstructured); !ok {
		o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	return o
}

// hand sets out, if it is not nil, to a private copy of o.
func hand(o store.Object, out runtime.Object) error {
	if out == nil {
		return nil
	}
	if u, ok := out.(*unstructured.Unstructured); ok {
		u.Object = o.(*unstructured.Unstructured).DeepCopy().Object
		return nil
	}
	into, from := reflect.ValueOf(out), reflect.ValueOf(o)
	if into.Type() != from.Type() {
		return fmt.Errorf("read a %T into a %T: they are not the same type", o, out)
	}
	into.Elem().Set(from.Elem())
	out.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return nil
}

// show is o, which is stored, as it is served: its top may be written to.
func (s *Storage) show(o store.Object) (store.Object, error) {
	if s.Convert == nil {
		return Private(o), nil
	}
	served, err := s.Convert.Served(o)
	if err != nil {
		return nil, fmt.Errorf("convert %s: %w", s.keyOf(o), err)
	}
	served.SetResourceVersion(o.GetResourceVersion())
	return served, nil
}

// give sets out, if it is not nil, to o, which is stored, as it is served.
func (s *Storage) give(o store.Object, out runtime.Object) error {
	if out == nil || s.Convert == nil {
		return hand(o, out)
	}
	served, err := s.show(o)
	if err != nil {
		return err
	}
	into, isCustom := out.(*unstructured.Unstructured)
	from, wasCustom := served.(*unstructured.Unstructured)
	if isCustom && wasCustom {
		into.Object = from.Object
		return nil
	}
	return hand(served, out)
}

// kept is a copy of o, which is as it is served, in the form in which it is stored.
func (s *Storage) kept(o store.Object) (store.Object, error) {
	if s.Convert == nil {
		return o.DeepCopyObject().(store.Object), nil
	}
	return s.Convert.Stored(o)
}

// stored is a copy of obj, as the store shall keep it under k. Its times are whole seconds, which is what any reader of
// the API sees of them.
func (s *Storage) stored(k store.Key, obj runtime.Object) (store.Object, error) {
	given, ok := obj.(store.Object)
	if !ok {
		return nil, fmt.Errorf("store %s: a %T has no metadata", k, obj)
	}
	o, err := s.kept(given)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", k, err)
	}
	if o.GetNamespace() != k.Namespace || o.GetName() != k.Name {
		return nil, fmt.Errorf("store %s: the object calls itself %q in namespace %q", k, o.GetName(), o.GetNamespace())
	}
	o.SetResourceVersion("")
	o.SetSelfLink("")
	o.SetCreationTimestamp(metav1.Time{Time: o.GetCreationTimestamp().Truncate(time.Second)})
	if t := o.GetDeletionTimestamp(); t != nil {
		o.SetDeletionTimestamp(&metav1.Time{Time: t.Truncate(time.Second)})
	}
	if fields := o.GetManagedFields(); len(fields) > 0 {
		for _, f := range fields {
			if f.Time != nil {
				f.Time.Time = f.Time.Truncate(time.Second)
			}
		}
		o.SetManagedFields(fields)
	}
	if s.Intern != nil {
		s.Intern(o)
	}
	return o, nil
}
