package lifecycle

import (
	"fmt"
	"slices"
	"strings"

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

// Plan deletes what is in a namespace that is being deleted: pods first, so that what they use (a NetworkPolicy, a Secret) is
// there until they are gone.
func (Namespaces) Plan(w control.World, key store.Key) (control.Plan, error) {
	var p control.Plan
	ns, ok := store.Get[*corev1.Namespace](w.Snapshot, "", key.Name)
	if !ok || ns.DeletionTimestamp == nil || !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return p, nil
	}
	left := content{kinds: map[schema.GroupKind]int{}, finalizers: map[string]int{}}
	for o := range w.List(store.Query{Namespace: key.Name}) {
		left.count(w.Key(o).Kind, o)
	}
	pods := left.kinds[podKind] > 0
	for o := range w.List(store.Query{Namespace: key.Name}) {
		if o.GetDeletionTimestamp() == nil && (!pods || w.Key(o).Kind == podKind) {
			p.Delete(o, "its namespace is being deleted")
		}
	}
	next := ns.DeepCopy()
	if len(left.kinds) == 0 {
		next.Spec.Finalizers = slices.DeleteFunc(next.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
		p.Update(next, "it is empty")
		return p, nil
	}
	left.tell(next, metav1.NewTime(w.Now))
	if !equality.Semantic.DeepEqual(ns.Status, next.Status) {
		p.Status(next, "its contents are being deleted")
	}
	return p, nil
}

// content is what is still in a namespace.
type content struct {
	kinds      map[schema.GroupKind]int
	finalizers map[string]int
}

func (c content) count(kind schema.GroupKind, o store.Object) {
	c.kinds[kind]++
	for _, f := range o.GetFinalizers() {
		c.finalizers[f]++
	}
}

// tell says what is still there, in the form that users of kubectl know.
func (c content) tell(ns *corev1.Namespace, now metav1.Time) {
	set := func(t corev1.NamespaceConditionType, fails bool, reason, message string) {
		status := corev1.ConditionFalse
		if fails {
			status = corev1.ConditionTrue
		}
		setNamespaceCondition(ns, corev1.NamespaceCondition{Type: t, Status: status, Reason: reason, Message: message, LastTransitionTime: now})
	}
	set(corev1.NamespaceDeletionDiscoveryFailure, false, "ResourcesDiscovered", "All resources successfully discovered")
	set(corev1.NamespaceDeletionGVParsingFailure, false, "ParsedGroupVersions", "All legacy kube types successfully parsed")
	set(corev1.NamespaceDeletionContentFailure, false, "ContentDeleted", "All content successfully deleted, may be waiting on finalization")
	var remain, held []string
	for kind, n := range c.kinds {
		remain = append(remain, fmt.Sprintf("%s has %d resource instances", kind, n))
	}
	for name, n := range c.finalizers {
		held = append(held, fmt.Sprintf("%s in %d resource instances", name, n))
	}
	slices.Sort(remain)
	slices.Sort(held)
	set(corev1.NamespaceContentRemaining, true, "SomeResourcesRemain", "Some resources are remaining: "+strings.Join(remain, ", "))
	if len(held) == 0 {
		set(corev1.NamespaceFinalizersRemaining, false, "ContentHasNoFinalizers", "All content-preserving finalizers finished")
		return
	}
	set(corev1.NamespaceFinalizersRemaining, true, "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: "+strings.Join(held, ", "))
}

func setNamespaceCondition(ns *corev1.Namespace, c corev1.NamespaceCondition) {
	for i, old := range ns.Status.Conditions {
		if old.Type == c.Type {
			if old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			ns.Status.Conditions[i] = c
			return
		}
	}
	ns.Status.Conditions = append(ns.Status.Conditions, c)
}
