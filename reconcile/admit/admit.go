// Package admit is the admission chain: what the state of the cluster has to say to a write, beyond what the object
// itself allows. Its rules are pure functions on a snapshot, so that those who write from Git ask them on the state that
// their commit would make, and the API asks them inside the transaction that writes.
//
// What there is now: a namespace must exist and not be ending when something is created in it, the namespaces that the
// system needs are not deleted, and a pod gets what its service account brings.
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

// A Request is one write. Object and Old are not written to.
type Request struct {
	Resource  schema.GroupResource
	Namespace string // empty for what is of the cluster
	Name      string // empty if it is yet to be generated
}

// Create tells why what r names may not be created in state s: nil if it may. The error is an API status, in the words
// of Kubernetes.
func Create(s *store.Snapshot, r Request) error {
	if r.Namespace == "" {
		return nil
	}
	ns, ok := store.Get[*corev1.Namespace](s, "", r.Namespace)
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, r.Namespace)
	}
	if ns.Status.Phase != corev1.NamespaceTerminating && ns.DeletionTimestamp == nil {
		return nil
	}
	err := apierrors.NewForbidden(r.Resource, r.Name,
		fmt.Errorf("unable to create new content in namespace %s because it is being terminated", r.Namespace))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type:    corev1.NamespaceTerminatingCause,
		Message: fmt.Sprintf("namespace %s is being terminated", r.Namespace),
		Field:   "metadata.namespace",
	})
	return err
}

// Delete tells why what r names may not be deleted: nil if it may. The error is an API status, in the words of
// Kubernetes.
func Delete(r Request) error {
	if r.Resource != (schema.GroupResource{Resource: "namespaces"}) {
		return nil
	}
	switch r.Name {
	case metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic:
		return apierrors.NewForbidden(r.Resource, r.Name, errors.New("this namespace may not be deleted"))
	}
	return nil
}
