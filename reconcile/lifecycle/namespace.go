package lifecycle

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var namespaceKind = schema.GroupKind{Kind: "Namespace"}

// Namespaces empties each namespace that is being deleted, and lets it go when nothing is left in it.
type Namespaces struct{}

func (Namespaces) Name() string { return "namespace-controller" }

func (Namespaces) Owns() []control.Owned {
	return []control.Owned{{Part: control.Existing}, {Kind: namespaceKind}}
}

func (Namespaces) Watches() []control.Watch {
	return []control.Watch{
		{Kind: namespaceKind},
		{Keys: func(s *store.Snapshot, c store.Change) []store.Key {
			name := c.Object().GetNamespace()
			if name == "" {
				return nil
			}
			if ns, ok := store.Get[*corev1.Namespace](s, "", name); !ok || ns.DeletionTimestamp == nil {
				return nil
			}
			return []store.Key{{Kind: namespaceKind, Name: name}}
		}},
	}
}

// Plan deletes what is in a namespace that is being deleted.
func (Namespaces) Plan(w control.World, key store.Key) (control.Plan, error) {
	var p control.Plan
	ns, ok := store.Get[*corev1.Namespace](w.Snapshot, "", key.Name)
	if !ok || ns.DeletionTimestamp == nil || !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return p, nil
	}
	left := map[string]int{}
	for o := range w.List(store.Query{Namespace: key.Name}) {
		left[w.Key(o).Kind.Kind]++
		if o.GetDeletionTimestamp() == nil {
			p.Delete(o, "its namespace is being deleted")
		}
	}
	next := ns.DeepCopy()
	if len(left) == 0 {
		next.Spec.Finalizers = slices.DeleteFunc(next.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
		p.Update(next, "it is empty")
		return p, nil
	}
	remaining(next, left, metav1.NewTime(w.Now))
	if !equality.Semantic.DeepEqual(ns.Status, next.Status) {
		p.Status(next, "its contents are being deleted")
	}
	return p, nil
}

// remaining says what is still there, in the form that kubectl users know.
func remaining(ns *corev1.Namespace, left map[string]int, now metav1.Time) {
	n := 0
	for _, c := range left {
		n += c
	}
	c := corev1.NamespaceCondition{
		Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionTrue, Reason: "SomeResourcesRemain",
		Message: fmt.Sprintf("objects that are still being deleted: %d", n), LastTransitionTime: now,
	}
	for i, old := range ns.Status.Conditions {
		if old.Type == c.Type {
			c.LastTransitionTime = old.LastTransitionTime
			ns.Status.Conditions[i] = c
			return
		}
	}
	ns.Status.Conditions = append(ns.Status.Conditions, c)
}
