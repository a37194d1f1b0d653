package validate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// resources validates what a container asks for, and what it may use.
func resources(r *corev1.ResourceRequirements, claims []corev1.PodResourceClaim, path *field.Path) field.ErrorList {
	errs := quantities(r.Limits, path.Child("limits"), containerResource)
	errs = append(errs, quantities(r.Requests, path.Child("requests"), containerResource)...)
	errs = append(errs, withinLimits(r, path)...)
	huge, usual := hugePages(r), asked(r, corev1.ResourceCPU) || asked(r, corev1.ResourceMemory)
	if huge && !usual {
		errs = append(errs, field.Forbidden(path, "HugePages require cpu or memory"))
	}
	known := map[string]bool{}
	for _, c := range claims {
		known[c.Name] = true
	}
	for i, c := range r.Claims {
		if !known[c.Name] {
			errs = append(errs, field.NotFound(path.Child("claims").Index(i), c.Name))
		}
	}
	return errs
}

// withinLimits wants no request above its limit, and the same of both where there is no more or less.
func withinLimits(r *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	requests := path.Child("requests")
	for _, name := range slices.Sorted(maps.Keys(r.Requests)) {
		request := r.Requests[name]
		limit, ok := r.Limits[name]
		switch {
		case !ok && !overcommitted(name):
			errs = append(errs, field.Required(path.Child("limits"), "Limit must be set for non overcommitable resources"))
		case ok && request.Cmp(limit) != 0 && !overcommitted(name):
			errs = append(errs, field.Invalid(requests, request.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		case ok && request.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(requests, request.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		}
	}
	return errs
}

// overcommitted tells whether more of it may be allowed than there is.
func overcommitted(name corev1.ResourceName) bool {
	return native(name) && !strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// native resources are Kubernetes' own, others extend it.
func native(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

func hugePages(r *corev1.ResourceRequirements) bool {
	for _, l := range []corev1.ResourceList{r.Limits, r.Requests} {
		for name := range l {
			if strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
				return true
			}
		}
	}
	return false
}

func asked(r *corev1.ResourceRequirements, name corev1.ResourceName) bool {
	_, limited := r.Limits[name]
	_, requested := r.Requests[name]
	return limited || requested
}

func quantities(l corev1.ResourceList, path *field.Path, name func(corev1.ResourceName, *field.Path) field.ErrorList) field.ErrorList {
	var errs field.ErrorList
	for _, n := range slices.Sorted(maps.Keys(l)) {
		p := path.Key(string(n))
		errs = append(errs, name(n, p)...)
		errs = append(errs, quantity(n, l[n], p)...)
	}
	return errs
}

func quantity(name corev1.ResourceName, q resource.Quantity, path *field.Path) field.ErrorList {
	if q.Cmp(resource.Quantity{}) < 0 {
		return field.ErrorList{field.Invalid(path, q.String(), "must be greater than or equal to 0")}
	}
	whole := !native(name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) || name == corev1.ResourcePods
	if whole && q.MilliValue()%1000 != 0 {
		return field.ErrorList{field.Invalid(path, q.String(), "must be an integer")}
	}
	return nil
}

func containerResource(name corev1.ResourceName, path *field.Path) field.ErrorList {
	if errs := labelKey(string(name), path); len(errs) > 0 {
		return errs
	}
	switch {
	case slices.Contains([]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}, name):
	case strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
	case !strings.Contains(string(name), "/"):
		return field.ErrorList{field.Invalid(path, name, "must be a standard resource for containers")}
	case native(name) || strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) || len(valid.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) > 0:
		return field.ErrorList{field.Invalid(path, name, "doesn't follow extended resource name standard")}
	}
	return nil
}

// podResources validates what a pod asks for as a whole, and what running it costs beside.
func podResources(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Overhead != nil {
		errs = append(errs, quantities(s.Overhead, path.Child("overhead"), containerResource)...)
	}
	if s.Resources != nil {
		p := path.Child("resources")
		errs = append(errs, resources(s.Resources, nil, p)...)
		errs = append(errs, coversContainers(s, p.Child("requests"))...)
	}
	seen := map[string]bool{}
	for i, c := range s.ResourceClaims {
		p := path.Child("resourceClaims").Index(i)
		errs = append(errs, invalid(p.Child("name"), c.Name, valid.IsDNS1123Label(c.Name))...)
		if seen[c.Name] {
			errs = append(errs, field.Duplicate(p.Child("name"), c.Name))
		}
		seen[c.Name] = true
		if (c.ResourceClaimName == nil) == (c.ResourceClaimTemplateName == nil) {
			errs = append(errs, field.Invalid(p, c.Name, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
		}
	}
	return errs
}

// coversContainers wants a pod to ask for at least what its containers ask for together.
func coversContainers(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(s.Resources.Requests)) {
		sum := resource.Quantity{}
		for _, c := range s.Containers {
			sum.Add(c.Resources.Requests[name])
		}
		if q := s.Resources.Requests[name]; q.Cmp(sum) < 0 {
			errs = append(errs, field.Invalid(path, q.String(), fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", sum.String())))
		}
	}
	return errs
}
