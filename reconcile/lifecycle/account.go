package lifecycle

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/admit"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Accounts keeps in each namespace what its pods need to reach the API: the service account of those that name none, and
// the certificate of the authority.
type Accounts struct{ CA []byte } // PEM

func (Accounts) Name() string { return "serviceaccount-controller" }

func (Accounts) Owns() []control.Owned {
	return []control.Owned{{Kind: accountKind}, {Kind: configMapKind}}
}

func (Accounts) Watches() []control.Watch {
	home := func(name string) func(*store.Snapshot, store.Change) []store.Key {
		return func(_ *store.Snapshot, c store.Change) []store.Key {
			if c.Object().GetName() != name {
				return nil
			}
			return []store.Key{{Kind: namespaceKind, Name: c.Object().GetNamespace()}}
		}
	}
	return []control.Watch{
		{Kind: namespaceKind},
		{Kind: accountKind, Keys: home(admit.DefaultAccount)},
		{Kind: configMapKind, Keys: home(admit.RootCA)},
	}
}

// Plan creates what is missing in a namespace, and puts the certificate back if it was changed.
func (a Accounts) Plan(w control.World, key store.Key) (control.Plan, error) {
	var p control.Plan
	ns, ok := store.Get[*corev1.Namespace](w.Snapshot, "", key.Name)
	if !ok || ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating {
		return p, nil
	}
	if _, ok := store.Get[*corev1.ServiceAccount](w.Snapshot, ns.Name, admit.DefaultAccount); !ok {
		p.Create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: admit.DefaultAccount}}, "every namespace has it")
	}
	ca := map[string]string{admit.RootCAKey: string(a.CA)}
	root, ok := store.Get[*corev1.ConfigMap](w.Snapshot, ns.Name, admit.RootCA)
	switch {
	case !ok:
		p.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: ns.Name, Name: admit.RootCA, Annotations: map[string]string{"kubernetes.io/description": aboutRootCA},
		}, Data: ca}, "every namespace has it")
	case root.DeletionTimestamp == nil && (len(root.Data) != 1 || root.Data[admit.RootCAKey] != string(a.CA) || len(root.BinaryData) > 0):
		next := root.DeepCopy()
		next.Data, next.BinaryData = ca, nil
		p.Update(next, "it was changed")
	}
	return p, nil
}

const aboutRootCA = "Contains a CA bundle that can be used to verify the API server when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
	"No other usage is guaranteed."
