package api

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const jsonType = "application/json"

// TestRequestsAreAnsweredInEveryDetail goes through what the documentation of the Kubernetes API says of single requests.
func TestRequestsAreAnsweredInEveryDetail(t *testing.T) {
	c := serve(t)
	maps := c.client(t).CoreV1().ConfigMaps("default")
	m, err := maps.Create(t.Context(), configMap("m", map[string]string{"a": "b"}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x"}}}}
	if _, err := c.client(t).CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const at = "/api/v1/namespaces/default/configmaps"
	yes := func(h ...string) http.Header {
		header := http.Header{}
		for i := 0; i < len(h); i += 2 {
			header.Set(h[i], h[i+1])
		}
		return header
	}
	for _, r := range []struct {
		what, method, path string
		header             http.Header
		body               string
		code               int
		want               string
	}{
		{"a type that nobody writes", "GET", at, yes("Accept", "image/png"), "", 406, "Not Acceptable"},
		{"CBOR is off", "GET", at, yes("Accept", "application/cbor"), "", 406, ""},
		{"a list of wishes", "GET", at, yes("Accept", "image/png, application/yaml;q=0.5, application/json;q=0.9"), "", 200, `{"kind":"ConfigMapList"`},
		{"YAML", "GET", at + "/m", yes("Accept", "application/yaml"), "", 200, "apiVersion: v1\n"},
		{"a type that nobody reads", "POST", at, yes("Content-Type", "text/html"), "<p>", 415, "the body of the request was in an unknown format"},
		{"a body of CBOR", "POST", at, yes("Content-Type", "application/cbor"), "\xa0", 415, ""},
		{"a body of YAML", "POST", at, yes("Content-Type", "application/yaml"), "metadata: {name: yaml}\n", 201, `"name":"yaml"`},
		{"a patch of no known type", "PATCH", at + "/m", yes("Content-Type", "application/json"), "{}", 415, "Unsupported Media Type"},
		{"a list at a version, of which it is not said how", "GET", at + "?resourceVersionMatch=Exact", nil, "", 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"},
		{"exactly version 0", "GET", at + "?resourceVersionMatch=Exact&resourceVersion=0", nil, "", 422, `is forbidden for resourceVersion`},
		{"a match of no known name", "GET", at + "?resourceVersionMatch=Maybe&resourceVersion=1", nil, "", 422, "supported values"},
		{"a version and a token", "GET", at + "?resourceVersion=1&continue=abc", nil, "", 400, ""},
		{"a token that nobody made", "GET", at + "?limit=1&continue=abc", nil, "", 400, "continue key is not valid"},
		{"initial events of which it is not said how", "GET", at + "?watch=1&sendInitialEvents=true", nil, "", 422, "resourceVersionMatch"},
		{"initial events in a list", "GET", at + "?sendInitialEvents=true", nil, "", 422, "sendInitialEvents is forbidden for list"},
		{"an unknown field is refused", "POST", at + "?fieldValidation=Strict", yes("Content-Type", jsonType), `{"metadata":{"name":"s"},"datas":{}}`, 400, `unknown field \"datas\"`},
		{"a field twice is refused", "POST", at + "?fieldValidation=Strict", yes("Content-Type", jsonType), `{"metadata":{"name":"s"},"data":{"a":"b","a":"c"}}`, 400, `duplicate field \"data.a\"`},
		{"validation of no known kind", "POST", at + "?fieldValidation=Perhaps", yes("Content-Type", jsonType), `{"metadata":{"name":"s"}}`, 422, "fieldValidation"},
		{"a dry run of no known kind", "POST", at + "?dryRun=Some", yes("Content-Type", jsonType), `{"metadata":{"name":"s"}}`, 422, "dryRun"},
		{"another name in the body", "PUT", at + "/m", yes("Content-Type", jsonType), `{"metadata":{"name":"n"}}`, 400, "the name of the object (n) does not match the name on the URL (m)"},
		{"another namespace in the body", "POST", at, yes("Content-Type", jsonType), `{"metadata":{"name":"n","namespace":"kube-system"}}`, 400, "the namespace of the provided object does not match the namespace sent on the request"},
		{"an old version", "PUT", at + "/m", yes("Content-Type", jsonType), `{"metadata":{"name":"m","resourceVersion":"1"}}`, 409, "the object has been modified; please apply your changes to the latest version"},
		{"another one of that name", "DELETE", at + "/m", yes("Content-Type", jsonType), `{"preconditions":{"uid":"other"}}`, 409, "precondition failed: UID in precondition: other, UID in object meta: " + string(m.UID)},
		{"another version to be deleted", "DELETE", at + "/m", yes("Content-Type", jsonType), `{"preconditions":{"resourceVersion":"1"}}`, 409, "precondition failed: ResourceVersion"},
		{"to orphan in both ways to say it", "DELETE", at + "/m", yes("Content-Type", jsonType), `{"orphanDependents":true,"propagationPolicy":"Orphan"}`, 422, "orphanDependents"},
		{"a policy of no known name", "DELETE", at + "/m", yes("Content-Type", jsonType), `{"propagationPolicy":"Later"}`, 422, "propagationPolicy"},
		{"a dry run of a deletion", "DELETE", at + "/m?dryRun=All", nil, "", 200, `"status":"Success"`},
		{"a dry run of an eviction", "POST", "/api/v1/namespaces/default/pods/web/eviction?dryRun=All", yes("Content-Type", jsonType), `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"web"}}`, 201, `"status":"Success"`},
		{"a dry run of a status", "PATCH", "/api/v1/namespaces/default/pods/web/status?dryRun=All", yes("Content-Type", "application/merge-patch+json"), `{"status":{"phase":"Failed"}}`, 200, `"phase":"Failed"`},
		{"a dry run of another container", "PATCH", "/api/v1/namespaces/default/pods/web/ephemeralcontainers?dryRun=All", yes("Content-Type", "application/strategic-merge-patch+json"), `{"spec":{"ephemeralContainers":[{"name":"dbg","image":"x"}]}}`, 200, `"name":"dbg"`},
		{"what has no such verb", "POST", at + "/m", yes("Content-Type", jsonType), "{}", 405, ""},
		{"what is nowhere", "GET", "/api/v1/namespaces/default/nothings", nil, "", 404, "the server could not find the requested resource"},
		{"a group that is nowhere", "GET", "/apis/nothing.example/v1", nil, "", 404, ""},
		{"metadata only", "GET", at + "/m", yes("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"), "", 200, `"kind":"PartialObjectMetadata"`},
		{"a list of metadata only", "GET", at, yes("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"), "", 200, `"kind":"PartialObjectMetadataList"`},
		{"a table without its objects", "GET", at + "?includeObject=None", yes("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1"), "", 200, `"object":null`},
		{"a table with its objects", "GET", at + "?includeObject=Object", yes("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1"), "", 200, `"data":{"a":"b"}`},
		{"a table in a version that is not there", "GET", at, yes("Accept", "application/json;as=Table;g=meta.k8s.io;v=v9"), "", 406, ""},
		{"discovery in the version that is no more", "GET", "/apis", yes("Accept", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"), "", 200, `"kind":"APIGroupList"`},
		{"a label selector that is none", "GET", at + "?labelSelector=" + url.QueryEscape("a in"), nil, "", 400, "unable to parse requirement"},
		{"a version that is no number", "GET", at + "?resourceVersion=abc", nil, "", 400, "Invalid value"},
		{"a name that is none", "POST", at, yes("Content-Type", jsonType), `{"metadata":{"name":"A_B"}}`, 422, "a lowercase RFC 1123 subdomain"},
		{"no name at all", "POST", at, yes("Content-Type", jsonType), `{"metadata":{}}`, 422, "name or generateName is required"},
		{"it is there already", "POST", at, yes("Content-Type", jsonType), `{"metadata":{"name":"m"}}`, 409, `configmaps \"m\" already exists`},
	} {
		t.Run(r.what, func(t *testing.T) {
			answer, body := c.ask(t, r.method, r.path, r.header, r.body)
			if answer.StatusCode != r.code || !strings.Contains(body, r.want) {
				t.Errorf("%s %s: %s, want %d\n%s", r.method, r.path, answer.Status, r.code, body)
			}
			if r.code >= 400 && !strings.Contains(strings.ReplaceAll(body, " ", ""), `"kind":"Status"`) && !strings.Contains(body, "404 page not found") {
				t.Errorf("the answer is no Status: %s", body)
			}
		})
	}
	if got, err := maps.Get(t.Context(), "m", metav1.GetOptions{}); err != nil || got.ResourceVersion != m.ResourceVersion {
		t.Errorf("something was changed: %+v, %v", got, err)
	}
}

func TestLargeListsAreCompressedForWhoTakesThat(t *testing.T) {
	c := serve(t)
	maps := c.client(t).CoreV1().ConfigMaps("default")
	if _, err := maps.Create(t.Context(), configMap("large", map[string]string{"a": strings.Repeat("hello ", 50_000)}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(c.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	for accept, packed := range map[string]bool{"gzip": true, "identity": false} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", c.URL+"/api/v1/namespaces/default/configmaps", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", accept)
		answer, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || (answer.Header.Get("Content-Encoding") == "gzip") != packed {
			t.Fatalf("%s: %v, %v", accept, answer.Header, err)
		}
		if packed {
			z, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if data, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		var list corev1.ConfigMapList
		if err := json.Unmarshal(data, &list); err != nil || len(list.Items) != 1 {
			t.Errorf("%s: %d items, %v", accept, len(list.Items), err)
		}
	}
}

func TestAPageThatIsForgottenIsGoneAndTheListCanBeGoneOnWith(t *testing.T) {
	c := serve(t, func(_ *Config, o *store.Options) { o.Keep = 10 })
	maps := c.client(t).CoreV1().ConfigMaps("default")
	page := func(o metav1.ListOptions) (*corev1.ConfigMapList, error) { return maps.List(t.Context(), o) }
	for i := range 3 {
		if _, err := maps.Create(t.Context(), configMap(fmt.Sprint("m", i), nil), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	first, err := page(metav1.ListOptions{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 { // more lists at versions of their own than are kept, and more history than the store's
		if _, err := maps.Patch(t.Context(), "m0", types.MergePatchType, fmt.Appendf(nil, `{"data":{"n":"%d"}}`, i), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := page(metav1.ListOptions{Limit: 1}); err != nil {
			t.Fatal(err)
		}
	}
	_, body := c.ask(t, "GET", "/api/v1/namespaces/default/configmaps?limit=5&continue="+url.QueryEscape(first.Continue), nil, "")
	var status metav1.Status
	if err := json.Unmarshal([]byte(body), &status); err != nil || status.Code != 410 || status.Reason != metav1.StatusReasonExpired || status.Continue == "" {
		t.Fatalf("%v: %s", err, body)
	}
	rest, err := page(metav1.ListOptions{Limit: 5, Continue: status.Continue})
	if err != nil || len(rest.Items) != 2 || rest.Items[0].Name != "m1" {
		t.Errorf("%+v, %v", rest, err)
	}
}

func TestHowDependentsEndIsWrittenDown(t *testing.T) {
	c := serve(t)
	maps := c.client(t).CoreV1().ConfigMaps("default")
	for policy, want := range map[metav1.DeletionPropagation]string{
		metav1.DeletePropagationOrphan: metav1.FinalizerOrphanDependents, metav1.DeletePropagationForeground: metav1.FinalizerDeleteDependents, metav1.DeletePropagationBackground: "",
	} {
		name := strings.ToLower(string(policy))
		if _, err := maps.Create(t.Context(), configMap(name, nil), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := maps.Delete(t.Context(), name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
			t.Fatal(err)
		}
		o, ok := store.Get[*corev1.ConfigMap](c.Memory.Snapshot(), "default", name)
		if ok != (want != "") || ok && (len(o.Finalizers) != 1 || o.Finalizers[0] != want || o.DeletionTimestamp == nil) {
			t.Errorf("%s: %+v", policy, o)
		}
	}
}

func TestNamesAreMadeUntilOneIsFree(t *testing.T) {
	c := serve(t)
	maps := c.client(t).CoreV1().ConfigMaps("default")
	seen := map[string]bool{}
	for range 200 {
		m, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "made-"}}, metav1.CreateOptions{})
		if err != nil || seen[m.Name] || !strings.HasPrefix(m.Name, "made-") || len(m.Name) != len("made-")+5 {
			t.Fatalf("%+v, %v", m, err)
		}
		seen[m.Name] = true
	}
}

func TestWhoScalesOwnsTheReplicas(t *testing.T) {
	c := serve(t)
	deployments := c.client(t).AppsV1().Deployments("default")
	apply := func(manager string, force string) (*http.Response, string) {
		return c.ask(t, "PATCH", "/apis/apps/v1/namespaces/default/deployments/web?fieldManager="+manager+force, http.Header{"Content-Type": {"application/apply-patch+yaml"}},
			`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":2,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"x"}]}}}}`)
	}
	if answer, body := apply("git", ""); answer.StatusCode != 201 {
		t.Fatal(body)
	}
	if _, err := deployments.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":5}}`), metav1.PatchOptions{FieldManager: "scaler"}, "scale"); err != nil {
		t.Fatal(err)
	}
	if answer, body := apply("git", ""); answer.StatusCode != 409 || !strings.Contains(body, `conflict with \"scaler\" with subresource \"scale\" using apps/v1: .spec.replicas`) {
		t.Errorf("%s %s", answer.Status, body)
	}
	if answer, body := apply("git", "&force=true"); answer.StatusCode != 200 {
		t.Error(body)
	}
	d, err := deployments.Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || *d.Spec.Replicas != 2 {
		t.Errorf("%+v, %v", d, err)
	}
	for _, f := range d.ManagedFields {
		if f.Manager == "scaler" && strings.Contains(f.FieldsV1.GetRawString(), "f:replicas") {
			t.Errorf("who was overruled owns it still: %s", f.FieldsV1.GetRawString())
		}
	}
}
