package api

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// boats is a definition with all that one can say.
const boats = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.sea.example}
spec:
  group: sea.example
  scope: Namespaced
  names: {plural: boats, kind: Boat, shortNames: [bo], categories: [all, fleet]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.crew, statusReplicasPath: .status.crew, labelSelectorPath: .status.selector}
    additionalPrinterColumns:
    - {name: Crew, type: integer, jsonPath: .spec.crew}
    - {name: Flag, type: string, jsonPath: .spec.flag, priority: 1}
    selectableFields: [{jsonPath: .spec.flag}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [crew]
            x-kubernetes-validations: [{rule: "self.crew != 13", message: no thirteen}]
            properties:
              crew: {type: integer, maximum: 100, description: How many sail}
              flag: {type: string, default: white}
              sails:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items: {type: object, required: [name], properties: {name: {type: string}, area: {type: integer}}}
          status:
            type: object
            properties: {crew: {type: integer}, selector: {type: string}}
  - name: v1beta1
    served: true
    storage: false
    deprecated: true
    schema:
      openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}
`

var (
	definitionsGVR = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	boatsGVR       = schema.GroupVersionResource{Group: "sea.example", Version: "v1", Resource: "boats"}
)

func fromYAML(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(u.Object)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.UnmarshalJSON(data); err != nil { // numbers as JSON has them
		t.Fatal(err)
	}
	return u
}

func (c *cluster) dynamic(t testing.TB) *dynamic.DynamicClient {
	t.Helper()
	d, err := dynamic.NewForConfig(c.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// until polls to a deadline.
func until(t testing.TB, what string, ok func() (bool, error)) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) { return ok() }); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// define creates a definition and waits until it is served.
func (c *cluster) define(t testing.TB, text string) {
	t.Helper()
	definitions := c.dynamic(t).Resource(definitionsGVR)
	d := fromYAML(t, text)
	if _, err := definitions.Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.established(t, d.GetName())
}

func (c *cluster) established(t testing.TB, name string) {
	t.Helper()
	until(t, name+" is established", func() (bool, error) {
		d, err := c.dynamic(t).Resource(definitionsGVR).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		return condition(d, "Established") == "True", nil
	})
}

func condition(o *unstructured.Unstructured, name string) string {
	all, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range all {
		if c := c.(map[string]any); c["type"] == name {
			return fmt.Sprint(c["status"])
		}
	}
	return ""
}

func boat(t testing.TB, name, spec string) *unstructured.Unstructured {
	t.Helper()
	return fromYAML(t, fmt.Sprintf("{apiVersion: sea.example/v1, kind: Boat, metadata: {name: %s, namespace: default}, spec: %s}", name, spec))
}

func TestWhatIsDefinedIsServed(t *testing.T) {
	c := serve(t)
	c.define(t, boats)
	fleet := c.dynamic(t).Resource(boatsGVR).Namespace("default")
	ctx := t.Context()

	t.Run("an object is made, with defaults and without what the schema does not know", func(t *testing.T) {
		b := boat(t, "one", "{crew: 3, oars: 2}")
		made, err := fleet.Create(ctx, b, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"crew": int64(3), "flag": "white"}
		if d := cmp.Diff(want, made.Object["spec"]); d != "" || made.GetGeneration() != 1 || made.GetUID() == "" {
			t.Errorf("%s %v", d, made.Object["metadata"])
		}
	})
	t.Run("what the schema and its rules refuse is refused", func(t *testing.T) {
		for spec, want := range map[string]string{
			"{crew: 101}":            "spec.crew: Invalid value: 101: spec.crew in body should be less than or equal to 100",
			"{crew: 13}":             "no thirteen",
			"{flag: red}":            "spec.crew: Required value",
			"{crew: 1, sails: [{}]}": "spec.sails[0].name: Required value",
		} {
			_, err := fleet.Create(ctx, boat(t, "bad", spec), metav1.CreateOptions{})
			if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", spec, err, want)
			}
		}
		_, err := fleet.Create(ctx, boat(t, "bad", "{crew: 1, oars: 2}"), metav1.CreateOptions{FieldValidation: "Strict"})
		if err == nil || !strings.Contains(err.Error(), `unknown field "spec.oars"`) {
			t.Errorf("%v", err)
		}
	})
	t.Run("fields have owners", func(t *testing.T) {
		apply := func(manager, spec string) error {
			_, err := fleet.Apply(ctx, "two", boat(t, "two", spec), metav1.ApplyOptions{FieldManager: manager})
			return err
		}
		for _, err := range []error{
			apply("a", "{crew: 1, sails: [{name: fore, area: 3}]}"),
			apply("b", "{sails: [{name: main, area: 7}]}"),
			apply("a", "{crew: 2}"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := apply("b", "{crew: 3}"); !apierrors.IsConflict(err) {
			t.Errorf("%v, want a conflict", err)
		}
		got, err := fleet.Get(ctx, "two", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"crew": int64(2), "flag": "white", "sails": []any{map[string]any{"name": "main", "area": int64(7)}}}
		if d := cmp.Diff(want, got.Object["spec"]); d != "" {
			t.Error(d)
		}
	})
	t.Run("the status is written by itself", func(t *testing.T) {
		b, err := fleet.Get(ctx, "one", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b.Object["status"] = map[string]any{"crew": int64(3), "selector": "a=b"}
		b.Object["spec"].(map[string]any)["crew"] = int64(4)
		if b, err = fleet.UpdateStatus(ctx, b, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if crew, _, _ := unstructured.NestedInt64(b.Object, "spec", "crew"); crew != 3 || b.GetGeneration() != 1 {
			t.Errorf("%v", b.Object)
		}
		scale, err := fleet.Get(ctx, "one", metav1.GetOptions{}, "scale")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(map[string]any{"replicas": int64(3), "selector": "a=b"}, scale.Object["status"]); d != "" {
			t.Error(d)
		}
		if _, err := fleet.Patch(ctx, "one", types.MergePatchType, []byte(`{"spec":{"replicas":5}}`), metav1.PatchOptions{}, "scale"); err != nil {
			t.Fatal(err)
		}
		b, err = fleet.Get(ctx, "one", metav1.GetOptions{})
		if crew, _, _ := unstructured.NestedInt64(b.Object, "spec", "crew"); crew != 5 || err != nil || b.GetGeneration() != 2 {
			t.Errorf("%v %v", b, err)
		}
	})
	t.Run("it is listed by field, in another version, as a table, and in pages", func(t *testing.T) {
		if _, err := fleet.Create(ctx, boat(t, "three", "{crew: 9, flag: black}"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		list, err := fleet.List(ctx, metav1.ListOptions{FieldSelector: "spec.flag=black"})
		if err != nil || len(list.Items) != 1 || list.Items[0].GetName() != "three" {
			t.Errorf("%v %v", list, err)
		}
		old := boatsGVR
		old.Version = "v1beta1"
		b, err := c.dynamic(t).Resource(old).Namespace("default").Get(ctx, "three", metav1.GetOptions{})
		if err != nil || b.GetAPIVersion() != "sea.example/v1beta1" {
			t.Errorf("%v %v", b, err)
		}
		page, err := fleet.List(ctx, metav1.ListOptions{Limit: 2})
		if err != nil || len(page.Items) != 2 || page.GetContinue() == "" {
			t.Fatalf("%v %v", page, err)
		}
		if page, err = fleet.List(ctx, metav1.ListOptions{Limit: 2, Continue: page.GetContinue()}); err != nil || len(page.Items) != 1 {
			t.Errorf("%v %v", page, err)
		}
		rows := c.table(t, "/apis/sea.example/v1/namespaces/default/boats")
		if len(rows.Rows) != 3 || rows.ColumnDefinitions[1].Name != "Crew" || fmt.Sprint(rows.Rows[0].Cells[:2]) != "[one 5]" {
			t.Errorf("%+v", rows)
		}
	})
	t.Run("it is discovered and described", func(t *testing.T) {
		d, err := discovery.NewDiscoveryClientForConfig(c.admin(t))
		if err != nil {
			t.Fatal(err)
		}
		groups, err := d.ServerGroups()
		if err != nil {
			t.Fatal(err)
		}
		found := ""
		for _, g := range groups.Groups {
			if g.Name == "sea.example" {
				found = g.PreferredVersion.Version
			}
		}
		if found != "v1" {
			t.Errorf("%v", groups)
		}
		resources, err := d.ServerResourcesForGroupVersion("sea.example/v1")
		if err != nil || len(resources.APIResources) != 3 {
			t.Errorf("%v %v", resources, err)
		}
		for _, path := range []string{"/openapi/v2", "/openapi/v3/apis/sea.example/v1"} {
			until(t, path+" describes it", func() (bool, error) {
				text, err := c.document(t, path, "application/json")
				return strings.Contains(text, "How many sail"), err
			})
		}
		if text, err := c.document(t, "/openapi/v2", "application/json"); err != nil || !strings.Contains(text, "io.k8s.api.apps.v1.Deployment\"") {
			t.Errorf("the kinds that are not defined are not described any more: %v", err)
		}
	})
	t.Run("it is watched", func(t *testing.T) {
		w, err := fleet.Watch(ctx, metav1.ListOptions{FieldSelector: "spec.flag=red"})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		for _, flag := range []string{"red", "blue"} {
			patch := fmt.Appendf(nil, `{"spec":{"flag":%q}}`, flag)
			if _, err := fleet.Patch(ctx, "three", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []watch.EventType{watch.Added, watch.Deleted} {
			select {
			case e := <-w.ResultChan():
				if e.Type != want {
					t.Errorf("%v, want %s", e, want)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("nothing was %s", want)
			}
		}
	})
	t.Run("its finalizers hold it", func(t *testing.T) {
		patch := func(finalizers string) {
			t.Helper()
			if _, err := fleet.Patch(ctx, "two", types.MergePatchType, []byte(`{"metadata":{"finalizers":`+finalizers+`}}`), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		patch(`["sea.example/held"]`)
		if err := fleet.Delete(ctx, "two", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if b, err := fleet.Get(ctx, "two", metav1.GetOptions{}); err != nil || b.GetDeletionTimestamp() == nil {
			t.Errorf("%v %v", b, err)
		}
		patch(`[]`)
		if _, err := fleet.Get(ctx, "two", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%v", err)
		}
	})
	t.Run("all of it goes with its definition", func(t *testing.T) {
		if err := c.dynamic(t).Resource(definitionsGVR).Delete(ctx, "boats.sea.example", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		until(t, "the definition is gone", func() (bool, error) {
			_, err := c.dynamic(t).Resource(definitionsGVR).Get(ctx, "boats.sea.example", metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return true, nil
			}
			return false, err
		})
		if n := c.Memory.Snapshot().Len(schema.GroupKind{Group: "sea.example", Kind: "Boat"}); n != 0 {
			t.Errorf("%d are left", n)
		}
		until(t, "its group is gone", func() (bool, error) {
			_, err := fleet.List(ctx, metav1.ListOptions{})
			return apierrors.IsNotFound(err), nil
		})
	})
}

func (c *cluster) document(t testing.TB, path, accept string) (string, error) {
	t.Helper()
	b, err := restClient(t, c.admin(t)).Get().AbsPath(path).SetHeader("Accept", accept).DoRaw(t.Context())
	return string(b), err
}

func (c *cluster) table(t testing.TB, path string) (table metav1.Table) {
	t.Helper()
	text, err := c.document(t, path, "application/json;as=Table;v=v1;g=meta.k8s.io")
	if err == nil {
		err = json.Unmarshal([]byte(text), &table)
	}
	if err != nil {
		t.Fatal(err)
	}
	return table
}
