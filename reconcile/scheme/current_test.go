package scheme

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/gitsource/decode"
)

func TestManifestsInOtherVersionsAreReadInTheStoredOne(t *testing.T) {
	s := New(Options{})
	for _, row := range []struct{ says, file, want, note, errs string }{
		{says: "a removed version", file: `# a comment
kind: Ingress
apiVersion: extensions/v1beta1
metadata: {name: web}
spec:
  backend: {serviceName: web, servicePort: 80}
`, want: `{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: web}, spec: {defaultBackend: {service: {name: web, port: {number: 80}}}}}`,
			note: "x.yaml:3: extensions/v1beta1 is a version that Kubernetes has removed: read as networking.k8s.io/v1, write that instead"},
		{says: "a served version that is not the stored one", file: `{apiVersion: events.k8s.io/v1, kind: Event, metadata: {name: e, labels: {a: b}}, note: hello, regarding: {kind: Pod, name: x}}`,
			want: `{apiVersion: v1, kind: Event, metadata: {name: e, labels: {a: b}}, message: hello, involvedObject: {kind: Pod, name: x}, reportingComponent: "", reportingInstance: "", source: {}}`},
		{says: "a wrong field of a removed version", file: `{apiVersion: extensions/v1beta1, kind: Ingress, metadata: {name: web}, spec: {backends: {}}}`, errs: `x.yaml:1: spec.backends: unknown field "backends"`},
		{says: "a wrong field of a served version", file: `{apiVersion: events.k8s.io/v1, kind: Event, metadata: {name: e}, message: hello}`, errs: `x.yaml:1: unknown field "message"`},
		{says: "what was removed for good", file: `{apiVersion: policy/v1beta1, kind: PodSecurityPolicy, metadata: {name: p}}`, errs: `x.yaml:1: kind PodSecurityPolicy (policy/v1beta1) was removed from Kubernetes`},
	} {
		t.Run(row.says, func(t *testing.T) {
			r := decode.File("x.yaml", []byte(row.file), s)
			if row.errs != "" {
				if len(r.Errors) != 1 || !strings.HasPrefix(r.Errors[0].Error(), row.errs) {
					t.Errorf("%v\nis not: %s", r.Errors, row.errs)
				}
				return
			}
			if len(r.Documents) != 1 || len(r.Errors) > 0 {
				t.Fatalf("%v", r)
			}
			var notes []string
			for _, n := range r.Notes {
				notes = append(notes, n.String())
			}
			if got := strings.Join(notes, "\n"); got != row.note {
				t.Errorf("%s\nis not: %s", got, row.note)
			}
			b, err := yaml.Marshal(r.Documents[0].Object.Object)
			if err != nil {
				t.Fatal(err)
			}
			want, err := yaml.JSONToYAML([]byte(mustJSON(t, row.want)))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(b)); d != "" {
				t.Error(d)
			}
			if r.Documents[0].Origin.Line == 0 {
				t.Error("it stands nowhere")
			}
		})
	}
}

func mustJSON(t *testing.T, text string) string {
	t.Helper()
	b, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
