package admit

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// namespaceLifecycle: what is created needs a namespace that is there and not ending, and those that the system needs are not
// deleted.
func namespaceLifecycle(s *store.Snapshot, r *Request) error {
	if r.Operation != Delete {
		return namespaceOpen(s, r)
	}
	if !r.is("", "namespaces") {
		return nil
	}
	switch r.Name {
	case metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic:
		return r.forbid(errors.New("this namespace may not be deleted"))
	}
	return nil
}

// namespaceOpen tells why nothing may be created where r wants to: nil if it may.
func namespaceOpen(s *store.Snapshot, r *Request) error {
	if r.Operation != Create || r.Namespace == "" || r.is("", "namespaces") { // which bear their own name as their namespace
		return nil
	}
	ns, ok := store.Get[*corev1.Namespace](s, "", r.Namespace)
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, r.Namespace)
	}
	if ns.Status.Phase != corev1.NamespaceTerminating && ns.DeletionTimestamp == nil {
		return nil
	}
	err := r.forbid(fmt.Errorf("unable to create new content in namespace %s because it is being terminated", r.Namespace))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type:    corev1.NamespaceTerminatingCause,
		Message: fmt.Sprintf("namespace %s is being terminated", r.Namespace),
		Field:   "metadata.namespace",
	})
	return err
}
