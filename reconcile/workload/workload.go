// Package workload holds the controllers that turn a wish for pods into pods: Deployment, ReplicaSet and Job. They follow the
// documented behaviour of their Kubernetes namesakes.
package workload

import (
	"math/rand/v2"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var (
	podKind        = schema.GroupKind{Kind: "Pod"}
	replicaSetKind = schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}
	accountKind    = schema.GroupKind{Kind: "ServiceAccount"}
	namespaceKind  = schema.GroupKind{Kind: "Namespace"}
	quotaKind      = schema.GroupKind{Kind: "ResourceQuota"}
	limitRangeKind = schema.GroupKind{Kind: "LimitRange"}

	priorityClassKind = schema.GroupKind{Group: "scheduling.k8s.io", Kind: "PriorityClass"}
	deploymentKind    = schema.GroupKind{Group: "apps", Kind: "Deployment"}
)

// suffix is the random end of a name: no vowels, so that it spells nothing.
func suffix(r *rand.Rand) string {
	const letters = "bcdfghjklmnpqrstvwxz2456789"
	b := make([]byte, 5)
	for i := range b {
		b[i] = letters[r.IntN(len(letters))]
	}
	return string(b)
}

// family sorts candidates for an owner into those it keeps, those it adopts and those it lets go: adoption needs no
// controller and matching labels.
type family[T store.Object] struct {
	kept, adopted, released []T
}

func familyOf[T store.Object](s *store.Snapshot, owner store.Object, selector labels.Selector) family[T] {
	var f family[T]
	for o := range store.List[T](s, store.InNamespace(owner.GetNamespace()), store.OwnedBy(owner.GetUID())) {
		if !metav1.IsControlledBy(o, owner) {
			continue
		}
		if selector.Matches(labels.Set(o.GetLabels())) {
			f.kept = append(f.kept, o)
		} else if o.GetDeletionTimestamp() == nil {
			f.released = append(f.released, o)
		}
	}
	if owner.GetDeletionTimestamp() != nil || selector.Empty() {
		return f
	}
	for o := range store.List[T](s, store.InNamespace(owner.GetNamespace()), store.Orphans, store.Active, store.Labelled(selector)) {
		f.adopted = append(f.adopted, o)
	}
	return f
}

// orphanWakes maps an object without a controller to the owners that may want it.
func orphanWakes[T store.Object](kind schema.GroupKind, selectorOf func(T) *metav1.LabelSelector) func(*store.Snapshot, store.Change) []store.Key {
	return func(s *store.Snapshot, c store.Change) []store.Key {
		if c.New == nil || metav1.GetControllerOf(c.New) != nil {
			return nil
		}
		var keys []store.Key
		for o := range store.List[T](s, store.InNamespace(c.New.GetNamespace())) {
			if sel, err := metav1.LabelSelectorAsSelector(selectorOf(o)); err == nil && !sel.Empty() && sel.Matches(labels.Set(c.New.GetLabels())) {
				keys = append(keys, store.Key{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()})
			}
		}
		return keys
	}
}

func withOwner[T store.Object](o T, owner store.Object, kind schema.GroupVersionKind) T {
	c := o.DeepCopyObject().(T)
	c.SetOwnerReferences(append(c.GetOwnerReferences(), *metav1.NewControllerRef(owner, kind)))
	return c
}

func withoutOwner[T store.Object](o T, owner store.Object) T {
	c := o.DeepCopyObject().(T)
	c.SetOwnerReferences(slices.DeleteFunc(c.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == owner.GetUID() }))
	return c
}

func active(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// readySince is when p became ready; false if it is not.
func readySince(p *corev1.Pod) (time.Time, bool) {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Time, true
		}
	}
	return time.Time{}, false
}

// available tells whether p has been ready for as long as asked, and if not yet, how long it still takes.
func available(p *corev1.Pod, minReady time.Duration, now time.Time) (bool, time.Duration) {
	since, ok := readySince(p)
	if !ok {
		return false, 0
	}
	left := since.Add(minReady).Sub(now)
	return left <= 0, max(left, 0)
}

func replicas(p *int32) int32 {
	if p == nil {
		return 1
	}
	return *p
}
