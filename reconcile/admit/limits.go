package admit

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	helper "k8s.io/component-helpers/resource"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// LimitedAnnotation tells on a pod what it got by default.
const LimitedAnnotation = "kubernetes.io/limit-ranger"

// limitRanges are those that count for r: none if it is about nothing that has limits.
func limitRanges(s *store.Snapshot, r *Request) iter.Seq[*corev1.LimitRange] {
	pod := r.Resource.Group == "" && r.Resource.Resource == "pods" &&
		(r.Subresource == "" && r.Operation == Create || r.Subresource == "resize" && r.Operation == Update)
	claim := r.is("", "persistentvolumeclaims") && (r.Operation == Create || r.Operation == Update)
	if !pod && !claim || !has[*corev1.LimitRange](s) {
		return func(func(*corev1.LimitRange) bool) {}
	}
	return store.List[*corev1.LimitRange](s, store.InNamespace(r.Namespace))
}

// limitDefaults gives the containers of a new pod the requests and limits that its namespace has for those that say none.
func limitDefaults(s *store.Snapshot, r *Request) error {
	p, ok := r.Object.(*corev1.Pod)
	if !ok {
		return nil
	}
	for l := range limitRanges(s, r) {
		limits, requests := corev1.ResourceList{}, corev1.ResourceList{}
		for _, item := range l.Spec.Limits {
			if item.Type == corev1.LimitTypeContainer {
				maps.Copy(limits, item.Default)
				maps.Copy(requests, item.DefaultRequest)
			}
		}
		var set []string
		for i := range p.Spec.Containers {
			set = append(set, limitContainer(&p.Spec.Containers[i], "container", limits, requests)...)
		}
		for i := range p.Spec.InitContainers {
			set = append(set, limitContainer(&p.Spec.InitContainers[i], "init container", limits, requests)...)
		}
		if len(set) > 0 {
			metav1.SetMetaDataAnnotation(&p.ObjectMeta, LimitedAnnotation, "LimitRanger plugin set: "+strings.Join(set, "; "))
		}
	}
	return nil
}

// limitContainer fills in what a container lacks, and says what that is.
func limitContainer(c *corev1.Container, what string, limits, requests corev1.ResourceList) []string {
	var said []string
	for _, part := range []struct {
		name string
		to   *corev1.ResourceList
		from corev1.ResourceList
	}{{"request", &c.Resources.Requests, requests}, {"limit", &c.Resources.Limits, limits}} {
		var set []string
		for _, name := range names(part.from) {
			if _, ok := (*part.to)[name]; ok {
				continue
			}
			if *part.to == nil {
				*part.to = corev1.ResourceList{}
			}
			(*part.to)[name] = part.from[name].DeepCopy()
			set = append(set, string(name))
		}
		if len(set) > 0 {
			said = append(said, fmt.Sprintf("%s %s for %s %s", strings.Join(set, ", "), part.name, what, c.Name))
		}
	}
	return said
}

func names(l corev1.ResourceList) []corev1.ResourceName { return slices.Sorted(maps.Keys(l)) }

// withinLimits refuses what asks for less or more than its namespace allows.
func withinLimits(s *store.Snapshot, r *Request) error {
	for l := range limitRanges(s, r) {
		var errs []error
		for _, item := range l.Spec.Limits {
			switch o := r.Object.(type) {
			case *corev1.Pod:
				errs = append(errs, podWithin(&item, o)...)
			case *corev1.PersistentVolumeClaim:
				errs = append(errs, claimWithin(&item, o)...)
			}
		}
		if err := utilerrors.NewAggregate(errs); err != nil {
			return r.forbid(err)
		}
	}
	return nil
}

func podWithin(item *corev1.LimitRangeItem, p *corev1.Pod) []error {
	var errs []error
	switch item.Type {
	case corev1.LimitTypeContainer:
		for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
			for _, c := range list {
				errs = append(errs, amountsWithin(item, c.Resources.Requests, c.Resources.Limits)...)
			}
		}
	case corev1.LimitTypePod:
		o := helper.PodResourcesOptions{ExcludeOverhead: true}
		errs = amountsWithin(item, helper.PodRequests(p, o), helper.PodLimits(p, o))
	}
	return errs
}

func amountsWithin(item *corev1.LimitRangeItem, requests, limits corev1.ResourceList) []error {
	var errs []error
	each := func(l corev1.ResourceList, check func(kind, name string, bound resource.Quantity, request, limit amount) error) {
		for _, name := range names(l) {
			if err := check(string(item.Type), string(name), l[name], amountOf(requests, name), amountOf(limits, name)); err != nil {
				errs = append(errs, err)
			}
		}
	}
	each(item.Min, notLess)
	each(item.Max, notMore)
	each(item.MaxLimitRequestRatio, withinRatio)
	return errs
}

func claimWithin(item *corev1.LimitRangeItem, c *corev1.PersistentVolumeClaim) []error {
	if item.Type != corev1.LimitTypePersistentVolumeClaim {
		return nil
	}
	var errs []error
	kind := string(item.Type)
	for _, name := range names(item.Min) {
		if err := notLess(kind, string(name), item.Min[name], amountOf(c.Spec.Resources.Requests, name), amount{}); err != nil {
			errs = append(errs, err)
		}
	}
	for _, name := range names(item.Max) {
		most, request := item.Max[name], amountOf(c.Spec.Resources.Requests, name)
		switch {
		case !request.said:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s.  No request is specified", name, kind, most.String()))
		case request.Cmp(most) > 0:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, kind, most.String(), request.String()))
		}
	}
	return errs
}

// amount is a quantity that may be missing.
type amount struct {
	resource.Quantity
	said bool
}

func amountOf(l corev1.ResourceList, name corev1.ResourceName) amount {
	q, ok := l[name]
	return amount{q, ok}
}

func notLess(kind, name string, least resource.Quantity, request, limit amount) error {
	switch {
	case !request.said:
		return fmt.Errorf("minimum %s usage per %s is %s.  No request is specified", name, kind, least.String())
	case request.Cmp(least) < 0:
		return fmt.Errorf("minimum %s usage per %s is %s, but request is %s", name, kind, least.String(), request.String())
	case limit.said && limit.Cmp(least) < 0:
		return fmt.Errorf("minimum %s usage per %s is %s, but limit is %s", name, kind, least.String(), limit.String())
	}
	return nil
}

func notMore(kind, name string, most resource.Quantity, request, limit amount) error {
	switch {
	case !limit.said:
		return fmt.Errorf("maximum %s usage per %s is %s.  No limit is specified", name, kind, most.String())
	case limit.Cmp(most) > 0:
		return fmt.Errorf("maximum %s usage per %s is %s, but limit is %s", name, kind, most.String(), limit.String())
	case request.said && request.Cmp(most) > 0:
		return fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, kind, most.String(), request.String())
	}
	return nil
}

func withinRatio(kind, name string, most resource.Quantity, request, limit amount) error {
	switch {
	case request.IsZero():
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no request is specified or request is 0", name, kind, most.String())
	case limit.IsZero():
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no limit is specified or limit is 0", name, kind, most.String())
	}
	if ratio := limit.AsApproximateFloat64() / request.AsApproximateFloat64(); ratio > most.AsApproximateFloat64() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but provided ratio is %f", name, kind, most.String(), ratio)
	}
	return nil
}
