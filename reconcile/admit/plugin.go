package admit

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/admission"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Plugin is the chain as k8s.io/apiserver calls it, before it looks at the object itself. What it allows is asked again
// inside the transaction: it is here so that a dry run is refused too, and so that the first error is the one that
// Kubernetes would give.
type Plugin struct{ Reader store.Reader }

var _ admission.MutationInterface = Plugin{}

// Handles implements admission.Interface.
func (Plugin) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Delete
}

// Admit implements admission.MutationInterface. It changes nothing but pods.
func (p Plugin) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	r := Request{Resource: a.GetResource().GroupResource(), Namespace: a.GetNamespace(), Name: a.GetName()}
	if err := p.runtimeClass(a); err != nil {
		return err
	}
	switch {
	case a.GetOperation() == admission.Delete && a.GetSubresource() == "":
		return Delete(r)
	case a.GetOperation() != admission.Create:
		return nil
	case r.Resource.Group == "" && r.Resource.Resource == "namespaces":
		return nil // such a request bears its own name as its namespace
	}
	s := p.Reader.Snapshot()
	if err := Create(s, r); err != nil {
		return err
	}
	if pod, ok := a.GetObject().(*corev1.Pod); ok && r.Resource.Group == "" && r.Resource.Resource == "pods" && a.GetSubresource() == "" {
		return podAdmitted(s, pod, a)
	}
	return nil
}

// podAdmitted does what Account does, for a pod that has no namespace and no identity yet.
func podAdmitted(s *store.Snapshot, pod *corev1.Pod, a admission.Attributes) error {
	pod.Namespace = a.GetNamespace()
	if pod.UID == "" {
		pod.UID = uuid.NewUUID()
		defer func() { pod.UID = "" }() // whoever creates it gives it its own
	}
	return Account(s, pod)
}
