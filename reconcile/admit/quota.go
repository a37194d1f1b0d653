package admit

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	quota "k8s.io/apiserver/pkg/quota/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// charge takes what r needs of the quotas of its namespace. It returns those that have less left then, as they are to be
// written: in the transaction that writes the object, so that nobody else takes the same. The error is an API status.
func (c *Chain) charge(s *store.Snapshot, r *Request) ([]*corev1.ResourceQuota, error) {
	o, ok := r.Object.(store.Object)
	if !ok || r.Namespace == "" || r.Operation != Create && r.Operation != Update || r.Subresource != "" && r.Subresource != "resize" || !has[*corev1.ResourceQuota](s) {
		return nil, nil
	}
	old, _ := r.Old.(store.Object)
	var all []*corev1.ResourceQuota
	for q := range store.List[*corev1.ResourceQuota](s, store.InNamespace(r.Namespace)) {
		if !inScope(q, o) {
			continue
		}
		if p, ok := o.(*corev1.Pod); ok && old == nil {
			if missing := unsaid(q, p); missing != "" {
				return nil, r.forbidf("failed quota: %s: must specify %s", q.Name, missing)
			}
		}
		needs := c.needs(q, r, o, old)
		if len(needs) == 0 {
			continue
		}
		q := q.DeepCopy()
		if !measured(q) {
			q.Status = corev1.ResourceQuotaStatus{Hard: q.Spec.Hard, Used: c.Used(s, q, time.Time{})}
		}
		if err := take(q, r, needs); err != nil {
			return nil, err
		}
		all = append(all, q)
	}
	return all, nil
}

// needs is what r takes of what q limits: for an update only what is more than before.
func (c *Chain) needs(q *corev1.ResourceQuota, r *Request, o, old store.Object) corev1.ResourceList {
	resource := r.Resource.GroupResource()
	used := usage(resource, o, time.Time{})
	if old != nil && inScope(q, old) {
		used = quota.SubtractWithNonNegativeResult(used, usage(resource, old, time.Time{}))
	}
	return quota.RemoveZeros(quota.Mask(used, quota.ResourceNames(q.Spec.Hard)))
}

// measured tells whether what is used of q is known.
func measured(q *corev1.ResourceQuota) bool {
	for name := range q.Spec.Hard {
		if _, ok := q.Status.Used[name]; !ok {
			return false
		}
	}
	return equality.Semantic.DeepEqual(q.Spec.Hard, q.Status.Hard)
}

// take takes needs of q, or refuses r.
func take(q *corev1.ResourceQuota, r *Request, needs corev1.ResourceList) error {
	total := quota.Add(q.Status.Used, needs)
	if ok, over := quota.LessThanOrEqual(quota.Mask(total, quota.ResourceNames(needs)), q.Status.Hard); !ok {
		return r.forbidf("exceeded quota: %s, requested: %s, used: %s, limited: %s", q.Name,
			listed(quota.Mask(needs, over)), listed(quota.Mask(q.Status.Used, over)), listed(quota.Mask(q.Status.Hard, over)))
	}
	q.Status.Used = total
	return nil
}

func listed(l corev1.ResourceList) string {
	var parts []string
	for _, name := range names(l) {
		q := l[name]
		parts = append(parts, string(name)+"="+q.String())
	}
	return strings.Join(parts, ",")
}

// unsaid are the resources that q limits and containers of p say nothing about: where processor time and memory are limited,
// each must.
func unsaid(q *corev1.ResourceQuota, p *corev1.Pod) string {
	if p.Spec.Resources != nil {
		return ""
	}
	demanded := []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory}
	missing := map[string][]string{}
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for _, c := range list {
			said := computed(c.Resources.Requests, c.Resources.Limits)
			for name := range q.Spec.Hard {
				if _, ok := said[name]; !ok && slices.Contains(demanded, name) {
					missing[string(name)] = append(missing[string(name)], c.Name)
				}
			}
		}
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		parts = append(parts, fmt.Sprintf("%s for: %s", name, strings.Join(slices.Sorted(slices.Values(missing[name])), ",")))
	}
	return strings.Join(parts, "; ")
}

// Used is how much of what q limits is used in state s at now.
func (c *Chain) Used(s *store.Snapshot, q *corev1.ResourceQuota, now time.Time) corev1.ResourceList {
	used := corev1.ResourceList{}
	for name, hard := range q.Spec.Hard {
		zero := hard.DeepCopy()
		zero.Set(0)
		used[name] = zero
	}
	limited := quota.ResourceNames(q.Spec.Hard)
	for r, kind := range c.namespaced(s) {
		if !slices.ContainsFunc(limited, func(n corev1.ResourceName) bool { return counts(n, r) }) {
			continue
		}
		for o := range s.List(store.Select(kind, store.InNamespace(q.Namespace))) {
			if inScope(q, o) {
				used = quota.Add(used, quota.Mask(usage(r, o, now), limited))
			}
		}
	}
	return used
}

// namespaced are the kinds that live in namespaces, those that users have defined included, by resource.
func (c *Chain) namespaced(s *store.Snapshot) iter.Seq2[schema.GroupResource, schema.GroupKind] {
	return func(yield func(schema.GroupResource, schema.GroupKind) bool) {
		for _, k := range c.scheme.All() {
			if k.Namespaced && !yield(k.Resource(), k.GroupVersionKind.GroupKind()) {
				return
			}
		}
		if !has[*apiextensionsv1.CustomResourceDefinition](s) {
			return
		}
		for d := range store.List[*apiextensionsv1.CustomResourceDefinition](s) {
			r, k := schema.GroupResource{Group: d.Spec.Group, Resource: d.Spec.Names.Plural}, schema.GroupKind{Group: d.Spec.Group, Kind: d.Spec.Names.Kind}
			if d.Spec.Scope == apiextensionsv1.NamespaceScoped && !yield(r, k) {
				return
			}
		}
	}
}

// Counted are the quotas of which a change may have taken or given back something.
func Counted(s *store.Snapshot, c store.Change) []store.Key {
	namespace := c.Object().GetNamespace()
	if namespace == "" || c.Old != nil && c.New != nil && sameUsage(c.Old, c.New) {
		return nil
	}
	var keys []store.Key
	for q := range store.List[*corev1.ResourceQuota](s, store.InNamespace(namespace)) {
		keys = append(keys, s.Key(q))
	}
	return keys
}

// sameUsage tells whether two versions of an object count the same, at a glance.
func sameUsage(old, new store.Object) bool {
	switch new := new.(type) {
	case *corev1.Pod:
		was := old.(*corev1.Pod)
		return was.Status.Phase == new.Status.Phase && was.Generation == new.Generation && (was.DeletionTimestamp == nil) == (new.DeletionTimestamp == nil) &&
			equality.Semantic.DeepEqual(was.Status.ContainerStatuses, new.Status.ContainerStatuses)
	case *corev1.Service:
		return equality.Semantic.DeepEqual(old.(*corev1.Service).Spec, new.Spec)
	case *corev1.PersistentVolumeClaim:
		return false
	}
	return true
}
