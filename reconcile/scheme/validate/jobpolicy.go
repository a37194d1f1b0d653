package validate

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mainstay-gitops/mainstay/reconcile/indexes"
)

// The limits of the policies of a Job.
const (
	mostRules             = 20
	mostExitCodes         = 255
	mostConditions        = 20
	longestSuccessIndexes = 64 << 10
)

// quoted is oneOf with the values quoted, as Kubernetes does for the policies of Jobs.
func quoted[T ~string](value T, path *field.Path, list ...T) field.ErrorList {
	slices.Sort(list)
	if value == "" {
		return field.ErrorList{field.Required(path, fmt.Sprintf("valid values: %q", list))}
	}
	return maybe(&value, path, list...)
}

func failurePolicy(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	if s.PodFailurePolicy == nil {
		return nil
	}
	path = path.Child("rules")
	var errs field.ErrorList
	if n := len(s.PodFailurePolicy.Rules); n > mostRules {
		errs = append(errs, field.TooMany(path, n, mostRules))
	}
	for i := range s.PodFailurePolicy.Rules {
		errs = append(errs, failureRule(s, &s.PodFailurePolicy.Rules[i], path.Index(i))...)
	}
	return errs
}

func failureRule(s *batchv1.JobSpec, r *batchv1.PodFailurePolicyRule, path *field.Path) field.ErrorList {
	errs := quoted(r.Action, path.Child("action"), batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
		batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore)
	if r.Action == batchv1.PodFailurePolicyActionFailIndex && s.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Invalid(path.Child("action"), r.Action, "requires the backoffLimitPerIndex to be set"))
	}
	if r.OnExitCodes != nil {
		errs = append(errs, onExitCodes(s, r.OnExitCodes, path.Child("onExitCodes"))...)
	}
	if len(r.OnPodConditions) > 0 {
		errs = append(errs, onConditions(r.OnPodConditions, path.Child("onPodConditions"))...)
	}
	switch both, neither := r.OnExitCodes != nil && len(r.OnPodConditions) > 0, r.OnExitCodes == nil && len(r.OnPodConditions) == 0; {
	case both:
		errs = append(errs, field.Invalid(path, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported"))
	case neither:
		errs = append(errs, field.Invalid(path, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required"))
	}
	return errs
}

func onExitCodes(s *batchv1.JobSpec, r *batchv1.PodFailurePolicyOnExitCodesRequirement, path *field.Path) field.ErrorList {
	errs := quoted(r.Operator, path.Child("operator"), batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn)
	if name := r.ContainerName; name != nil {
		known := slices.ContainsFunc(slices.Concat(s.Template.Spec.Containers, s.Template.Spec.InitContainers),
			func(c corev1.Container) bool { return c.Name == *name })
		if !known {
			errs = append(errs, field.Invalid(path.Child("containerName"), *name, "must be one of the container or initContainer names in the pod template"))
		}
	}
	path = path.Child("values")
	if n := len(r.Values); n == 0 {
		errs = append(errs, field.Invalid(path, r.Values, "at least one value is required"))
	} else if n > mostExitCodes {
		errs = append(errs, field.TooMany(path, n, mostExitCodes))
	}
	for i, code := range r.Values {
		if r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn && code == 0 {
			errs = append(errs, field.Invalid(path.Index(i), code, "must not be 0 for the In operator"))
		}
		if slices.Contains(r.Values[:i], code) {
			errs = append(errs, field.Duplicate(path.Index(i), code))
		}
	}
	if !slices.IsSorted(r.Values) {
		errs = append(errs, field.Invalid(path, r.Values, "must be ordered"))
	}
	return errs
}

func onConditions(patterns []batchv1.PodFailurePolicyOnPodConditionsPattern, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if n := len(patterns); n > mostConditions {
		errs = append(errs, field.TooMany(path, n, mostConditions))
	}
	for i, p := range patterns {
		errs = append(errs, invalid(path.Index(i).Child("type"), string(p.Type), valid.IsQualifiedName(string(p.Type)))...)
		errs = append(errs, quoted(p.Status, path.Index(i).Child("status"), corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)...)
	}
	return errs
}

func replacementPolicy(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	if s.PodFailurePolicy != nil {
		return maybe(s.PodReplacementPolicy, path, batchv1.Failed)
	}
	return maybe(s.PodReplacementPolicy, path, batchv1.Failed, batchv1.TerminatingOrFailed)
}

func successPolicy(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	switch {
	case s.SuccessPolicy == nil:
		return nil
	case !indexed(s):
		return field.ErrorList{field.Invalid(path, *s.SuccessPolicy, "requires indexed completion mode")}
	case s.Completions == nil:
		return nil // which is an error already
	}
	path = path.Child("rules")
	var errs field.ErrorList
	if n := len(s.SuccessPolicy.Rules); n == 0 {
		errs = append(errs, field.Required(path, "at least one rules must be specified when the successPolicy is specified"))
	} else if n > mostRules {
		errs = append(errs, field.TooMany(path, n, mostRules))
	}
	for i := range s.SuccessPolicy.Rules {
		errs = append(errs, successRule(&s.SuccessPolicy.Rules[i], *s.Completions, path.Index(i))...)
	}
	return errs
}

func successRule(r *batchv1.SuccessPolicyRule, completions int32, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if r.SucceededCount == nil && r.SucceededIndexes == nil {
		errs = append(errs, field.Required(path, "at least one of succeededCount or succeededIndexes must be specified"))
	}
	var named indexes.Set
	if text := r.SucceededIndexes; text != nil {
		path := path.Child("succeededIndexes")
		if len(*text) > longestSuccessIndexes {
			errs = append(errs, field.TooLong(path, "", longestSuccessIndexes))
		}
		var err error
		if named, err = indexes.Parse(*text, int(completions)); err != nil {
			errs = append(errs, field.Invalid(path, *text, "error parsing succeededIndexes: "+err.Error()))
		}
	}
	if n := r.SucceededCount; n != nil {
		path := path.Child("succeededCount")
		errs = append(errs, notNegative(*n, path)...)
		if *n > completions {
			errs = append(errs, field.Invalid(path, *n, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", completions)))
		}
		if r.SucceededIndexes != nil && int(*n) > named.Len() {
			errs = append(errs, field.Invalid(path, *n, fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", named.Len())))
		}
	}
	return errs
}
