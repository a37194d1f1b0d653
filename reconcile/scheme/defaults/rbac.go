package defaults

import rbacv1 "k8s.io/api/rbac/v1"

// RoleBinding fills in the API groups that people leave out.
func RoleBinding(b *rbacv1.RoleBinding) { binding(&b.RoleRef, b.Subjects) }

// ClusterRoleBinding fills in the API groups that people leave out.
func ClusterRoleBinding(b *rbacv1.ClusterRoleBinding) { binding(&b.RoleRef, b.Subjects) }

func binding(role *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	if role.APIGroup == "" {
		role.APIGroup = rbacv1.GroupName
	}
	for i := range subjects {
		s := &subjects[i]
		if s.APIGroup == "" && (s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind) {
			s.APIGroup = rbacv1.GroupName
		}
	}
}
