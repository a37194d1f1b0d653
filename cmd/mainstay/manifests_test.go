package main

import (
	"testing"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
)

func TestManifestsOfTheNodesOwnPodsAreCheckedAsByTheAPI(t *testing.T) {
	s := scheme.New(scheme.Options{Unsupported: unsupported})
	for _, c := range []struct{ name, text, want string }{
		{"a pod", "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a, image: b}]}\n", ""},
		{"no YAML", "apiVersion: v1\nkind: [", "web.yaml:3: did not find expected node content"},
		{"another kind", "# config\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n", "web.yaml:2: ConfigMap: only pods run from this folder"},
		{"an unknown field", "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  container: []\n", `web.yaml:5: spec.container: unknown field "container", did you mean "containers"?`},
		{"a wrong value", "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  restartPolicy: Maybe\n  containers: [{name: a, image: b}]\n",
			`web.yaml:5: spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "Never", "OnFailure"`},
	} {
		pods, err := staticPods(s, "web.yaml", []byte(c.text))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if c.want == "" && (len(pods) != 1 || pods[0].Namespace != "default" || pods[0].Spec.RestartPolicy != "Always" || len(pods[0].Spec.Tolerations) != 1) {
			t.Errorf("%s: %v", c.name, pods)
		}
	}
}
