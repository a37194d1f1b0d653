// Package policy is the roles and bindings that every cluster has, as Kubernetes documents them, and the controllers that
// keep them and gather the rules of aggregated roles.
//
// Roles of Kubernetes' own controllers (system:controller:*) are left out: what they do is done inside here, where nobody
// is asked for roles.
package policy

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const (
	bootstrapLabel = "kubernetes.io/bootstrapping"
	aggregate      = rbacv1.GroupName + "/aggregate-to-"

	view  = "get list watch"
	write = "create delete deletecollection patch update"
	full  = "create delete deletecollection get list patch update watch"

	authentication = "authentication.k8s.io"
	authorization  = "authorization.k8s.io"
	certificates   = "certificates.k8s.io"
	coordination   = "coordination.k8s.io"
	core           = "core" // the group without a name
	discovery      = "discovery.k8s.io"
	events         = "core events.k8s.io"
	networking     = "networking.k8s.io"
	storage        = "storage.k8s.io"
)

// Rules are what a role may. Its methods add one more, each argument a list in one string.
type rules []rbacv1.PolicyRule

func words(text string) []string {
	all := strings.Fields(text)
	for i, w := range all {
		if w == core {
			all[i] = ""
		}
	}
	return all
}

func (r rules) may(verbs, groups, resources string) rules {
	return append(r, rbacv1.PolicyRule{Verbs: words(verbs), APIGroups: words(groups), Resources: words(resources)})
}

func (r rules) named(verbs, groups, resources, names string) rules {
	return append(r, rbacv1.PolicyRule{Verbs: words(verbs), APIGroups: words(groups), Resources: words(resources), ResourceNames: words(names)})
}

func (r rules) visit(verbs, paths string) rules {
	return append(r, rbacv1.PolicyRule{Verbs: words(verbs), NonResourceURLs: words(paths)})
}

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, Labels: map[string]string{bootstrapLabel: "rbac-defaults"},
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"},
	}
}

func clusterRole(name string, r rules) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: meta("", name), Rules: r}
}

// addsTo has the role gathered into another one.
func addsTo(to string, r *rbacv1.ClusterRole) *rbacv1.ClusterRole {
	r.Labels[aggregate+to] = "true"
	return r
}

// gathers is a role that has the rules of all that are added to it.
func gathers(name string) *rbacv1.ClusterRole {
	r := clusterRole(name, nil)
	r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{aggregate + name: "true"}}}}
	return r
}

func bind(role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta("", role), Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
}

func theUser(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}

func theGroup(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name}
}

func theAccount(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: metav1.NamespaceSystem, Name: name}
}

// Objects are the built-in roles and bindings, new ones at each call.
func Objects() []store.Object {
	var all []store.Object
	for _, r := range clusterRoles() {
		all = append(all, r)
	}
	for _, b := range clusterRoleBindings() {
		all = append(all, b)
	}
	return append(all, systemRoles()...)
}

func clusterRoleBindings() []*rbacv1.ClusterRoleBinding {
	return []*rbacv1.ClusterRoleBinding{
		bind("cluster-admin", theGroup(user.SystemPrivilegedGroup)),
		bind("system:basic-user", theGroup(user.AllAuthenticated)),
		bind("system:discovery", theGroup(user.AllAuthenticated)),
		bind("system:kube-controller-manager", theUser(user.KubeControllerManager)),
		bind("system:kube-dns", theAccount("kube-dns")),
		bind("system:kube-scheduler", theUser(user.KubeScheduler)),
		bind("system:monitoring", theGroup(user.MonitoringGroup)),
		bind("system:node"), // the node authorizer stands for it
		bind("system:node-proxier", theUser(user.KubeProxy)),
		bind("system:public-info-viewer", theGroup(user.AllAuthenticated), theGroup(user.AllUnauthenticated)),
		bind("system:service-account-issuer-discovery", theGroup("system:serviceaccounts")),
		bind("system:volume-scheduler", theUser(user.KubeScheduler)),
	}
}

// systemRoles are those of the namespace kube-system, and their bindings.
func systemRoles() []store.Object {
	const reader, leader = "extension-apiserver-authentication-reader", "system::leader-locking-"
	role := func(name string, r rules) *rbacv1.Role {
		return &rbacv1.Role{ObjectMeta: meta(metav1.NamespaceSystem, name), Rules: r}
	}
	binding := func(name, role string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{
			ObjectMeta: meta(metav1.NamespaceSystem, name), Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role},
		}
	}
	lock := rules{}.may("create get list update watch", coordination, "leases")
	return []store.Object{
		role(reader, rules{}.named(view, core, "configmaps", "extension-apiserver-authentication")),
		role(leader+"kube-controller-manager", lock),
		role(leader+"kube-scheduler", lock),
		binding("system::"+reader, reader, theUser(user.KubeControllerManager), theUser(user.KubeScheduler)),
		binding(leader+"kube-controller-manager", leader+"kube-controller-manager",
			theUser(user.KubeControllerManager), theAccount("kube-controller-manager"), theAccount("leader-election-controller")),
		binding(leader+"kube-scheduler", leader+"kube-scheduler", theUser(user.KubeScheduler), theAccount("kube-scheduler")),
	}
}
