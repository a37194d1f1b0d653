package store

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// A Query selects objects. Its zero value selects all. Namespace and Index make it cheap; the rest is asked of each
// object that is left.
type Query struct {
	Kind      schema.GroupKind
	Namespace string
	Index     string // name of an index, with Value
	Value     string
	Match     []func(Object) bool
}

// A Where narrows a Query.
type Where func(*Query)

// Select is the query for one kind, narrowed by where.
func Select(kind schema.GroupKind, where ...Where) Query {
	q := Query{Kind: kind}
	for _, w := range where {
		w(&q)
	}
	return q
}

// InNamespace selects what is in namespace ns.
func InNamespace(ns string) Where { return func(q *Query) { q.Namespace = ns } }

// By selects by the value that an index has for the object.
func By(index, value string) Where { return func(q *Query) { q.Index, q.Value = index, value } }

// OwnedBy selects what has an owner reference to uid.
func OwnedBy(uid types.UID) Where { return By(ownerIndex, string(uid)) }

// Orphans selects the pods, ReplicaSets and ControllerRevisions that have no owner.
func Orphans(q *Query) { OwnedBy("")(q) }

// OnNode selects the pods that are bound to a node; "" are the pods that are bound to none.
func OnNode(name string) Where { return By(nodeIndex, name) }

// OfService selects the EndpointSlices of a service; combine it with InNamespace.
func OfService(name string) Where { return By(serviceIndex, name) }

// Labelled selects by labels.
func Labelled(s labels.Selector) Where {
	return Matching(func(o Object) bool { return s.Matches(labels.Set(o.GetLabels())) })
}

// Matching selects what match says yes to.
func Matching(match func(Object) bool) Where {
	return func(q *Query) { q.Match = append(q.Match, match) }
}

// Active selects what is not being deleted and, of pods, what has not finished.
func Active(q *Query) {
	Matching(func(o Object) bool {
		if o.GetDeletionTimestamp() != nil {
			return false
		}
		p, ok := o.(*corev1.Pod)
		return !ok || p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
	})(q)
}

// matches asks everything but Index.
func (q Query) matches(o Object) bool {
	if q.Namespace != "" && o.GetNamespace() != q.Namespace {
		return false
	}
	for _, m := range q.Match {
		if !m(o) {
			return false
		}
	}
	return true
}
