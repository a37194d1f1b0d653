package validate

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ResourceQuota validates a ResourceQuota.
func ResourceQuota(q *corev1.ResourceQuota) field.ErrorList {
	errs := metadata(&q.ObjectMeta, validation.NameIsDNSSubdomain)
	return append(errs, quotaSpec(&q.Spec)...)
}

// ResourceQuotaUpdate keeps the scopes.
func ResourceQuotaUpdate(new, old *corev1.ResourceQuota) field.ErrorList {
	errs := append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), quotaSpec(&new.Spec)...)
	sorted := func(q *corev1.ResourceQuota) []corev1.ResourceQuotaScope {
		return slices.Compact(slices.Sorted(slices.Values(q.Spec.Scopes)))
	}
	if !slices.Equal(sorted(new), sorted(old)) {
		errs = append(errs, field.Invalid(root("spec").Child("scopes"), new.Spec.Scopes, "field is immutable"))
	}
	return errs
}

// ResourceQuotaStatusUpdate validates what is said to be used.
func ResourceQuotaStatusUpdate(new, old *corev1.ResourceQuota) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, quotaAmounts(new.Status.Hard, root("status").Child("hard"))...)
	return append(errs, quotaAmounts(new.Status.Used, root("status").Child("used"))...)
}

func quotaAmounts(l corev1.ResourceList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range sortedNames(l) {
		p, q := path.Key(string(name)), l[name]
		errs = append(errs, resourceName(name, p)...)
		if !strings.Contains(string(name), "/") && !quotaName(name) {
			errs = append(errs, field.Invalid(p, name, "must be a standard resource for quota"))
		}
		if q.Sign() < 0 {
			errs = append(errs, field.Invalid(p, q.String(), "must be greater than or equal to 0"))
		}
		if (slices.Contains(quotaCounts(), name) || !native(name)) && q.MilliValue()%1000 != 0 {
			errs = append(errs, field.Invalid(p, q.String(), "must be an integer"))
		}
	}
	return errs
}

// quotaCounts are the kinds that have names of their own in quotas.
func quotaCounts() []corev1.ResourceName {
	return []corev1.ResourceName{
		corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceSecrets,
		corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
	}
}

// podAmounts are what quotas count of pods.
func podAmounts() []corev1.ResourceName {
	return []corev1.ResourceName{
		corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
	}
}

func quotaName(name corev1.ResourceName) bool {
	others := []corev1.ResourceName{
		corev1.ResourceRequestsStorage, corev1.ResourceEphemeralStorage, corev1.ResourceRequestsEphemeralStorage, corev1.ResourceLimitsEphemeralStorage,
	}
	return slices.Contains(quotaCounts(), name) || slices.Contains(podAmounts(), name) || slices.Contains(others, name) ||
		strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) || strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

func quotaSpec(s *corev1.ResourceQuotaSpec) field.ErrorList {
	errs := quotaAmounts(s.Hard, root("spec").Child("hard"))
	path := root("spec").Child("scopes")
	for _, scope := range s.Scopes {
		if !quotaScope(scope) {
			errs = append(errs, field.Invalid(path, s.Scopes, "unsupported scope"))
		}
		if !scopeFits(scope, s.Hard) {
			errs = append(errs, field.Invalid(path, s.Scopes, "unsupported scope applied to resource"))
		}
	}
	errs = append(errs, scopesConflict(s.Scopes, s.Scopes, path)...)
	if s.ScopeSelector != nil {
		errs = append(errs, scopeSelector(s, root("spec").Child("scopeSelector").Child("matchExpressions"))...)
	}
	return errs
}

func scopeSelector(s *corev1.ResourceQuotaSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	var scopes []corev1.ResourceQuotaScope
	for _, r := range s.ScopeSelector.MatchExpressions {
		scopes = append(scopes, r.ScopeName)
		if !quotaScope(r.ScopeName) {
			errs = append(errs, field.Invalid(path.Child("scopeName"), r.ScopeName, "unsupported scope"))
		}
		if !scopeFits(r.ScopeName, s.Hard) {
			errs = append(errs, field.Invalid(path, s.ScopeSelector, "unsupported scope applied to resource"))
		}
		valued := r.ScopeName == corev1.ResourceQuotaScopePriorityClass || r.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass
		if !valued && quotaScope(r.ScopeName) && r.Operator != corev1.ScopeSelectorOpExists {
			errs = append(errs, field.Invalid(path.Child("operator"), r.Operator, "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, "+
				"ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"))
		}
		switch r.Operator {
		case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
			if len(r.Values) == 0 {
				errs = append(errs, field.Required(path.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"))
			}
		case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
			if len(r.Values) != 0 {
				errs = append(errs, field.Invalid(path.Child("values"), r.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"))
			}
		default:
			errs = append(errs, field.Invalid(path.Child("operator"), r.Operator, "not a valid selector operator"))
		}
	}
	return append(errs, scopesConflict(scopes, s.ScopeSelector, path)...)
}

func scopesConflict(scopes []corev1.ResourceQuotaScope, value any, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, pair := range [][2]corev1.ResourceQuotaScope{
		{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
		{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating},
	} {
		if slices.Contains(scopes, pair[0]) && slices.Contains(scopes, pair[1]) {
			errs = append(errs, field.Invalid(path, value, "conflicting scopes"))
		}
	}
	return errs
}

func quotaScope(s corev1.ResourceQuotaScope) bool {
	switch s {
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity, corev1.ResourceQuotaScopeVolumeAttributesClass:
		return true
	}
	return false
}

// scopeFits tells whether a scope can be had of all that is limited.
func scopeFits(scope corev1.ResourceQuotaScope, hard corev1.ResourceList) bool {
	var allowed []corev1.ResourceName
	switch scope {
	case corev1.ResourceQuotaScopeBestEffort:
		allowed = []corev1.ResourceName{corev1.ResourcePods}
	case corev1.ResourceQuotaScopeVolumeAttributesClass:
		allowed = []corev1.ResourceName{corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage}
	default:
		allowed = append(podAmounts(), corev1.ResourcePods)
	}
	for name := range hard {
		if quotaScope(scope) && quotaName(name) && !slices.Contains(allowed, name) {
			return false
		}
	}
	return true
}
