package validate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// LimitRange validates a LimitRange: names, and that its amounts go together.
func LimitRange(l *corev1.LimitRange) field.ErrorList {
	errs := metadata(&l.ObjectMeta, validation.NameIsDNSSubdomain)
	seen := map[corev1.LimitType]bool{}
	for i := range l.Spec.Limits {
		item, p := &l.Spec.Limits[i], root("spec").Child("limits").Index(i)
		errs = append(errs, limitType(item.Type, p.Child("type"))...)
		if seen[item.Type] {
			errs = append(errs, field.Duplicate(p.Child("type"), item.Type))
		}
		seen[item.Type] = true
		errs = append(errs, limitItem(item, p)...)
	}
	return errs
}

// LimitRangeUpdate lets all change.
func LimitRangeUpdate(new, old *corev1.LimitRange) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), LimitRange(new)...)
}

func limitType(t corev1.LimitType, path *field.Path) field.ErrorList {
	if errs := invalid(path, t, valid.IsQualifiedName(string(t))); len(errs) > 0 {
		return errs
	}
	switch t {
	case corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim:
	default:
		if !strings.Contains(string(t), "/") {
			return field.ErrorList{field.Invalid(path, t, "must be a standard limit type or fully qualified")}
		}
	}
	return nil
}

func limitItem(item *corev1.LimitRangeItem, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	name := resourceName
	if item.Type == corev1.LimitTypePod || item.Type == corev1.LimitTypeContainer {
		name = containerResource
	}
	lists := []struct {
		field string
		list  corev1.ResourceList
	}{{"max", item.Max}, {"min", item.Min}, {"default", item.Default}, {"defaultRequest", item.DefaultRequest}, {"maxLimitRequestRatio", item.MaxLimitRequestRatio}}
	keys := map[corev1.ResourceName]bool{}
	for i, l := range lists {
		if item.Type == corev1.LimitTypePod && (i == 2 || i == 3) {
			if len(l.list) > 0 {
				errs = append(errs, field.Forbidden(path.Child(l.field), "may not be specified when `type` is 'Pod'"))
			}
			continue
		}
		for _, n := range sortedNames(l.list) {
			errs = append(errs, name(n, path.Child(l.field).Key(string(n)))...)
			keys[n] = true
		}
	}
	if item.Type == corev1.LimitTypePersistentVolumeClaim && !has(item.Min, corev1.ResourceStorage) && !has(item.Max, corev1.ResourceStorage) {
		errs = append(errs, field.Required(path.Child("limits"), "either minimum or maximum storage value is required, but neither was provided"))
	}
	for _, n := range sortedNames(keys) {
		errs = append(errs, limitsOrdered(item, n, path)...)
		errs = append(errs, limitRatio(item, n, path)...)
	}
	return errs
}

// limitsOrdered wants the least, the default request, the default limit and the most of a resource in this order.
func limitsOrdered(item *corev1.LimitRangeItem, name corev1.ResourceName, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	inOrder := func(less, more corev1.ResourceList, at string, of corev1.ResourceList, message string) {
		a, b := less[name], more[name]
		if has(less, name) && has(more, name) && a.Cmp(b) > 0 {
			value := of[name]
			errs = append(errs, field.Invalid(path.Child(at).Key(string(name)), value.String(), fmt.Sprintf(message, a.String(), b.String())))
		}
	}
	inOrder(item.Min, item.Max, "min", item.Min, "min value %s is greater than max value %s")
	if item.Type == corev1.LimitTypePod {
		return errs
	}
	inOrder(item.Min, item.DefaultRequest, "defaultRequest", item.DefaultRequest, "min value %s is greater than default request value %s")
	inOrder(item.DefaultRequest, item.Max, "defaultRequest", item.DefaultRequest, "default request value %s is greater than max value %s")
	inOrder(item.DefaultRequest, item.Default, "defaultRequest", item.DefaultRequest, "default request value %s is greater than default limit value %s")
	inOrder(item.Min, item.Default, "default", item.Min, "min value %s is greater than default value %s")
	inOrder(item.Default, item.Max, "default", item.Max, "default value %s is greater than max value %s")
	limit, request := item.Default[name], item.DefaultRequest[name]
	if !overcommitted(name) && has(item.Default, name) && has(item.DefaultRequest, name) && limit.Cmp(request) != 0 {
		errs = append(errs, field.Invalid(path.Child("defaultRequest").Key(string(name)), request.String(),
			fmt.Sprintf("default value %s must equal to defaultRequest value %s in %s", limit.String(), request.String(), name)))
	}
	return errs
}

