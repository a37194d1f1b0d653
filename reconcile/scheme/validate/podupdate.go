package validate

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const podUpdates = "pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, " +
	"`spec.activeDeadlineSeconds`, `spec.tolerations` (only additions to existing tolerations), `spec.schedulingGates` (only removals)"

// PodUpdate refuses to change what a pod that exists is made of, but for the little that its node can follow.
func (v Rules) PodUpdate(new, old *corev1.Pod) field.ErrorList {
	path := root("spec")
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	if len(new.Spec.Containers) != len(old.Spec.Containers) {
		return append(errs, field.Forbidden(path.Child("containers"), "pod updates may not add or remove containers"))
	}
	if len(new.Spec.InitContainers) != len(old.Spec.InitContainers) {
		return append(errs, field.Forbidden(path.Child("initContainers"), "pod updates may not add or remove containers"))
	}
	errs = append(errs, allowedUpdates(&new.Spec, &old.Spec, path)...)
	rest := withAllowed(&new.Spec, &old.Spec)
	for _, p := range changed(rest, old.Spec, path) {
		errs = append(errs, field.Forbidden(p, podUpdates))
	}
	return errs
}

// allowedUpdates validates the changes that are allowed.
func allowedUpdates(new, old *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range new.Containers {
		errs = append(errs, image(new.Containers[i].Image, path.Child("containers").Index(i).Child("image"))...)
	}
	for i := range new.InitContainers {
		errs = append(errs, image(new.InitContainers[i].Image, path.Child("initContainers").Index(i).Child("image"))...)
	}
	errs = append(errs, deadlineUpdate(new.ActiveDeadlineSeconds, old.ActiveDeadlineSeconds, path.Child("activeDeadlineSeconds"))...)
	if !same(new.Tolerations, old.Tolerations) {
		p := path.Child("tolerations")
		for _, t := range old.Tolerations {
			kept := slices.ContainsFunc(new.Tolerations, func(n corev1.Toleration) bool {
				n.TolerationSeconds, t.TolerationSeconds = nil, nil
				return n == t
			})
			if !kept {
				errs = append(errs, field.Forbidden(p, "existing toleration can not be modified except its tolerationSeconds"))
				break
			}
		}
		errs = append(errs, tolerations(new.Tolerations, p)...)
	}
	for i, g := range new.SchedulingGates {
		if !slices.Contains(old.SchedulingGates, g) {
			errs = append(errs, field.Forbidden(path.Child("schedulingGates").Index(i).Child("name"), "only deletion is allowed, but found new scheduling gate '"+g.Name+"'"))
		}
	}
	return errs
}

func deadlineUpdate(new, old *int64, path *field.Path) field.ErrorList {
	switch {
	case new == nil && old != nil:
		return field.ErrorList{field.Invalid(path, new, "must not update from a positive integer to nil value")}
	case new == nil:
		return nil
	case *new < 0 || *new > math.MaxInt32:
		return field.ErrorList{field.Invalid(path, *new, valid.InclusiveRangeError(0, math.MaxInt32))}
	case old != nil && *old < *new:
		return field.ErrorList{field.Invalid(path, *new, "must be less than or equal to previous value")}
	}
	return nil
}

// withAllowed is new, in which what may change is as in old.
func withAllowed(new, old *corev1.PodSpec) corev1.PodSpec {
	c := *new.DeepCopy()
	for i := range c.Containers {
		c.Containers[i].Image = old.Containers[i].Image
	}
	for i := range c.InitContainers {
		c.InitContainers[i].Image = old.InitContainers[i].Image
	}
	c.ActiveDeadlineSeconds, c.Tolerations, c.SchedulingGates = old.ActiveDeadlineSeconds, old.Tolerations, old.SchedulingGates
	if g := old.TerminationGracePeriodSeconds; g != nil && *g < 0 && c.TerminationGracePeriodSeconds != nil && *c.TerminationGracePeriodSeconds == 1 {
		c.TerminationGracePeriodSeconds = g
	}
	return c
}
