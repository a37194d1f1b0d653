package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/openapi3"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func restClient(t testing.TB, config *rest.Config) *rest.RESTClient {
	t.Helper()
	config.GroupVersion = &appsv1.SchemeGroupVersion
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	r, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ask sends a request as the administrator and returns the answer with its body.
func (c *cluster) ask(t testing.TB, method, path string, header http.Header, body string) (*http.Response, string) {
	t.Helper()
	return do(t, c.admin(t), c.URL, method, path, header, body)
}

func do(t testing.TB, config *rest.Config, url, method, path string, header http.Header, body string) (*http.Response, string) {
	t.Helper()
	h, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	h.Timeout = 20 * time.Second
	r, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	answer, err := h.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(data)
}

func TestListsAreReadInPages(t *testing.T) {
	c := serve(t)
	maps := c.client(t).CoreV1().ConfigMaps("default")
	for i := range 7 {
		if _, err := maps.Create(t.Context(), configMap(fmt.Sprint("m", i), nil), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	opts, first := metav1.ListOptions{Limit: 3}, ""
	for {
		list, err := maps.List(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list.Items {
			names = append(names, m.Name)
		}
		if first == "" {
			first = list.ResourceVersion
			if *list.RemainingItemCount != 4 {
				t.Errorf("%d remain", *list.RemainingItemCount)
			}
			if err := maps.Delete(t.Context(), "m5", metav1.DeleteOptions{}); err != nil { // the list does not see it
				t.Fatal(err)
			}
		}
		if list.ResourceVersion != first {
			t.Errorf("a page of %s in a list of %s", list.ResourceVersion, first)
		}
		if opts.Continue = list.Continue; opts.Continue == "" {
			break
		}
	}
	if got := strings.Join(names, " "); got != "m0 m1 m2 m3 m4 m5 m6" {
		t.Error(got)
	}

	for _, o := range []struct {
		opts metav1.ListOptions
		want int
	}{
		{metav1.ListOptions{ResourceVersion: first, ResourceVersionMatch: metav1.ResourceVersionMatchExact}, 7},
		{metav1.ListOptions{ResourceVersion: first, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan}, 6},
		{metav1.ListOptions{ResourceVersion: "0"}, 6},
		{metav1.ListOptions{FieldSelector: "metadata.name=m3"}, 1},
		{metav1.ListOptions{FieldSelector: "metadata.name!=m3"}, 5},
	} {
		list, err := maps.List(t.Context(), o.opts)
		if err != nil || len(list.Items) != o.want {
			t.Errorf("%+v: %d items, %v", o.opts, len(list.Items), err)
		}
	}
	if _, err := maps.List(t.Context(), metav1.ListOptions{ResourceVersion: "1000000"}); !apierrors.IsTimeout(err) {
		t.Errorf("a version that is not there yet: %v", err)
	}
	if _, err := maps.List(t.Context(), metav1.ListOptions{FieldSelector: "data.a=b"}); !apierrors.IsBadRequest(err) {
		t.Errorf("a selector by an unknown field: %v", err)
	}
}

func TestItemsOfListsBearNoKind(t *testing.T) { // as in Kubernetes
	c := serve(t)
	_, body := c.ask(t, "GET", "/api/v1/namespaces", nil, "")
	var list struct {
		Kind  string
		Items []map[string]any
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatal(err)
	}
	if list.Kind != "NamespaceList" || len(list.Items) != 1 || list.Items[0]["kind"] != nil || list.Items[0]["metadata"] == nil {
		t.Error(body)
	}
}

func TestTablesAreShown(t *testing.T) {
	c := serve(t)
	if _, err := c.client(t).AppsV1().Deployments("default").Create(t.Context(), deployment("web", 2), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	accept := http.Header{"Accept": {"application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}}
	for _, path := range []string{"/apis/apps/v1/deployments", "/apis/apps/v1/namespaces/default/deployments/web", "/apis/apps/v1/deployments?includeObject=Object"} {
		_, body := c.ask(t, "GET", path, accept, "")
		var table metav1.Table
		if err := json.Unmarshal([]byte(body), &table); err != nil {
			t.Fatal(err)
		}
		if table.Kind != "Table" || len(table.Rows) != 1 || table.Rows[0].Cells[0] != "web" || table.Rows[0].Cells[1] != "0/2" || table.ResourceVersion == "" {
			t.Errorf("%s: %s", path, body)
			continue
		}
		row := string(table.Rows[0].Object.Raw)
		if whole := strings.Contains(path, "includeObject"); whole != strings.Contains(row, `"kind":"Deployment"`) || whole == strings.Contains(row, `PartialObjectMetadata`) {
			t.Errorf("%s: %s", path, row)
		}
	}
}

func TestSubresourcesAreShown(t *testing.T) {
	c := serve(t)
	if _, err := c.client(t).AppsV1().Deployments("default").Create(t.Context(), deployment("web", 2), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	table := http.Header{"Accept": {"application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}}
	for _, r := range []struct {
		path   string
		header http.Header
		want   string
	}{
		{"/apis/apps/v1/namespaces/default/deployments/web/status", nil, `"kind":"Deployment"`},
		{"/apis/apps/v1/namespaces/default/deployments/web/status", table, `"cells":["web","0/2"`},
		{"/apis/apps/v1/namespaces/default/deployments/web/scale", nil, `"spec":{"replicas":2}`},
		{"/apis/apps/v1/namespaces/default/deployments/web/scale", table, `"cells":["web"`},
		{"/apis/apps/v1/namespaces/default/deployments/nobody/scale", nil, `"reason":"NotFound"`},
	} {
		if _, body := c.ask(t, "GET", r.path, r.header, ""); !strings.Contains(body, r.want) {
			t.Errorf("%s: %s, want %s", r.path, body, r.want)
		}
	}
}

func TestAWatchOfATableNamesItsColumnsOnce(t *testing.T) {
	c := serve(t)
	k := c.client(t).AppsV1().Deployments("default")
	if _, err := k.Create(t.Context(), deployment("web", 2), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := restClient(t, c.admin(t)).Get().AbsPath("/apis/apps/v1/deployments").Param("watch", "1").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	decoder := json.NewDecoder(stream)
	for i := range 2 {
		var e struct {
			Type   string
			Object metav1.Table
		}
		if err := decoder.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if named := len(e.Object.ColumnDefinitions) > 0; named != (i == 0) || len(e.Object.Rows) != 1 {
			t.Errorf("event %d: %+v", i, e)
		}
		if i == 0 {
			if err := k.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestWhatIsServedIsDiscovered(t *testing.T) {
	c := serve(t)
	for _, legacy := range []bool{false, true} {
		d, err := discovery.NewDiscoveryClientForConfig(c.admin(t))
		if err != nil {
			t.Fatal(err)
		}
		d.UseLegacyDiscovery = legacy
		_, lists, err := d.ServerGroupsAndResources()
		if err != nil {
			t.Fatal(err)
		}
		served := map[string]string{}
		for _, l := range lists {
			for _, r := range l.APIResources {
				served[l.GroupVersion+" "+r.Name] = r.Kind + " " + strings.Join(r.Verbs, ",")
			}
		}
		whole := "create,delete,deletecollection,get,list,patch,update,watch"
		for _, k := range c.Kinds.All() {
			if got := served[k.GroupVersion().String()+" "+k.Plural]; got != k.Kind+" "+whole {
				t.Errorf("legacy %v: %s: %s", legacy, k.Plural, got)
			}
			if k.Status && served[k.GroupVersion().String()+" "+k.Plural+"/status"] != k.Kind+" get,patch,update" {
				t.Errorf("legacy %v: %s/status: %s", legacy, k.Plural, served[k.GroupVersion().String()+" "+k.Plural+"/status"])
			}
		}
		for name, want := range map[string]string{
			"apps/v1 deployments/scale": "Scale get,patch,update", "v1 pods/binding": "Binding create", "v1 pods/eviction": "Eviction create",
			"v1 namespaces/finalize": "Namespace update", "v1 pods/log": "", "v1 pods/exec": "",
			"v1 pods/ephemeralcontainers": "Pod get,patch,update",
		} {
			if served[name] != want && !(name == "v1 namespaces/finalize" && served[name] == "Namespace get,patch,update") {
				t.Errorf("legacy %v: %s: %q", legacy, name, served[name])
			}
		}
	}
	answer, body := c.ask(t, "GET", "/apis", http.Header{"Accept": {"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}}, "")
	var groups apidiscovery.APIGroupDiscoveryList
	if err := json.Unmarshal([]byte(body), &groups); err != nil || answer.Header.Get("Etag") == "" {
		t.Errorf("%v, %s", err, body)
	}
	told := map[string]bool{}
	for _, g := range groups.Items {
		for _, v := range g.Versions {
			told[g.Name+"/"+v.Version] = true
		}
	}
	for _, versions := range c.Kinds.Groups() {
		for _, gv := range versions {
			if gv.Group != "" && !told[gv.String()] {
				t.Errorf("%s is not in %v", gv, told)
			}
		}
	}
}

func TestTheAPIDescribesItself(t *testing.T) {
	c := serve(t)
	d, err := discovery.NewDiscoveryClientForConfig(c.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	v2, err := d.OpenAPISchema() // in protobuf
	if err != nil || len(v2.GetDefinitions().GetAdditionalProperties()) < 100 {
		t.Errorf("%d definitions, %v", len(v2.GetDefinitions().GetAdditionalProperties()), err)
	}
	paths, err := d.OpenAPIV3().Paths()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range c.Kinds.All() {
		path := "apis/" + k.GroupVersion().String()
		if k.Group == "" {
			path = "api/" + k.Version
		}
		if paths[path] == nil {
			t.Errorf("%s is not described", path)
		}
	}
	spec, err := openapi3.NewRoot(d.OpenAPIV3()).GVSpec(appsv1.SchemeGroupVersion)
	if err != nil || spec.Components.Schemas["io.k8s.api.apps.v1.Deployment"] == nil {
		t.Errorf("%v", err)
	}

	answer, _ := c.ask(t, "GET", "/openapi/v3/apis/apps/v1", nil, "")
	etag := answer.Header.Get("Etag")
	if answer, _ = c.ask(t, "GET", "/openapi/v3/apis/apps/v1", http.Header{"If-None-Match": {etag}}, ""); answer.StatusCode != http.StatusNotModified {
		t.Error(answer.Status)
	}
	if answer, _ = c.ask(t, "GET", "/openapi/v3/apis/apps/v1?hash=old", nil, ""); answer.Request.URL.RawQuery != "hash="+strings.Trim(etag, `"`) || answer.Header.Get("Cache-Control") == "" {
		t.Errorf("%s, %v", answer.Request.URL, answer.Header)
	}
	plain, body := c.ask(t, "GET", "/openapi/v2", http.Header{"Accept-Encoding": {"identity"}}, "")
	if plain.Header.Get("Content-Encoding") != "" || !json.Valid([]byte(body)) {
		t.Error("it cannot be had uncompressed")
	}
	if answer, _ = c.ask(t, "GET", "/openapi/v3/apis/nobody/v1", nil, ""); answer.StatusCode != http.StatusNotFound {
		t.Error(answer.Status)
	}
}

func TestTheServerSaysHowItIs(t *testing.T) {
	c := serve(t, func(c *Config, _ *store.Options) { c.Version = "0.1" })
	for _, path := range []string{"/livez", "/readyz", "/healthz"} {
		if answer, body := c.ask(t, "GET", path, nil, ""); answer.StatusCode != http.StatusOK || body != "ok" {
			t.Errorf("%s: %s %s", path, answer.Status, body)
		}
	}
	if _, body := c.ask(t, "GET", "/readyz?verbose", nil, ""); !strings.Contains(body, "[+]store ok") {
		t.Error(body)
	}
	_, body := c.ask(t, "GET", "/version", nil, "")
	var v version.Info
	if err := json.Unmarshal([]byte(body), &v); err != nil || v.GitVersion != "v1.37.2+mainstay.0.1" || v.Major != "1" || v.Minor != "37" {
		t.Errorf("%+v, %v", v, err)
	}
	if err := c.Memory.Close(); err != nil { // it takes no more writes
		t.Fatal(err)
	}
	if answer, _ := c.ask(t, "GET", "/readyz", nil, ""); answer.StatusCode != http.StatusInternalServerError {
		t.Errorf("ready without a store: %s", answer.Status)
	}
	answer, body := c.ask(t, "POST", "/api/v1/namespaces/default/configmaps", http.Header{"Content-Type": {"application/json"}}, `{"metadata":{"name":"x"}}`)
	if answer.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "the store takes no more writes") {
		t.Errorf("%s %s", answer.Status, body)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	c := serve(t)
	stranger := serve(t)
	known := c.config(t, "ann", "dev")
	nobody := &rest.Config{Host: c.URL, TLSClientConfig: rest.TLSClientConfig{CAData: c.Authority.PEM()}}
	forged := stranger.admin(t)
	forged.CAData = c.Authority.PEM()
	token := rest.CopyConfig(nobody)
	token.BearerToken = "guess"
	for _, r := range []struct {
		what   string
		config *rest.Config
		method string
		path   string
		want   int
	}{
		{"nobody lists pods", nobody, "GET", "/api/v1/pods", http.StatusUnauthorized},
		{"nobody asks for what does not exist", nobody, "GET", "/nothing", http.StatusUnauthorized},
		{"nobody discovers", nobody, "GET", "/apis", http.StatusUnauthorized},
		{"nobody asks for the version", nobody, "GET", "/version", http.StatusUnauthorized},
		{"nobody asks whether the server is ready", nobody, "GET", "/readyz", http.StatusOK},
		{"nobody asks whether it lives", nobody, "GET", "/livez", http.StatusOK},
		{"nobody writes to where one asks that", nobody, "POST", "/livez", http.StatusForbidden},
		{"a certificate of another authority", forged, "GET", "/api/v1/pods", http.StatusUnauthorized},
		{"a token that nobody gave", token, "GET", "/api/v1/pods", http.StatusUnauthorized},
		{"a user lists pods", known, "GET", "/api/v1/pods", http.StatusForbidden},
		{"a user deletes a namespace", known, "DELETE", "/api/v1/namespaces/default", http.StatusForbidden},
		{"a user discovers", known, "GET", "/apis", http.StatusOK},
		{"an administrator lists pods", c.admin(t), "GET", "/api/v1/pods", http.StatusOK},
		{"an administrator asks for what does not exist", c.admin(t), "GET", "/nothing", http.StatusNotFound},
	} {
		answer, body := do(t, r.config, c.URL, r.method, r.path, nil, "")
		if answer.StatusCode != r.want {
			t.Errorf("%s: %s %s", r.what, answer.Status, body)
		}
		if r.want >= 400 && r.path != "/nothing" && r.path != "/livez" && !strings.Contains(body, `"kind":"Status"`) && !strings.Contains(body, `"kind": "Status"`) {
			t.Errorf("%s: not a status: %s", r.what, body)
		}
	}
}

func TestOneMayActForAnother(t *testing.T) {
	c := serve(t)
	as := c.admin(t)
	as.Impersonate = rest.ImpersonationConfig{UserName: "ann"}
	if answer, _ := do(t, as, c.URL, "GET", "/api/v1/pods", nil, ""); answer.StatusCode != http.StatusForbidden {
		t.Errorf("the administrator as ann: %s", answer.Status)
	}
	ann := c.config(t, "ann")
	ann.Impersonate = rest.ImpersonationConfig{UserName: "root", Groups: []string{"system:masters"}}
	if answer, _ := do(t, ann, c.URL, "GET", "/api/v1/pods", nil, ""); answer.StatusCode != http.StatusForbidden {
		t.Errorf("ann as an administrator: %s", answer.Status)
	}
}

func TestTheServerIsKnownByItsNames(t *testing.T) {
	c := serve(t, func(c *Config, _ *store.Options) { c.Hosts = []string{"10.43.0.1", "api.example.com"} })
	address := strings.TrimPrefix(c.URL, "https://")
	for name, good := range map[string]bool{"127.0.0.1": true, "localhost": true, "kubernetes.default.svc": true, "10.43.0.1": true, "api.example.com": true, "example.com": false} {
		conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: c.Authority.Pool(), ServerName: name})
		if (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
	if conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: c.Authority.Pool(), MaxVersion: tls.VersionTLS11}); err == nil {
		_ = conn.Close()
		t.Error("it speaks an old TLS")
	}
}

func TestLargeAndBrokenBodiesAreRefused(t *testing.T) {
	c := serve(t)
	header := http.Header{"Content-Type": {"application/json"}}
	large := `{"metadata":{"name":"x"},"data":{"a":"` + string(bytes.Repeat([]byte("x"), 4<<20)) + `"}}`
	for what, r := range map[string]struct {
		body string
		want int
	}{
		"too large":            {large, http.StatusRequestEntityTooLarge},
		"cut short":            {`{"metadata":{"name":`, http.StatusBadRequest},
		"of another kind":      {`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}`, http.StatusBadRequest},
		"in another namespace": {`{"metadata":{"name":"x","namespace":"other"}}`, http.StatusBadRequest},
		"empty":                {``, http.StatusBadRequest},
	} {
		if answer, body := c.ask(t, "POST", "/api/v1/namespaces/default/configmaps", header, r.body); answer.StatusCode != r.want {
			t.Errorf("%s: %s %.200s", what, answer.Status, body)
		}
	}
}

func TestEventsAreForgottenAfterAnHour(t *testing.T) {
	c := serve(t)
	now := time.Now()
	events := c.client(t).CoreV1().Events("default")
	for _, name := range []string{"old", "young"} {
		e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: name}, InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "x"}}
		if _, err := events.Create(t.Context(), e, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := expire(t.Context(), c.Memory, now.Add(59*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if list, err := events.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 2 {
		t.Errorf("%d are left after 59 minutes, %v", len(list.Items), err)
	}
	again, err := events.Get(t.Context(), "young", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	again.Count, again.LastTimestamp = 2, metav1.NewTime(now.Add(30*time.Minute))
	if _, err := events.Update(t.Context(), again, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := expire(t.Context(), c.Memory, now.Add(61*time.Minute)); err != nil {
		t.Fatal(err)
	}
	list, err := events.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Name != "young" {
		t.Errorf("%+v, %v", list.Items, err)
	}
	was := c.Memory.Snapshot().Revision()
	if err := expire(t.Context(), c.Memory, now.Add(61*time.Minute)); err != nil || c.Memory.Snapshot().Revision() != was {
		t.Errorf("something was written for nothing, %v", err)
	}
}
