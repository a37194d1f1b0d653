package apply

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func TestWhatACommitBringsAdmitsOrRefusesTheRestOfIt(t *testing.T) {
	const (
		namespace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n"
		strict    = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  labels:\n    pod-security.kubernetes.io/enforce: baseline\n"
		pod       = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  namespace: shop\nspec:\n  containers:\n  - name: a\n    image: x\n"
		quota     = "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: q, namespace: shop}\nspec: {hard: {configmaps: 1}}\n"
		limits    = "apiVersion: v1\nkind: LimitRange\nmetadata: {name: l, namespace: shop}\nspec: {limits: [{type: Container, max: {cpu: 1}}]}\n"
		maps      = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: shop}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: two, namespace: shop}\n"
		policy    = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: p}\nspec:\n" +
			"  matchConstraints: {resourceRules: [{apiGroups: [\"\"], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]}\n" +
			"  validations: [{expression: 'object.metadata.name != \"two\"', message: there are no two}]\n---\n" +
			"apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: p}\nspec: {policyName: p, validationActions: [Deny]}\n"
	)
	for _, c := range []struct {
		what  string
		files map[string]string
		want  string // part of the refusal; empty: it is applied
	}{
		{"a pod is as its namespace wants it", map[string]string{"n.yaml": strict, "p.yaml": pod}, ""},
		{"a pod is not as its namespace wants it", map[string]string{"n.yaml": strict, "p.yaml": strings.Replace(pod, "spec:\n", "spec:\n  hostNetwork: true\n", 1)},
			`p.yaml:6: Pod shop/p: pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`},
		{"there is not enough for all", map[string]string{"n.yaml": namespace, "q.yaml": quota, "m.yaml": maps},
			`ConfigMap shop/two: configmaps "two" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=1`},
		{"there is enough for all", map[string]string{"n.yaml": namespace, "q.yaml": strings.Replace(quota, ": 1}", ": 2}", 1), "m.yaml": maps}, ""},
		{"a container asks for too much", map[string]string{"n.yaml": namespace, "l.yaml": limits, "p.yaml": pod + "    resources: {limits: {cpu: 2}}\n"},
			"p.yaml:7: Pod shop/p: pods \"p\" is forbidden: maximum cpu usage per Container is 1, but limit is 2"},
		{"a policy says no", map[string]string{"n.yaml": namespace, "policy.yaml": policy, "m.yaml": maps},
			`m.yaml:5: ConfigMap shop/two: configmaps "two" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: there are no two`},
	} {
		t.Run(c.what, func(t *testing.T) {
			b := newBench(t)
			_, err := b.apply("a", c.files)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %s", err, c.want)
			}
			if q, ok := store.Get[*corev1.ResourceQuota](b.store.Snapshot(), "shop", "q"); ok {
				if used := q.Status.Used["configmaps"]; used.Value() != 2 {
					t.Errorf("%s are used", used.String())
				}
			}
		})
	}
}

func TestAPolicyThatLeavesTheRepositorySaysNothingAnyMore(t *testing.T) {
	const quota = "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: q, namespace: default}\nspec: {hard: {configmaps: 0}}\n"
	const config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: default}\n"
	b := newBench(t)
	if _, err := b.apply("a", map[string]string{"q.yaml": quota}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.apply("a", map[string]string{"q.yaml": quota, "m.yaml": config}); err == nil {
		t.Error("it is taken although there is no room")
	}
	if _, err := b.apply("a", map[string]string{"m.yaml": config}, true); err != nil {
		t.Error(err)
	}
}
