package validate

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Role validates a Role.
func Role(r *rbacv1.Role) field.ErrorList {
	return append(metadata(&r.ObjectMeta, pathSegment), policyRules(r.Rules, true)...)
}

// RoleUpdate validates an update.
func RoleUpdate(new, old *rbacv1.Role) field.ErrorList {
	return append(Role(new), metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)...)
}

// ClusterRole validates a ClusterRole.
func ClusterRole(r *rbacv1.ClusterRole) field.ErrorList {
	return clusterRole(r, metavalidation.LabelSelectorValidationOptions{})
}

func clusterRole(r *rbacv1.ClusterRole, opts metavalidation.LabelSelectorValidationOptions) field.ErrorList {
	errs := append(clusterMetadata(&r.ObjectMeta, pathSegment), policyRules(r.Rules, false)...)
	if r.AggregationRule == nil {
		return errs
	}
	path := root("aggregationRule").Child("clusterRoleSelectors")
	if len(r.AggregationRule.ClusterRoleSelectors) == 0 {
		errs = append(errs, field.Required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
	}
	for i := range r.AggregationRule.ClusterRoleSelectors {
		s := &r.AggregationRule.ClusterRoleSelectors[i]
		errs = append(errs, metavalidation.ValidateLabelSelector(s, opts, path.Index(i))...)
		if parsed, err := metav1.LabelSelectorAsSelector(s); err != nil {
			errs = append(errs, field.Invalid(path.Index(i), parsed, "invalid label selector."))
		}
	}
	return errs
}

// ClusterRoleUpdate validates an update. Values of selectors that were wrong before may stay.
func ClusterRoleUpdate(new, old *rbacv1.ClusterRole) field.ErrorList {
	lax := false
	if old.AggregationRule != nil {
		for i := range old.AggregationRule.ClusterRoleSelectors {
			strict := metavalidation.LabelSelectorValidationOptions{}
			lax = lax || len(metavalidation.ValidateLabelSelector(&old.AggregationRule.ClusterRoleSelectors[i], strict, nil)) > 0
		}
	}
	errs := clusterRole(new, metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: lax})
	return append(errs, metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)...)
}

func policyRules(rules []rbacv1.PolicyRule, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	for i := range rules {
		errs = append(errs, policyRule(&rules[i], namespaced, root("rules").Index(i))...)
	}
	return errs
}

func policyRule(r *rbacv1.PolicyRule, namespaced bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(r.Verbs) == 0 {
		errs = append(errs, field.Required(path.Child("verbs"), "verbs must contain at least one value"))
	}
	if len(r.NonResourceURLs) > 0 {
		urls := path.Child("nonResourceURLs")
		if namespaced {
			errs = append(errs, field.Invalid(urls, r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs"))
		}
		if len(r.APIGroups) > 0 || len(r.Resources) > 0 || len(r.ResourceNames) > 0 {
			errs = append(errs, field.Invalid(urls, r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"))
		}
		return errs
	}
	if len(r.APIGroups) == 0 {
		errs = append(errs, field.Required(path.Child("apiGroups"), "resource rules must supply at least one api group"))
	}
	if len(r.Resources) == 0 {
		errs = append(errs, field.Required(path.Child("resources"), "resource rules must supply at least one resource"))
	}
	return errs
}

// RoleBinding validates a RoleBinding.
func RoleBinding(b *rbacv1.RoleBinding) field.ErrorList {
	errs := append(metadata(&b.ObjectMeta, pathSegment), roleRef(&b.RoleRef, "Role", "ClusterRole")...)
	return append(errs, subjects(b.Subjects, true)...)
}

// RoleBindingUpdate keeps the role that is bound.
func RoleBindingUpdate(new, old *rbacv1.RoleBinding) field.ErrorList {
	errs := append(RoleBinding(new), metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)...)
	return append(errs, immutable(new.RoleRef, old.RoleRef, root("roleRef"))...)
}

// ClusterRoleBinding validates a ClusterRoleBinding.
func ClusterRoleBinding(b *rbacv1.ClusterRoleBinding) field.ErrorList {
	errs := append(clusterMetadata(&b.ObjectMeta, pathSegment), roleRef(&b.RoleRef, "ClusterRole")...)
	return append(errs, subjects(b.Subjects, false)...)
}

// ClusterRoleBindingUpdate keeps the role that is bound.
func ClusterRoleBindingUpdate(new, old *rbacv1.ClusterRoleBinding) field.ErrorList {
	errs := append(ClusterRoleBinding(new), metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)...)
	return append(errs, immutable(new.RoleRef, old.RoleRef, root("roleRef"))...)
}

func roleRef(r *rbacv1.RoleRef, kinds ...string) field.ErrorList {
	path := root("roleRef")
	errs := only(path.Child("apiGroup"), r.APIGroup, rbacv1.GroupName)
	errs = append(errs, only(path.Child("kind"), r.Kind, kinds...)...)
	if r.Name == "" {
		return append(errs, field.Required(path.Child("name"), ""))
	}
	return append(errs, invalid(path.Child("name"), r.Name, pathSegment(r.Name, false))...)
}

// only refuses a value that is not in list, also an empty one. The list is shown in its order.
func only(path *field.Path, value string, list ...string) field.ErrorList {
	for _, v := range list {
		if v == value {
			return nil
		}
	}
	return field.ErrorList{field.NotSupported(path, value, list)}
}

func subjects(all []rbacv1.Subject, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	for i := range all {
		errs = append(errs, subject(&all[i], namespaced, root("subjects").Index(i))...)
	}
	return errs
}

func subject(s *rbacv1.Subject, namespaced bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		if s.Name != "" {
			errs = append(errs, invalid(path.Child("name"), s.Name, validation.ValidateServiceAccountName(s.Name, false))...)
		}
		errs = append(errs, only(path.Child("apiGroup"), s.APIGroup, "")...)
		if !namespaced && s.Namespace == "" {
			errs = append(errs, field.Required(path.Child("namespace"), ""))
		}
	case rbacv1.UserKind, rbacv1.GroupKind:
		errs = append(errs, only(path.Child("apiGroup"), s.APIGroup, rbacv1.GroupName)...)
	default:
		errs = append(errs, only(path.Child("kind"), s.Kind, rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind)...)
	}
	return errs
}
