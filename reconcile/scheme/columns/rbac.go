package columns

import (
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// plain shows when objects were created: what Kubernetes shows of kinds that have no columns of their own.
func plain[T metav1.Object]() Table[T] {
	h := header("Name,Created At:date")
	return Table[T]{h, func(o T, _ time.Time) []any {
		return []any{o.GetName(), o.GetCreationTimestamp().UTC().Format(time.RFC3339)}
	}}
}

// Roles shows when they were created.
func Roles() Table[*rbacv1.Role] { return plain[*rbacv1.Role]() }

// ClusterRoles shows when they were created.
func ClusterRoles() Table[*rbacv1.ClusterRole] { return plain[*rbacv1.ClusterRole]() }

const bindingHeader = "Name,Role,Age,Users*,Groups*,ServiceAccounts*"

// RoleBindings shows what is bound to whom.
func RoleBindings() Table[*rbacv1.RoleBinding] {
	return Table[*rbacv1.RoleBinding]{header(bindingHeader), func(b *rbacv1.RoleBinding, now time.Time) []any {
		return binding(b, &b.RoleRef, b.Subjects, now)
	}}
}

// ClusterRoleBindings shows what is bound to whom.
func ClusterRoleBindings() Table[*rbacv1.ClusterRoleBinding] {
	return Table[*rbacv1.ClusterRoleBinding]{header(bindingHeader), func(b *rbacv1.ClusterRoleBinding, now time.Time) []any {
		return binding(b, &b.RoleRef, b.Subjects, now)
	}}
}

func binding(o metav1.Object, role *rbacv1.RoleRef, subjects []rbacv1.Subject, now time.Time) []any {
	var users, groups, accounts []string
	for _, s := range subjects {
		switch s.Kind {
		case rbacv1.UserKind:
			users = append(users, s.Name)
		case rbacv1.GroupKind:
			groups = append(groups, s.Name)
		case rbacv1.ServiceAccountKind:
			name := s.Name
			if s.Namespace != "" {
				name = s.Namespace + "/" + name
			}
			accounts = append(accounts, name)
		}
	}
	return []any{
		o.GetName(), role.Kind + "/" + role.Name, created(o, now),
		strings.Join(users, ", "), strings.Join(groups, ", "), strings.Join(accounts, ", "),
	}
}