func limitRatio(item *corev1.LimitRangeItem, name corev1.ResourceName, path *field.Path) field.ErrorList {
	ratio, ok := item.MaxLimitRequestRatio[name]
	if !ok {
		return nil
	}
	var errs field.ErrorList
	p := path.Child("maxLimitRequestRatio").Key(string(name))
	if ratio.Cmp(resource.MustParse("1")) < 0 {
		errs = append(errs, field.Invalid(p, ratio.String(), fmt.Sprintf("ratio %s is less than 1", ratio.String())))
	}
	if !has(item.Min, name) || !has(item.Max, name) {
		return errs
	}
	least, most := item.Min[name], item.Max[name]
	if limit := most.AsApproximateFloat64() / least.AsApproximateFloat64(); ratio.AsApproximateFloat64() > limit {
		errs = append(errs, field.Invalid(p, ratio.String(), fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), limit)))
	}
	return errs
}

func has(l corev1.ResourceList, name corev1.ResourceName) bool {
	_, ok := l[name]
	return ok
}

func sortedNames[V any](m map[corev1.ResourceName]V) []corev1.ResourceName {
	names := make([]corev1.ResourceName, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// resourceName wants a name of Kubernetes' own, or one with a domain.
func resourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	if errs := labelKey(string(name), path); len(errs) > 0 {
		return errs
	}
	switch {
	case strings.Contains(string(name), "/"), quotaName(name), name == corev1.ResourceStorage:
		return nil
	}
	return field.ErrorList{field.Invalid(path, name, "must be a standard resource type or fully qualified")}
}

const systemPriorityPrefix = "system-"

// highestUserPriority is the highest value of a class that is not the system's.
const highestUserPriority = int32(1_000_000_000)

// PriorityClass validates a PriorityClass. system tells the value of the classes that every cluster has.
func PriorityClass(system func(string) (int32, bool)) func(*schedulingv1.PriorityClass) field.ErrorList {
	return func(c *schedulingv1.PriorityClass) field.ErrorList {
		errs := clusterMetadata(&c.ObjectMeta, validation.NameIsDNSSubdomain)
		if strings.HasPrefix(c.Name, systemPriorityPrefix) {
			why := ""
			switch value, ok := system(c.Name); {
			case !ok:
				why = fmt.Sprintf("%v is not a known system priority class", c.Name)
			case c.Value != value:
				why = fmt.Sprintf("value of %v PriorityClass must be %v", c.Name, value)
			case c.GlobalDefault:
				why = fmt.Sprintf("globalDefault of %v PriorityClass must be %v", c.Name, false)
			}
			if why != "" {
				errs = append(errs, field.Forbidden(root("metadata").Child("name"),
					"priority class names with '"+systemPriorityPrefix+"' prefix are reserved for system use only. error: "+why))
			}
		} else if c.Value > highestUserPriority {
			errs = append(errs, field.Forbidden(root("value"), fmt.Sprintf("maximum allowed value of a user defined priority is %v", highestUserPriority)))
		}
		return append(errs, maybe(c.PreemptionPolicy, root("preemptionPolicy"), corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
}

// PriorityClassUpdate keeps what pods were given.
func PriorityClassUpdate(new, old *schedulingv1.PriorityClass) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	if new.Value != old.Value {
		errs = append(errs, field.Forbidden(root("value"), "may not be changed in an update."))
	}
	return append(errs, immutable(new.PreemptionPolicy, old.PreemptionPolicy, root("preemptionPolicy"))...)
}
