package access

import (
	"context"
	"errors"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/mainstay-gitops/mainstay/reconcile/access/node"
	"github.com/mainstay-gitops/mainstay/reconcile/access/rbac"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Guard refuses writes that would give somebody more than they have, or that are not a machine's to make, though they may
// make such writes: it is asked for each object as it is about to be written.
type Guard struct{ State func() *store.Snapshot }

var _ admission.ValidationInterface = Guard{}

// Handles implements admission.Interface.
func (Guard) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update || op == admission.Delete
}

// Validate implements admission.ValidationInterface. The error is an API status, in the words of Kubernetes.
func (g Guard) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	s := g.State()
	if name, is := node.Identity(a.GetUserInfo()); is {
		if err := node.Restrict(s, name, a, commonName); err != nil {
			return admission.NewForbidden(a, err)
		}
	}
	switch resource := a.GetResource().GroupResource(); {
	case resource.Group == rbacv1.GroupName && a.GetSubresource() == "":
		old, _ := a.GetOldObject().(store.Object)
		if new, ok := a.GetObject().(store.Object); ok {
			return Grant(s, a.GetUserInfo(), a.GetNamespace(), new, old)
		}
	case resource == signingRequests:
		if err := requestAllowed(s, a); err != nil {
			return admission.NewForbidden(a, err)
		}
	}
	return nil
}

// Grant tells why who may not write new in the place of old (nil: there is none) in a namespace, since that would give
// somebody more than who has. Of what is no role and no binding it has nothing to say. The error is an API status.
func Grant(s *store.Snapshot, who user.Info, namespace string, new, old store.Object) error {
	if master(who) || onlyHeld(new, old) {
		return nil
	}
	g := granting{s, who, namespace, new.GetName()}
	switch new := new.(type) {
	case *rbacv1.Role:
		return g.role("roles", new.Rules)
	case *rbacv1.ClusterRole:
		was, _ := old.(*rbacv1.ClusterRole)
		return g.clusterRole(new, was)
	case *rbacv1.RoleBinding:
		return g.binding("rolebindings", new.RoleRef)
	case *rbacv1.ClusterRoleBinding:
		g.namespace = ""
		return g.binding("clusterrolebindings", new.RoleRef)
	}
	return nil
}

// onlyHeld tells whether no more changes than what holds an object back from deletion: whoever collects what has no owner
// has no roles.
func onlyHeld(new, old store.Object) bool {
	if old == nil {
		return false
	}
	same := new.DeepCopyObject().(store.Object)
	same.SetOwnerReferences(old.GetOwnerReferences())
	same.SetFinalizers(old.GetFinalizers())
	same.SetManagedFields(old.GetManagedFields())
	return equality.Semantic.DeepEqual(same, old)
}

type granting struct {
	s               *store.Snapshot
	who             user.Info
	namespace, name string
}

func (g granting) role(resource string, rules []rbacv1.PolicyRule) error {
	if g.may("escalate", resource, g.name) {
		return nil
	}
	return g.forbidden(resource, rbac.Escalates(g.s, g.who, g.namespace, rules))
}

func (g granting) clusterRole(new, old *rbacv1.ClusterRole) error {
	g.namespace = ""
	if err := g.role("clusterroles", new.Rules); err != nil || g.may("escalate", "clusterroles", g.name) {
		return err
	}
	// What it gathers may be anything.
	if (gathers(new) || gathers(old)) && rbac.Escalates(g.s, g.who, "", everything()) != nil {
		return g.forbidden("clusterroles", errors.New("must have cluster-admin privileges to use the aggregationRule"))
	}
	return nil
}

func gathers(r *rbacv1.ClusterRole) bool {
	return r != nil && r.AggregationRule != nil && len(r.AggregationRule.ClusterRoleSelectors) > 0
}

func everything() []rbacv1.PolicyRule {
	all := []string{"*"}
	return []rbacv1.PolicyRule{{Verbs: all, APIGroups: all, Resources: all}, {Verbs: all, NonResourceURLs: all}}
}

func (g granting) binding(resource string, role rbacv1.RoleRef) error {
	of := "roles"
	if role.Kind == "ClusterRole" {
		of = "clusterroles"
	}
	if g.may("bind", of, role.Name) {
		return nil
	}
	rules, err := rbac.Rules(g.s, role, g.namespace)
	if err != nil {
		return apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: of}, role.Name)
	}
	return g.forbidden(resource, rbac.Escalates(g.s, g.who, g.namespace, rules))
}

func (g granting) may(verb, resource, name string) bool {
	decision, _ := Authorize(g.s, authorizer.AttributesRecord{
		User: g.who, Verb: verb, APIGroup: rbacv1.GroupName, APIVersion: "*", Resource: resource, Name: name, Namespace: g.namespace, ResourceRequest: true,
	})
	return decision == authorizer.DecisionAllow
}

// forbidden is err, which may be nil, as an API status.
func (g granting) forbidden(resource string, err error) error {
	if err == nil {
		return nil
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: rbacv1.GroupName, Resource: resource}, g.name, err)
}
