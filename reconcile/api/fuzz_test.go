package api

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
)

// directly answers requests of an administrator without a connection.
func (c *cluster) directly(t testing.TB) http.HandlerFunc {
	t.Helper()
	certificate, _, err := c.Authority.Client(access.Admin, []string{"system:masters"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(certificate)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
		c.Handler().ServeHTTP(w, r)
	}
}

// recorder keeps an answer; watches want to know when the client goes, which it never does.
type recorder struct{ *httptest.ResponseRecorder }

func (recorder) CloseNotify() <-chan bool { return nil }

// FuzzRequests finds requests that the server cannot answer: 500 says that something happened which nobody thought of.
func FuzzRequests(f *testing.F) {
	const jsonType, apply = "application/json", "application/apply-patch+yaml"
	for _, r := range []struct{ method, path, query, content, body string }{
		{"GET", "/api/v1/pods", "limit=1&continue=x&resourceVersion=3&resourceVersionMatch=Exact", "", ""},
		{"GET", "/api/v1/namespaces/default/configmaps", "labelSelector=a in (b),!c&fieldSelector=metadata.name!=x", "", ""},
		{"GET", "/apis/apps/v1/deployments", "watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1", "", ""},
		{"GET", "/api/v1/namespaces/default/pods/one/log", "follow=0&tailLines=x&sinceTime=2026-01-01T00:00:00Z&container=web", "", ""},
		{"POST", "/api/v1/namespaces/default/configmaps", "dryRun=All&fieldValidation=Strict&fieldManager=me", jsonType, `{"metadata":{"generateName":"x-"},"data":{"a":"b"}}`},
		{"POST", "/api/v1/namespaces/default/pods", "dryRun=All", "application/yaml", "metadata: {name: x}\nspec: {containers: [{name: a, image: b}]}"},
		{"POST", "/api/v1/namespaces/default/pods/one/binding", "dryRun=All", jsonType, `{"metadata":{"name":"one"},"target":{"kind":"Node","name":"n"}}`},
		{"POST", "/api/v1/namespaces/default/pods/one/eviction", "dryRun=All", jsonType, `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"one"}}`},
		{"PUT", "/apis/apps/v1/namespaces/default/deployments/web/scale", "dryRun=All", jsonType, `{"metadata":{"name":"web"},"spec":{"replicas":3}}`},
		{"PATCH", "/apis/apps/v1/namespaces/default/deployments/web", "dryRun=All&fieldManager=me&force=1", apply, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":2}}`},
		{"PATCH", "/apis/apps/v1/namespaces/default/deployments/web", "dryRun=All", "application/strategic-merge-patch+json", `{"spec":{"template":{"spec":{"containers":[{"name":"web","$patch":"delete"}]}}}}`},
		{"PATCH", "/apis/apps/v1/namespaces/default/deployments/web", "dryRun=All", "application/json-patch+json", `[{"op":"copy","from":"/spec","path":"/spec/template/spec/nodeSelector"}]`},
		{"PATCH", "/apis/apps/v1/namespaces/default/deployments/web/status", "dryRun=All", "application/merge-patch+json", `{"status":{"replicas":-1},"spec":null}`},
		{"DELETE", "/api/v1/namespaces/default/pods/one", "dryRun=All&gracePeriodSeconds=-5", jsonType, `{"preconditions":{"uid":"x"},"propagationPolicy":"Orphan"}`},
		{"GET", "/api/v1/namespaces/default/pods/https:one:443/proxy/a/../b", "x=y", "", ""},
		{"POST", "/api/v1/namespaces/default/services/:web:/proxy", "path=x", jsonType, "{}"},
		{"DELETE", "/api/v1/namespaces/default/configmaps", "dryRun=All&labelSelector==", "", ""},
	} {
		f.Add(r.method, r.path, r.query, r.content, []byte(r.body))
	}
	c := serve(f, withLogs(output{}))
	c.running(f, "default", "one", "web")
	if _, err := c.client(f).AppsV1().Deployments("default").Create(f.Context(), deployment("web", 1), metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	handler := c.directly(f)
	f.Fuzz(func(t *testing.T, method, path, query, content string, body []byte) {
		if strings.Contains(query, "watch") || strings.Contains(query, "follow") {
			query += "&timeoutSeconds=1&limitBytes=1" // do not wait for it
		}
		u := url.URL{Path: path, RawQuery: query}
		parsed, err := url.ParseRequestURI(u.String())
		if err != nil || !strings.HasPrefix(parsed.Path, "/api") || method == "" || strings.ContainsAny(method, " \t\r\n") {
			return
		}
		ctx := t.Context()
		r, err := http.NewRequestWithContext(ctx, method, parsed.String(), strings.NewReader(string(body)))
		if err != nil {
			return
		}
		r.Header.Set("Content-Type", content)
		r.RequestURI = parsed.RequestURI()
		w := recorder{httptest.NewRecorder()}
		handler(w, r)
		if w.Code >= http.StatusInternalServerError && w.Code != http.StatusGatewayTimeout {
			t.Errorf("%d: %.500s", w.Code, w.Body)
		}
		if w.Code >= 400 && strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%d without a status: %.500s", w.Code, w.Body)
		}
	})
}
