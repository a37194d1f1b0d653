package apply

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const boats = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.sea.example}
spec:
  group: sea.example
  scope: Namespaced
  names: {plural: boats, kind: Boat}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [crew]
            x-kubernetes-validations: [{rule: "self.crew != 13", message: no thirteen}]
            properties:
              crew: {type: integer, maximum: 100}
              flag: {type: string, default: white}
              sails:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items: {type: object, required: [name], properties: {name: {type: string}, area: {type: integer}}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
  - name: v1beta1
    served: true
    storage: false
    subresources: {status: {}}
    schema:
      openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}
`

const boat = `
apiVersion: sea.example/v1
kind: Boat
metadata:
  name: one
spec:
  crew: 3
  sails:
  - name: fore
    area: 2
`

func (b *bench) boat(name string) *unstructured.Unstructured {
	b.t.Helper()
	k := store.Key{Kind: schema.GroupKind{Group: "sea.example", Kind: "Boat"}, Namespace: "default", Name: name}
	o, ok := b.store.Snapshot().Get(k)
	if !ok {
		b.t.Fatalf("%s is not there", k)
	}
	return o.(*unstructured.Unstructured)
}

func TestADefinitionAndItsObjectsComeInOneCommit(t *testing.T) {
	b := newBench(t)
	b.must("a", map[string]string{"boat.yaml": boat, "boats.yaml": boats}, "+ CustomResourceDefinition boats.sea.example   + Boat default/one")
	one := b.boat("one")
	if flag, _, _ := unstructured.NestedString(one.Object, "spec", "flag"); flag != "white" || one.GetGeneration() != 1 || one.GetUID() == "" {
		t.Errorf("%v", one.Object)
	}
	if f := one.GetManagedFields(); len(f) != 1 || f[0].Manager != "git:default/a" || !strings.Contains(f[0].FieldsV1.String(), "fore") {
		t.Errorf("%v", f)
	}
	b.files["a"] = nil
	b.must("a", map[string]string{"boat.yaml": boat, "boats.yaml": boats}, "nothing changes")

	// What others have added stays, and so does the status.
	if _, err := b.store.Update(t.Context(), "by hand", func(tx *store.Tx) error {
		c := one.DeepCopy()
		c.Object["status"] = map[string]any{"afloat": true}
		c.Object["spec"].(map[string]any)["flag"] = "red"
		return tx.Update(c)
	}); err != nil {
		t.Fatal(err)
	}
	b.must("a", map[string]string{"boat.yaml": strings.Replace(boat, "crew: 3", "crew: 4", 1), "boats.yaml": boats}, "~ Boat default/one   spec.crew: 3 -> 4")
	one = b.boat("one")
	flag, _, _ := unstructured.NestedString(one.Object, "spec", "flag")
	afloat, _, _ := unstructured.NestedBool(one.Object, "status", "afloat")
	if flag != "red" || !afloat || one.GetGeneration() != 2 {
		t.Errorf("%v", one.Object)
	}

	// Another version is stored as the definition says.
	b.must("a", map[string]string{"boat.yaml": strings.NewReplacer("crew: 3", "crew: 5", "example/v1", "example/v1beta1").Replace(boat), "boats.yaml": boats},
		"~ Boat default/one   spec.crew: 4 -> 5")
	if one = b.boat("one"); one.GetAPIVersion() != "sea.example/v1" {
		t.Errorf("%v", one.Object)
	}
	b.must("a", map[string]string{"boats.yaml": boats}, "- Boat default/one")
}

func TestAllThatIsWrongWithCustomResourcesIsSaidWithItsPlace(t *testing.T) {
	b := newBench(t)
	bad := map[string]string{"boats.yaml": boats, "bad.yaml": `apiVersion: sea.example/v1
kind: Boat
metadata:
  name: big
spec:
  crew: 101
---
apiVersion: sea.example/v1
kind: Boat
metadata:
  name: unlucky
spec:
  crew: 13
---
apiVersion: sea.example/v1
kind: Boat
metadata:
  name: odd
spec:
  crew: 1
  sails:
  - name: fore
    aera: 3
---
apiVersion: sea.example/v2
kind: Boat
metadata:
  name: new
---
apiVersion: sea.example/v1
kind: Baot
metadata:
  name: mistyped
---
apiVersion: lake.example/v1
kind: Boat
metadata:
  name: elsewhere
`}
	for _, want := range []string{
		"bad.yaml:6: Boat default/big: spec.crew: Invalid value: 101: spec.crew in body should be less than or equal to 100",
		"bad.yaml:12: Boat default/unlucky: spec: Invalid value: no thirteen",
		`bad.yaml:23: unknown field "spec.sails[0].aera"`,
		"bad.yaml:26: kind Boat is in sea.example/v1, v1beta1, not in sea.example/v2",
		"bad.yaml:31: unknown kind Baot in sea.example/v1, did you mean Boat?",
		"bad.yaml:36: unknown kind Boat in lake.example/v1: no CustomResourceDefinition serves it",
	} {
		b.refused("a", bad, want)
	}
	if _, ok := b.store.Snapshot().Get(store.Key{Kind: schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}, Name: "boats.sea.example"}); ok {
		t.Error("the definition was written all the same")
	}
}

func TestWhatIsLeftOfADefinitionThatWasDeletedCanBeDeleted(t *testing.T) {
	b := newBench(t)
	b.must("a", map[string]string{"boat.yaml": boat, "boats.yaml": boats}, "+ CustomResourceDefinition boats.sea.example   + Boat default/one")
	one := b.boat("one")
	if _, err := b.store.Update(t.Context(), "a controller", func(tx *store.Tx) error {
		return control.Remove(tx, b.scheme.Of(one), one, "", controltest.Now)
	}); err != nil {
		t.Fatal(err)
	}
	if b.store.Snapshot().Len(schema.GroupKind{Group: "sea.example", Kind: "Boat"}) != 0 {
		t.Error("it is still there")
	}
}
