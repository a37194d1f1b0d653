package api

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// converter is a webhook that calls size in v1 what is area in v2.
func converter(t testing.TB) (url string, ca []byte) {
	names := map[string]string{"land.example/v1": "size", "land.example/v2": "area"}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review map[string]any
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		request := review["request"].(map[string]any)
		to := request["desiredAPIVersion"].(string)
		objects := request["objects"].([]any)
		for _, o := range objects {
			o := o.(map[string]any)
			spec := o["spec"].(map[string]any)
			was := names[o["apiVersion"].(string)]
			o["apiVersion"], spec[names[to]] = to, spec[was]
			if was != names[to] {
				delete(spec, was)
			}
		}
		review["response"] = map[string]any{"uid": request["uid"], "convertedObjects": objects, "result": map[string]any{"status": "Success"}}
		delete(review, "request")
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(server.Close)
	return server.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

func TestAWebhookConvertsBetweenVersions(t *testing.T) {
	c := serve(t)
	url, ca := converter(t)
	version := func(name, field string, stored bool) string {
		return fmt.Sprintf("{name: %s, served: true, storage: %t, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {%s: {type: string}}}}}}}", name, stored, field)
	}
	c.define(t, fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: fields.land.example}
spec:
  group: land.example
  scope: Cluster
  names: {plural: fields, kind: Field}
  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: %q, caBundle: %s}}}
  versions: [%s, %s]
`, url, base64.StdEncoding.EncodeToString(ca), version("v1", "size", true), version("v2", "area", false)))
	gvr := schema.GroupVersionResource{Group: "land.example", Version: "v2", Resource: "fields"}
	fields := c.dynamic(t).Resource(gvr)
	if _, err := fields.Create(t.Context(), fromYAML(t, "{apiVersion: land.example/v2, kind: Field, metadata: {name: one}, spec: {area: small}}"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	kept, ok := c.Memory.Snapshot().Get(store.Key{Kind: schema.GroupKind{Group: "land.example", Kind: "Field"}, Name: "one"})
	if size, _, _ := unstructured.NestedString(kept.(*unstructured.Unstructured).Object, "spec", "size"); !ok || size != "small" {
		t.Errorf("stored: %v", kept)
	}
	list, err := fields.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%v %v", list, err)
	}
	if area, _, _ := unstructured.NestedString(list.Items[0].Object, "spec", "area"); area != "small" {
		t.Errorf("%v", list.Items[0].Object)
	}
	gvr.Version = "v1"
	one, err := c.dynamic(t).Resource(gvr).Get(t.Context(), "one", metav1.GetOptions{})
	if size, _, _ := unstructured.NestedString(one.Object, "spec", "size"); err != nil || size != "small" {
		t.Errorf("%v %v", one, err)
	}
}
