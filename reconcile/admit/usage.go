package admit

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	quota "k8s.io/apiserver/pkg/quota/v1"
	helper "k8s.io/component-helpers/resource"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const (
	countPrefix    = "count/"
	requestsPrefix = "requests."
	classInfix     = ".storageclass.storage.k8s.io/"
)

// countName is what quotas call the number of objects of a resource.
func countName(r schema.GroupResource) corev1.ResourceName {
	return corev1.ResourceName(countPrefix + r.String())
}

func one() resource.Quantity { return *resource.NewQuantity(1, resource.DecimalSI) }

// usage is what o, of that resource, takes of quotas, by the names that they have for it. A pod that has ended, or has been
// ending for longer at now than it was given, is only an object any more.
func usage(r schema.GroupResource, o store.Object, now time.Time) corev1.ResourceList {
	used := corev1.ResourceList{countName(r): one()}
	switch o := o.(type) {
	case *corev1.Pod:
		if !ended(o, now) {
			used[corev1.ResourcePods] = one()
			opts := helper.PodResourcesOptions{UseStatusResources: true}
			used = quota.Add(used, computed(helper.PodRequests(o, opts), helper.PodLimits(o, opts)))
		}
	case *corev1.Service:
		serviceUsage(used, &o.Spec)
	case *corev1.PersistentVolumeClaim:
		claimUsage(used, o)
	case *corev1.ConfigMap, *corev1.Secret, *corev1.ResourceQuota, *corev1.ReplicationController:
		used[corev1.ResourceName(r.Resource)] = one()
	}
	return used
}

func ended(p *corev1.Pod, now time.Time) bool {
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return true
	}
	// The deletion timestamp is the end of the grace period.
	return p.DeletionTimestamp != nil && p.DeletionGracePeriodSeconds != nil &&
		now.After(p.DeletionTimestamp.Add(time.Duration(*p.DeletionGracePeriodSeconds)*time.Second))
}

// computed are requests and limits by the names that quotas have for them.
func computed(requests, limits corev1.ResourceList) corev1.ResourceList {
	used := corev1.ResourceList{}
	for name, q := range requests {
		text := string(name)
		switch {
		case name == corev1.ResourceCPU, name == corev1.ResourceMemory, name == corev1.ResourceEphemeralStorage, strings.HasPrefix(text, corev1.ResourceHugePagesPrefix):
			used[name], used[corev1.ResourceName(requestsPrefix+text)] = q, q
		case strings.Contains(text, "/") && !strings.Contains(text, corev1.ResourceDefaultNamespacePrefix):
			used[corev1.ResourceName(requestsPrefix+text)] = q
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q, ok := limits[name]; ok {
			used["limits."+name] = q
		}
	}
	return used
}

func serviceUsage(used corev1.ResourceList, s *corev1.ServiceSpec) {
	used[corev1.ResourceServices] = one()
	ports := int64(len(s.Ports))
	switch {
	case s.Type == corev1.ServiceTypeLoadBalancer && s.AllocateLoadBalancerNodePorts != nil && !*s.AllocateLoadBalancerNodePorts:
		ports = 0
		for _, p := range s.Ports {
			if p.NodePort != 0 {
				ports++
			}
		}
	case s.Type != corev1.ServiceTypeNodePort && s.Type != corev1.ServiceTypeLoadBalancer:
		ports = 0
	}
	balancers := int64(0)
	if s.Type == corev1.ServiceTypeLoadBalancer {
		balancers = 1
	}
	used[corev1.ResourceServicesNodePorts] = *resource.NewQuantity(ports, resource.DecimalSI)
	used[corev1.ResourceServicesLoadBalancers] = *resource.NewQuantity(balancers, resource.DecimalSI)
}

func claimUsage(used corev1.ResourceList, c *corev1.PersistentVolumeClaim) {
	class, ok := c.Annotations[corev1.BetaStorageClassAnnotation]
	if !ok && c.Spec.StorageClassName != nil {
		class = *c.Spec.StorageClassName
	}
	add := func(name corev1.ResourceName, q resource.Quantity) {
		used[name] = q
		if class != "" {
			used[corev1.ResourceName(class+classInfix)+name] = q
		}
	}
	add(corev1.ResourcePersistentVolumeClaims, one())
	size, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return
	}
	if got, ok := c.Status.AllocatedResources[corev1.ResourceStorage]; ok && got.Cmp(size) > 0 {
		size = got
	}
	size = size.DeepCopy()
	size.RoundUp(0)
	add(corev1.ResourceRequestsStorage, size)
}

