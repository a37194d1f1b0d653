package kubestore

import (
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
