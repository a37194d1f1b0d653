package admit

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func TestAPodGetsWhatItsRuntimeClassBrings(t *testing.T) {
	kinds := store.Kinds{}
	kinds.Add(nodev1.SchemeGroupVersion.WithKind("RuntimeClass"), &nodev1.RuntimeClass{})
	m, err := store.Open(store.NewVolatile(kinds), kinds, store.Options{Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	class := &nodev1.RuntimeClass{}
	if err := yaml.UnmarshalStrict([]byte(`{metadata: {name: small}, handler: runc, overhead: {podFixed: {memory: 8Mi}},
	  scheduling: {nodeSelector: {disk: ssd}, tolerations: [{key: small, operator: Exists}]}}`), class); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Update(t.Context(), "begin", func(tx *store.Tx) error { return tx.Create(class) }); err != nil {
		t.Fatal(err)
	}
	const brought = `{runtimeClassName: small, overhead: {memory: 8Mi}, nodeSelector: {disk: ssd}, tolerations: [{key: small, operator: Exists}]}`
	for _, row := range []struct{ sentence, spec, want, err string }{
		{"one that names none", `{}`, `{}`, ""},
		{"one that names it", `{runtimeClassName: small}`, brought, ""},
		{"one that has it all already", brought, brought, ""},
		{"one that says more", `{runtimeClassName: small, nodeSelector: {a: b}, tolerations: [{key: b}]}`,
			`{runtimeClassName: small, overhead: {memory: 8Mi}, nodeSelector: {a: b, disk: ssd}, tolerations: [{key: b}, {key: small, operator: Exists}]}`, ""},
		{"a class that is not there", `{runtimeClassName: big}`, "", `pods is forbidden: pod rejected: RuntimeClass "big" not found`},
		{"an overhead without a class", `{overhead: {memory: 1Mi}}`, "", `pods is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead`},
		{"another overhead", `{runtimeClassName: small, overhead: {memory: 1Mi}}`, "", `pods is forbidden: pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead`},
		{"another node", `{runtimeClassName: small, nodeSelector: {disk: hdd}}`, "",
			`pods is forbidden: pod rejected: conflict: runtimeClass.scheduling.nodeSelector[disk] = ssd; pod.spec.nodeSelector[disk] = hdd`},
	} {
		p, want := &corev1.Pod{}, corev1.PodSpec{}
		if err := yaml.UnmarshalStrict([]byte(row.spec), &p.Spec); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := runtimeClass(m.Snapshot(), newPod(p)); err != nil {
			got = err.Error()
		}
		if got != row.err {
			t.Errorf("%s: got %q, want %q", row.sentence, got, row.err)
		}
		if row.err != "" {
			continue
		}
		if err := yaml.UnmarshalStrict([]byte(row.want), &want); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, p.Spec); d != "" {
			t.Errorf("%s (-want +got): %s", row.sentence, d)
		}
	}
}
