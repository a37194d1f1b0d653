package admit

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func cluster(t *testing.T) *store.Memory {
	t.Helper()
	kinds := store.Kinds{}
	kinds.Add(corev1.SchemeGroupVersion.WithKind("Namespace"), &corev1.Namespace{})
	m, err := store.Open(store.NewVolatile(kinds), kinds, store.Options{Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := m.Update(t.Context(), "begin", func(tx *store.Tx) error {
		ending := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ending"}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceTerminating}}
		if err := tx.Create(ending); err != nil {
			return err
		}
		return tx.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "hello"}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}})
	}); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWritesAreAdmitted(t *testing.T) {
	deployments := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	namespaces := schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	nodes := schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	create, remove, update := admission.Create, admission.Delete, admission.Update
	p := Plugin{cluster(t)}
	for _, c := range []struct {
		what            string
		op              admission.Operation
		resource        schema.GroupVersionResource
		namespace, name string
		want            string
	}{
		{"something is created in a namespace", create, deployments, "hello", "web", ""},
		{"its namespace does not exist", create, deployments, "helo", "web", `namespaces "helo" not found`},
		{"its namespace is ending", create, deployments, "ending", "web",
			`deployments.apps "web" is forbidden: unable to create new content in namespace ending because it is being terminated`},
		{"it is updated in a namespace that is ending", update, deployments, "ending", "web", ""},
		{"it is deleted in a namespace that is ending", remove, deployments, "ending", "web", ""},
		{"a namespace is created", create, namespaces, "new", "new", ""},
		{"a namespace is deleted", remove, namespaces, "hello", "hello", ""},
		{"the default namespace is deleted", remove, namespaces, "default", "default",
			`namespaces "default" is forbidden: this namespace may not be deleted`},
		{"something of the cluster is created", create, nodes, "", "mine", ""},
	} {
		a := admission.NewAttributesRecord(nil, nil, schema.GroupVersionKind{}, c.namespace, c.name, c.resource, "", c.op, nil, false, nil)
		got := ""
		if p.Handles(c.op) {
			if err := p.Admit(t.Context(), a, nil); err != nil {
				got = err.Error()
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

func TestTheReasonOfARefusalCanBeReadByPrograms(t *testing.T) {
	err := Create(cluster(t).Snapshot(), Request{Resource: schema.GroupResource{Resource: "pods"}, Namespace: "ending", Name: "x"})
	if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Errorf("%#v", err)
	}
}
