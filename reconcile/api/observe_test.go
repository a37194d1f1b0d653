package api

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func withAudit(a Audit) clusterOption { return func(c *Config, _ *store.Options) { c.Audit = a } }

// events are those in a log.
func auditEvents(t *testing.T, path string) (all []auditv1.Event) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e auditv1.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		all = append(all, e)
	}
	return all
}

func TestWhoAskedForWhatIsWrittenToTheAuditLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "audit.log")
	c := serve(t, withAudit(Audit{Log: log}))
	c.ask(t, "GET", "/readyz", nil, "")
	c.ask(t, "POST", "/api/v1/namespaces/default/secrets", http.Header{"Content-Type": {"application/json"}}, `{"metadata":{"name":"x"},"stringData":{"p":"not to be told"}}`)
	c.ask(t, "GET", "/api/v1/namespaces/default/secrets/none", nil, "")
	c.stop()
	all := auditEvents(t, log)
	if len(all) != 2 {
		t.Fatalf("%d events: %+v", len(all), all)
	}
	made, missed := all[0], all[1]
	if made.Verb != "create" || made.User.Username != access.Admin || made.ObjectRef.Resource != "secrets" || made.ResponseStatus.Code != 201 || made.Stage != auditv1.StageResponseComplete || made.Level != auditv1.LevelMetadata {
		t.Errorf("%+v", made)
	}
	if missed.Verb != "get" || missed.ObjectRef.Name != "none" || missed.ResponseStatus.Code != 404 {
		t.Errorf("%+v", missed)
	}
	if text, err := os.ReadFile(log); err != nil || strings.Contains(string(text), "not to be told") {
		t.Errorf("the log has the Secret: %v", err)
	}
	if fi, err := os.Stat(log); err != nil || fi.Mode() != 0o600 {
		t.Errorf("the log: %v, %v", fi.Mode(), err)
	}
}

func TestAPolicySaysWhatIsWritten(t *testing.T) {
	dir := t.TempDir()
	log, policy := filepath.Join(dir, "audit.log"), filepath.Join(dir, "policy.yaml")
	text := "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- {level: RequestResponse, verbs: [create], resources: [{resources: [configmaps]}]}\n- {level: None}\n"
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := serve(t, withAudit(Audit{Log: log, Policy: policy}))
	c.ask(t, "POST", "/api/v1/namespaces/default/configmaps", http.Header{"Content-Type": {"application/json"}}, `{"metadata":{"name":"x"},"data":{"a":"b"}}`)
	c.ask(t, "GET", "/api/v1/namespaces/default/configmaps", nil, "")
	c.stop()
	var stages []string
	for _, e := range auditEvents(t, log) {
		stages = append(stages, string(e.Stage))
		if e.Stage == auditv1.StageResponseComplete && (!strings.Contains(string(e.RequestObject.Raw), `"a":"b"`) || !strings.Contains(string(e.ResponseObject.Raw), `"uid"`)) {
			t.Errorf("%+v", e)
		}
	}
	if got := strings.Join(stages, " "); got != "RequestReceived ResponseComplete" {
		t.Error(got)
	}
}

func TestAnAuditLogThatCannotBeKeptIsAnErrorAtOnce(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "policy")
	if err := os.WriteFile(bad, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Everything}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, a := range map[string]Audit{
		"no such folder":         {Log: filepath.Join(dir, "none", "log")},
		"no such policy":         {Log: filepath.Join(dir, "log"), Policy: filepath.Join(dir, "none")},
		"no policy":              {Log: filepath.Join(dir, "log"), Policy: bad},
		"a policy without a log": {Policy: bad},
	} {
		good := serve(t)
		config := good.Config
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		config.Listeners, config.Audit = []net.Listener{l}, a
		if _, err := New(config); err == nil {
			t.Errorf("%s: taken", what)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestMetricsTellOfRequestsAndOfTheStore(t *testing.T) {
	more := prometheus.NewRegistry()
	more.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "somebody_elses"}))
	c := serve(t, func(c *Config, _ *store.Options) { c.Metrics = more })
	watch, err := c.client(t).CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	c.ask(t, "GET", "/api/v1/namespaces/default/configmaps/none", nil, "")
	wants := []string{
		`apiserver_request_total{code="404",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="GET",version="v1"}`,
		`apiserver_longrunning_requests{component="apiserver",group="",resource="configmaps",scope="namespace",subresource="",verb="WATCH",version="v1"}`,
		`apiserver_request_duration_seconds_bucket{`,
		`mainstay_store_objects{group="",kind="Namespace"} `,
		`mainstay_store_revision `,
		`somebody_elses 0`,
		`process_resident_memory_bytes`,
		`go_goroutines`,
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		_, body := c.ask(t, "GET", "/metrics", nil, "")
		missing := ""
		for _, want := range wants {
			if !strings.Contains(body, "\n"+want) {
				missing = want
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is missing in\n%s", missing, body)
		}
	}
}
