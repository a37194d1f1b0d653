package access

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Write is one that somebody inside wants to make in the name of a service account.
type Write struct {
	Verb      string // create, patch or delete
	Resource  schema.GroupResource
	Namespace string
	Name      string
	New, Old  store.Object // nil: it is, or was, not there
}

// AccountMay tells why a service account may not make a write: nil if it may. The error is for users.
func AccountMay(s *store.Snapshot, namespace, account string, w Write) error {
	live, ok := store.Get[*corev1.ServiceAccount](s, namespace, account)
	if !ok {
		return fmt.Errorf("serviceaccount %s/%s is not there", namespace, account)
	}
	base := serviceaccount.UserInfo(namespace, account, string(live.UID))
	who := &user.DefaultInfo{Name: base.GetName(), UID: base.GetUID(), Groups: append(base.GetGroups(), user.AllAuthenticated)}
	decision, reason := Authorize(s, authorizer.AttributesRecord{
		User: who, Verb: w.Verb, Namespace: w.Namespace, APIGroup: w.Resource.Group, APIVersion: "*", Resource: w.Resource.Resource, Name: w.Name, ResourceRequest: true,
	})
	if decision != authorizer.DecisionAllow {
		where := "at the cluster scope"
		if w.Namespace != "" {
			where = fmt.Sprintf("in the namespace %q", w.Namespace)
		}
		err := fmt.Errorf("serviceaccount %s/%s cannot %s resource %q in API group %q %s", namespace, account, w.Verb, w.Resource.Resource, w.Resource.Group, where)
		if reason != "" {
			err = fmt.Errorf("%w: %s", err, reason)
		}
		return err
	}
	if w.New == nil {
		return nil
	}
	return Grant(s, who, w.Namespace, w.New, w.Old)
}
