package lifecycle

import (
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var (
	nodeKind      = schema.GroupKind{Kind: "Node"}
	leaseKind     = schema.GroupKind{Group: "coordination.k8s.io", Kind: "Lease"}
	serviceKind   = schema.GroupKind{Kind: "Service"}
	accountKind   = schema.GroupKind{Kind: "ServiceAccount"}
	configMapKind = schema.GroupKind{Kind: "ConfigMap"}
	sliceKind     = schema.GroupKind{Group: "discovery.k8s.io", Kind: "EndpointSlice"}
)

// silence is how long a node may not renew its lease before nobody knows how it is: Kubernetes' default.
const silence = 40 * time.Second

// Nodes notices nodes that fell silent, and keeps new pods off those that are not ready.
type Nodes struct{}

func (Nodes) Name() string { return "node-controller" }

func (Nodes) Owns() []control.Owned { return []control.Owned{{Kind: nodeKind}} }

func (Nodes) Watches() []control.Watch {
	return []control.Watch{
		{Kind: nodeKind},
		{Kind: leaseKind, Keys: func(s *store.Snapshot, c store.Change) []store.Key {
			if c.Object().GetNamespace() != corev1.NamespaceNodeLease || c.Old != nil && c.New != nil && ready(s, c.New.GetName()) {
				return nil // renewals of a node that is well are what is expected: the timer looks at them
			}
			return []store.Key{{Kind: nodeKind, Name: c.Object().GetName()}}
		}},
	}
}

func ready(s *store.Snapshot, name string) bool {
	n, ok := store.Get[*corev1.Node](s, "", name)
	return ok && condition(n).Status == corev1.ConditionTrue
}

func condition(n *corev1.Node) corev1.NodeCondition {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c
		}
	}
	return corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}
}

// Plan judges one node.
func (Nodes) Plan(w control.World, key store.Key) (control.Plan, error) {
	var p control.Plan
	n, ok := store.Get[*corev1.Node](w.Snapshot, "", key.Name)
	if !ok || n.DeletionTimestamp != nil {
		return p, nil
	}
	next := n.DeepCopy()
	left := lastSign(w.Snapshot, n).Add(silence).Sub(w.Now)
	if left > 0 {
		p.Again(left)
	} else {
		unknown(next, metav1.NewTime(w.Now))
	}
	taint(next, corev1.TaintNodeNotReady, condition(next).Status == corev1.ConditionFalse, w.Now)
	taint(next, corev1.TaintNodeUnreachable, condition(next).Status == corev1.ConditionUnknown, w.Now)
	if !equality.Semantic.DeepEqual(n, next) {
		p.Update(next, "its readiness changed")
		if left <= 0 && ready(w.Snapshot, n.Name) {
			p.Warn(n, "NodeNotReady", "Node %s has not been heard of for %s", n.Name, silence)
		}
	}
	return p, nil
}

// lastSign is when the node last renewed its lease, or came to be.
func lastSign(s *store.Snapshot, n *corev1.Node) time.Time {
	l, ok := store.Get[*coordinationv1.Lease](s, corev1.NamespaceNodeLease, n.Name)
	if ok && l.Spec.RenewTime != nil && l.Spec.RenewTime.After(n.CreationTimestamp.Time) {
		return l.Spec.RenewTime.Time
	}
	return n.CreationTimestamp.Time
}

// unknown marks all of a node's conditions as not known.
func unknown(n *corev1.Node, now metav1.Time) {
	for i := range n.Status.Conditions {
		c := &n.Status.Conditions[i]
		if c.Status == corev1.ConditionUnknown {
			continue
		}
		c.Status, c.Reason, c.Message, c.LastTransitionTime = corev1.ConditionUnknown, "NodeStatusUnknown", "The node stopped renewing its lease.", now
	}
}

// taint adds or removes a taint against new pods.
func taint(n *corev1.Node, key string, want bool, now time.Time) {
	is := func(t corev1.Taint) bool { return t.Key == key && t.Effect == corev1.TaintEffectNoSchedule }
	have := slices.ContainsFunc(n.Spec.Taints, is)
	switch {
	case want && !have:
		at := metav1.NewTime(now)
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule, TimeAdded: &at})
	case !want && have:
		n.Spec.Taints = slices.DeleteFunc(n.Spec.Taints, is)
	}
}
