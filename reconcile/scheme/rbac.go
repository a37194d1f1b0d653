package scheme

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/columns"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/defaults"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/validate"
)

// rbacKinds say who may do what.
func rbacKinds() []*Kind {
	return []*Kind{
		typed(Kind{GroupVersionKind: rbac("ClusterRoleBinding"), Plural: "clusterrolebindings"}, rules[*rbacv1.ClusterRoleBinding]{
			defaults: defaults.ClusterRoleBinding, validate: validate.ClusterRoleBinding, update: validate.ClusterRoleBindingUpdate,
			table: columns.ClusterRoleBindings(),
		}),
		typed(Kind{GroupVersionKind: rbac("ClusterRole"), Plural: "clusterroles"}, rules[*rbacv1.ClusterRole]{
			validate: validate.ClusterRole, update: validate.ClusterRoleUpdate, table: columns.ClusterRoles(),
		}),
		typed(Kind{GroupVersionKind: rbac("RoleBinding"), Plural: "rolebindings", Namespaced: true}, rules[*rbacv1.RoleBinding]{
			defaults: defaults.RoleBinding, validate: validate.RoleBinding, update: validate.RoleBindingUpdate,
			table: columns.RoleBindings(),
		}),
		typed(Kind{GroupVersionKind: rbac("Role"), Plural: "roles", Namespaced: true}, rules[*rbacv1.Role]{
			validate: validate.Role, update: validate.RoleUpdate, table: columns.Roles(),
		}),
	}
}

func rbac(kind string) schema.GroupVersionKind { return rbacv1.SchemeGroupVersion.WithKind(kind) }
