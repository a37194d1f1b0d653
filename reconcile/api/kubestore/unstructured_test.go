package kubestore

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func TestKindsWithoutAGoTypeAreServedToo(t *testing.T) {
	kind := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Thing"}
	empty := func() *unstructured.Unstructured {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(kind)
		return u
	}
	s, _ := newStorage(t, func(c *Config) {
		c.Kind, c.Prefix = kind.GroupKind(), "/example.com/things"
		c.New = func() runtime.Object { return empty() }
		c.Encode = func(o store.Object) ([]byte, error) { return json.Marshal(o) }
	})
	ctx := t.Context()
	thing := empty()
	thing.SetName("one")
	thing.SetNamespace("a")
	thing.Object["spec"] = map[string]any{"size": int64(1)}
	out := empty()
	if err := s.Create(ctx, "/example.com/things/a/one", thing, out, 0); err != nil {
		t.Fatal(err)
	}
	if out.GetResourceVersion() != "2" || out.GetKind() != "Thing" {
		t.Errorf("%v", out)
	}
	w, err := s.Watch(ctx, "/example.com/things", storage.ListOptions{Recursive: true, ResourceVersion: "2", Predicate: storage.Everything})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if err := s.GuaranteedUpdate(ctx, "/example.com/things/a/one", out, false, nil, storage.SimpleUpdate(func(o runtime.Object) (runtime.Object, error) {
		return o, unstructured.SetNestedField(o.(*unstructured.Unstructured).Object, int64(2), "spec", "size")
	}), nil); err != nil {
		t.Fatal(err)
	}
	e := next(t, w)
	if size, _, _ := unstructured.NestedInt64(e.Object.(*unstructured.Unstructured).Object, "spec", "size"); size != 2 {
		t.Errorf("%v", e.Object)
	}
	if err := unstructured.SetNestedField(e.Object.(*unstructured.Unstructured).Object, int64(3), "spec", "size"); err != nil { // it is the watcher's
		t.Fatal(err)
	}
	list := &unstructured.UnstructuredList{}
	if err := s.GetList(ctx, "/example.com/things", storage.ListOptions{Recursive: true, Predicate: storage.Everything}, list); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 || list.Items[0].GetKind() != "Thing" || list.Items[0].GetResourceVersion() != "3" {
		t.Errorf("%v", list.Items)
	}
}

// TestAKindInTwoVersionsIsStoredInOne has "size" in the stored version what is "area" in the other.
func TestAKindInTwoVersionsIsStoredInOne(t *testing.T) {
	kind := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Thing"}
	other := kind.GroupKind().WithVersion("v2")
	empty := func(gvk schema.GroupVersionKind) *unstructured.Unstructured {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(gvk)
		return u
	}
	renamed := func(to schema.GroupVersionKind, from, field string) func(store.Object) (store.Object, error) {
		return func(o store.Object) (store.Object, error) {
			c := o.DeepCopyObject().(*unstructured.Unstructured)
			c.SetGroupVersionKind(to)
			if v, ok := c.Object[from]; ok {
				c.Object[field] = v
				delete(c.Object, from)
			}
			if c.Object[field] == "broken" {
				return nil, errors.New("nobody converts this")
			}
			return c, nil
		}
	}
	s, memory := newStorage(t, func(c *Config) {
		c.Kind, c.Prefix = kind.GroupKind(), "/example.com/things"
		c.New = func() runtime.Object { return empty(other) }
		c.Encode = func(o store.Object) ([]byte, error) { return json.Marshal(o) }
		c.Convert = &Conversion{Served: renamed(other, "size", "area"), Stored: renamed(kind, "area", "size")}
	})
	ctx := t.Context()
	thing := empty(other)
	thing.SetName("one")
	thing.SetNamespace("a")
	thing.Object["area"] = "small"
	out := empty(other)
	if err := s.Create(ctx, "/example.com/things/a/one", thing, out, 0); err != nil {
		t.Fatal(err)
	}
	check := func(what string, u *unstructured.Unstructured, area, revision string) {
		t.Helper()
		if u.GetAPIVersion() != "example.com/v2" || u.Object["area"] != area || u.GetResourceVersion() != revision {
			t.Errorf("%s: %v", what, u.Object)
		}
	}
	check("created", out, "small", "2")
	kept, _ := memory.Snapshot().Get(store.Key{Kind: kind.GroupKind(), Namespace: "a", Name: "one"})
	if u := kept.(*unstructured.Unstructured); u.GetAPIVersion() != "example.com/v1" || u.Object["size"] != "small" {
		t.Errorf("stored: %v", u.Object)
	}
	areas := storage.SelectionPredicate{Label: labels.Everything(), Field: fields.OneTermEqualSelector("area", "large"),
		GetAttrs: func(o runtime.Object) (labels.Set, fields.Set, error) {
			area, _ := o.(*unstructured.Unstructured).Object["area"].(string)
			return nil, fields.Set{"area": area}, nil
		}}
	w, err := s.Watch(ctx, "/example.com/things", storage.ListOptions{Recursive: true, ResourceVersion: "2", Predicate: areas})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if err := s.GuaranteedUpdate(ctx, "/example.com/things/a/one", out, false, nil, storage.SimpleUpdate(func(o runtime.Object) (runtime.Object, error) {
		check("to be updated", o.(*unstructured.Unstructured), "small", "2")
		o.(*unstructured.Unstructured).Object["area"] = "large"
		return o, nil
	}), nil); err != nil {
		t.Fatal(err)
	}
	check("updated", out, "large", "3")
	e := next(t, w)
	check("watched", e.Object.(*unstructured.Unstructured), "large", "3")
	list := &unstructured.UnstructuredList{}
	if err := s.GetList(ctx, "/example.com/things", storage.ListOptions{Recursive: true, Predicate: areas}, list); err != nil || len(list.Items) != 1 {
		t.Fatalf("%v %v", list, err)
	}
	check("listed", &list.Items[0], "large", "3")
	if err := s.GuaranteedUpdate(ctx, "/example.com/things/a/one", out, false, nil, storage.SimpleUpdate(func(o runtime.Object) (runtime.Object, error) {
		return o, nil
	}), nil); err != nil {
		t.Fatal(err)
	}
	check("not changed", out, "large", "3")

	// What nobody can convert is an error, to those who watch too.
	if _, err := memory.Update(ctx, "break it", func(tx *store.Tx) error {
		c := kept.DeepCopyObject().(*unstructured.Unstructured)
		c.SetResourceVersion("")
		c.Object["size"] = "broken"
		return tx.Update(c)
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Get(ctx, "/example.com/things/a/one", storage.GetOptions{}, out); err == nil || !strings.Contains(err.Error(), "nobody converts this") {
		t.Errorf("%v", err)
	}
	if e := next(t, w); e.Type != watch.Error {
		t.Errorf("%v", e)
	}
}