// counts tells whether what is of resource r can take of what quotas call name.
func counts(name corev1.ResourceName, r schema.GroupResource) bool {
	text := string(name)
	if strings.HasPrefix(text, countPrefix) {
		return name == countName(r)
	}
	if r.Group != "" {
		return false
	}
	claim := name == corev1.ResourceRequestsStorage || name == corev1.ResourcePersistentVolumeClaims || strings.Contains(text, classInfix)
	service := name == corev1.ResourceServices || strings.HasPrefix(text, "services.")
	plain := []corev1.ResourceName{corev1.ResourceConfigMaps, corev1.ResourceSecrets, corev1.ResourceQuotas, corev1.ResourceReplicationControllers}
	switch r.Resource {
	case "persistentvolumeclaims":
		return claim
	case "services":
		return service
	case "pods":
		return !claim && !service && !slices.Contains(plain, name)
	}
	return slices.Contains(plain, name) && text == r.Resource
}

// inScope tells whether a quota is about o.
func inScope(q *corev1.ResourceQuota, o store.Object) bool {
	for _, scope := range q.Spec.Scopes {
		if !matches(corev1.ScopedResourceSelectorRequirement{ScopeName: scope, Operator: corev1.ScopeSelectorOpExists}, o) {
			return false
		}
	}
	if q.Spec.ScopeSelector == nil {
		return true
	}
	for _, r := range q.Spec.ScopeSelector.MatchExpressions {
		if !matches(r, o) {
			return false
		}
	}
	return true
}

func matches(r corev1.ScopedResourceSelectorRequirement, o store.Object) bool {
	switch o := o.(type) {
	case *corev1.Pod:
		return podMatches(r, o)
	case *corev1.PersistentVolumeClaim:
		if r.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass {
			var names []string
			for _, n := range []*string{o.Spec.VolumeAttributesClassName, o.Status.CurrentVolumeAttributesClassName} {
				if n != nil && *n != "" {
					names = append(names, *n)
				}
			}
			return selects(r, names...)
		}
	}
	return false
}

func podMatches(r corev1.ScopedResourceSelectorRequirement, p *corev1.Pod) bool {
	ends := p.Spec.ActiveDeadlineSeconds != nil && *p.Spec.ActiveDeadlineSeconds >= 0
	switch r.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return ends
	case corev1.ResourceQuotaScopeNotTerminating:
		return !ends
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(p)
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(p)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return acrossNamespaces(p.Spec.Affinity)
	case corev1.ResourceQuotaScopePriorityClass:
		if p.Spec.PriorityClassName == "" {
			return selects(r)
		}
		return selects(r, p.Spec.PriorityClassName)
	}
	return false
}

// selects tells whether one of values, which may be none, is what r asks for.
func selects(r corev1.ScopedResourceSelectorRequirement, values ...string) bool {
	in := slices.ContainsFunc(values, func(v string) bool { return slices.Contains(r.Values, v) })
	switch r.Operator {
	case corev1.ScopeSelectorOpIn:
		return in
	case corev1.ScopeSelectorOpNotIn:
		return !in
	case corev1.ScopeSelectorOpDoesNotExist:
		return len(values) == 0
	}
	return len(values) > 0
}

// bestEffort: neither the pod nor any of its containers asks for anything.
func bestEffort(p *corev1.Pod) bool {
	if p.Status.QOSClass != "" {
		return p.Status.QOSClass == corev1.PodQOSBestEffort
	}
	asks := func(r corev1.ResourceRequirements) bool {
		for _, l := range []corev1.ResourceList{r.Requests, r.Limits} {
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				if q, ok := l[name]; ok && !q.IsZero() {
					return true
				}
			}
		}
		return false
	}
	if p.Spec.Resources != nil && asks(*p.Spec.Resources) {
		return false
	}
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		if slices.ContainsFunc(list, func(c corev1.Container) bool { return asks(c.Resources) }) {
			return false
		}
	}
	return true
}

func acrossNamespaces(a *corev1.Affinity) bool {
	if a == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	var weighed []corev1.WeightedPodAffinityTerm
	if x := a.PodAffinity; x != nil {
		terms, weighed = append(terms, x.RequiredDuringSchedulingIgnoredDuringExecution...), append(weighed, x.PreferredDuringSchedulingIgnoredDuringExecution...)
	}
	if x := a.PodAntiAffinity; x != nil {
		terms, weighed = append(terms, x.RequiredDuringSchedulingIgnoredDuringExecution...), append(weighed, x.PreferredDuringSchedulingIgnoredDuringExecution...)
	}
	for _, w := range weighed {
		terms = append(terms, w.PodAffinityTerm)
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil })
}
