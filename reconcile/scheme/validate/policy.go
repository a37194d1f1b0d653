package validate

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// PodDisruptionBudget validates a new PodDisruptionBudget.
func PodDisruptionBudget(b *policyv1.PodDisruptionBudget) field.ErrorList {
	return append(metadata(&b.ObjectMeta, func(name string, _ bool) []string { return content.IsPathSegmentName(name) }), budgetSpec(&b.Spec)...)
}

// PodDisruptionBudgetUpdate validates a PodDisruptionBudget that is there, of which all may change.
func PodDisruptionBudgetUpdate(new, old *policyv1.PodDisruptionBudget) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), budgetSpec(&new.Spec)...)
}

func budgetSpec(s *policyv1.PodDisruptionBudgetSpec) field.ErrorList {
	path := root("spec")
	var errs field.ErrorList
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(path, *s, "minAvailable and maxUnavailable cannot be both set"))
	}
	errs = append(errs, budgetShare(s.MinAvailable, path.Child("minAvailable"))...)
	errs = append(errs, budgetShare(s.MaxUnavailable, path.Child("maxUnavailable"))...)
	errs = append(errs, selector(s.Selector, path.Child("selector"))...)
	return append(errs, maybe(s.UnhealthyPodEvictionPolicy, path.Child("unhealthyPodEvictionPolicy"), policyv1.AlwaysAllow, policyv1.IfHealthyBudget)...)
}

func budgetShare(v *intstr.IntOrString, path *field.Path) field.ErrorList {
	if v == nil {
		return nil
	}
	errs := countOrPercent(*v, path)
	if n, ok := percent(*v); ok && n > 100 {
		errs = append(errs, field.Invalid(path, *v, "must not be greater than 100%"))
	}
	return errs
}

// PodDisruptionBudgetStatusUpdate validates the counts.
func PodDisruptionBudgetStatusUpdate(new, old *policyv1.PodDisruptionBudget) field.ErrorList {
	s, path := &new.Status, root("status")
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, metavalidation.ValidateConditions(s.Conditions, path.Child("conditions"))...)
	errs = append(errs, notNegative(s.DisruptionsAllowed, path.Child("disruptionsAllowed"))...)
	errs = append(errs, notNegative(s.CurrentHealthy, path.Child("currentHealthy"))...)
	errs = append(errs, notNegative(s.DesiredHealthy, path.Child("desiredHealthy"))...)
	return append(errs, notNegative(s.ExpectedPods, path.Child("expectedPods"))...)
}
