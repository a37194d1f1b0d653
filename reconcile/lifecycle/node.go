package lifecycle

import (
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
	endpointsKind = schema.GroupKind{Kind: "Endpoints"}
	sliceKind     = schema.GroupKind{Group: "discovery.k8s.io", Kind: "EndpointSlice"}
)

// silence is how long a node may not renew its lease before nobody knows how it is: Kubernetes' default.
const silence = 40 * time.Second

// Nodes notices nodes that fell silent, and taints those that are not well: against new pods and, where nothing is known
// of a node or it is not ready, against those that are there.
type Nodes struct {
	// Began is when this control plane did: a node cannot have renewed its lease while nobody was there to take it.
	Began time.Time
}

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
	return ok && conditionOf(n, corev1.NodeReady) == corev1.ConditionTrue
}

// conditionOf is the status of one of n's conditions; unknown if nobody has said.
func conditionOf(n *corev1.Node, t corev1.NodeConditionType) corev1.ConditionStatus {
	for _, c := range n.Status.Conditions {
		if c.Type == t {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}

// Plan judges one node.
func (c Nodes) Plan(w control.World, key store.Key) (control.Plan, error) {
	var p control.Plan
	n, ok := store.Get[*corev1.Node](w.Snapshot, "", key.Name)
	if !ok || n.DeletionTimestamp != nil {
		return p, nil
	}
	next := n.DeepCopy()
	left := c.lastSign(w.Snapshot, n).Add(silence).Sub(w.Now)
	if left > 0 {
		p.Again(left)
	} else {
		unknown(next, metav1.NewTime(w.Now))
	}
	next.Spec.Taints = taints(next, metav1.NewTime(w.Now.Truncate(time.Second)))
	if !equality.Semantic.DeepEqual(n, next) {
		p.Update(next, "its conditions changed")
		if left <= 0 && ready(w.Snapshot, n.Name) {
			p.Warn(n, "NodeNotReady", "Node %s has not been heard of for %s", n.Name, silence)
		}
	}
	return p, nil
}

// lastSign is when the node last renewed its lease, or came to be, or could be heard at all.
func (c Nodes) lastSign(s *store.Snapshot, n *corev1.Node) time.Time {
	last := n.CreationTimestamp.Time
	if c.Began.After(last) {
		last = c.Began
	}
	l, ok := store.Get[*coordinationv1.Lease](s, corev1.NamespaceNodeLease, n.Name)
	if ok && l.Spec.RenewTime != nil && l.Spec.RenewTime.After(last) {
		last = l.Spec.RenewTime.Time
	}
	return last
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
