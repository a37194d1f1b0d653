package lifecycle

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var podKind = schema.GroupKind{Kind: "Pod"}

// TaintEviction deletes pods from nodes that have a taint NoExecute which they do not tolerate, or not for so long.
type TaintEviction struct{}

func (TaintEviction) Name() string { return "taint-eviction-controller" }

func (TaintEviction) Owns() []control.Owned {
	return []control.Owned{{Kind: podKind, Part: control.Status}, {Kind: podKind, Part: control.Existing}}
}

func (TaintEviction) Watches() []control.Watch {
	return []control.Watch{
		{Kind: podKind, Keys: func(s *store.Snapshot, c store.Change) []store.Key {
			p, ok := c.New.(*corev1.Pod)
			if !ok || p.DeletionTimestamp != nil || len(driving(s, p.Spec.NodeName)) == 0 {
				return nil
			}
			return []store.Key{s.Key(p)}
		}},
		{Kind: nodeKind, Keys: podsDriven},
	}
}

// podsDriven are the pods of a node whose taints NoExecute changed.
func podsDriven(s *store.Snapshot, c store.Change) []store.Key {
	is, ok := c.New.(*corev1.Node)
	if !ok {
		return nil
	}
	if was, ok := c.Old.(*corev1.Node); ok && equality.Semantic.DeepEqual(noExecute(was), noExecute(is)) {
		return nil
	}
	var keys []store.Key
	for p := range store.List[*corev1.Pod](s, store.OnNode(is.Name)) {
		keys = append(keys, s.Key(p))
	}
	return keys
}

// driving are the taints NoExecute of the node of that name.
func driving(s *store.Snapshot, node string) []corev1.Taint {
	n, ok := store.Get[*corev1.Node](s, "", node)
	if node == "" || !ok {
		return nil
	}
	return noExecute(n)
}

func noExecute(n *corev1.Node) []corev1.Taint {
	var all []corev1.Taint
	for _, t := range n.Spec.Taints {
		if t.Effect == corev1.TaintEffectNoExecute {
			all = append(all, t)
		}
	}
	return all
}

// Plan decides about one pod.
func (TaintEviction) Plan(w control.World, key store.Key) (control.Plan, error) {
	var p control.Plan
	pod, ok := store.Get[*corev1.Pod](w.Snapshot, key.Namespace, key.Name)
	if !ok || pod.DeletionTimestamp != nil {
		return p, nil
	}
	at, ever := evictAt(pod, driving(w.Snapshot, pod.Spec.NodeName))
	switch {
	case !ever:
	case at.After(w.Now):
		p.Again(at.Sub(w.Now))
	default:
		next := pod.DeepCopy()
		disrupt(next, w.Now)
		p.Status(next, "its node has a taint that it does not tolerate")
		p.Delete(pod, "its node has a taint that it does not tolerate")
		p.Event(pod, "TaintManagerEviction", "Marking for deletion Pod %s/%s", pod.Namespace, pod.Name)
	}
	return p, nil
}

// evictAt is when a pod must leave a node with these taints; false: it may stay. The zero time is now. A taint that does not
// say yet since when it is there waits for that.
func evictAt(p *corev1.Pod, taints []corev1.Taint) (at time.Time, ever bool) {
	for _, t := range taints {
		i := slices.IndexFunc(p.Spec.Tolerations, func(o corev1.Toleration) bool { return o.ToleratesTaint(klog.Background(), &t, false) })
		if i < 0 {
			return time.Time{}, true
		}
		seconds := p.Spec.Tolerations[i].TolerationSeconds
		switch {
		case seconds == nil:
			continue
		case *seconds <= 0:
			return time.Time{}, true
		case t.TimeAdded == nil:
			continue
		}
		since := t.TimeAdded.Time
		if bound := boundAt(p); bound.After(since) {
			since = bound
		}
		if end := since.Add(time.Duration(*seconds) * time.Second); !ever || end.Before(at) {
			at, ever = end, true
		}
	}
	return at, ever
}

// boundAt is when a pod came to its node, or came to be.
func boundAt(p *corev1.Pod) time.Time {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return p.CreationTimestamp.Time
}

// disrupt says in a pod's status why it ends.
func disrupt(p *corev1.Pod, now time.Time) {
	c := corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager",
		Message: "Taint manager: deleting due to NoExecute taint", LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
		ObservedGeneration: p.Generation,
	}
	p.Status.Conditions = append(slices.DeleteFunc(p.Status.Conditions, func(o corev1.PodCondition) bool { return o.Type == c.Type }), c)
}
