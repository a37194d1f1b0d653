package disruption

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var (
	podKind        = schema.GroupKind{Kind: "Pod"}
	budgetKind     = schema.GroupKind{Group: policyv1.GroupName, Kind: "PodDisruptionBudget"}
	replicaSetKind = schema.GroupKind{Group: appsv1.GroupName, Kind: "ReplicaSet"}
)

// Budgets works out what each PodDisruptionBudget allows, and takes back what pods say of an eviction that did not happen.
type Budgets struct{ Scheme *scheme.Scheme }

func (Budgets) Name() string { return "disruption-controller" }

func (Budgets) Owns() []control.Owned {
	return []control.Owned{{Kind: budgetKind, Part: control.Status}, {Kind: podKind, Part: control.Status}}
}

func (Budgets) Watches() []control.Watch {
	return []control.Watch{{Kind: budgetKind}, {Kind: podKind, Keys: counting}}
}

// counting are the budgets that count a pod or counted it, and the pod if it waits for an eviction.
func counting(s *store.Snapshot, c store.Change) []store.Key {
	var keys []store.Key
	for _, o := range []store.Object{c.Old, c.New} {
		p, ok := o.(*corev1.Pod)
		if !ok {
			continue
		}
		for _, b := range about(s, p) {
			if k := s.Key(b); len(keys) == 0 || keys[len(keys)-1] != k {
				keys = append(keys, k)
			}
		}
	}
	if p, ok := c.New.(*corev1.Pod); ok && stale(p) {
		keys = append(keys, s.Key(p))
	}
	return keys
}

// stale tells whether p says that it is disrupted, but nobody deletes it. What a node says of its own pods stands.
func stale(p *corev1.Pod) bool {
	c := podCondition(p, corev1.DisruptionTarget)
	ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	return p.DeletionTimestamp == nil && !ended && c != nil && c.Status == corev1.ConditionTrue && c.Reason != corev1.PodReasonTerminationByKubelet
}

// Plan brings the status of a budget up to date.
func (d Budgets) Plan(w control.World, key store.Key) (p control.Plan, _ error) {
	if key.Kind == podKind {
		return restore(w, key), nil
	}
	b, ok := store.Get[*policyv1.PodDisruptionBudget](w.Snapshot, key.Namespace, key.Name)
	if !ok || b.DeletionTimestamp != nil {
		return p, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		return p, err
	}
	next := b.DeepCopy()
	var pods []*corev1.Pod
	for pod := range store.List[*corev1.Pod](w.Snapshot, store.InNamespace(b.Namespace), store.Labelled(selector)) {
		pods = append(pods, pod)
	}
	needs, err := d.needs(w.Snapshot, b, pods)
	if err != nil {
		next.Status.DisruptionsAllowed = 0
		meta.SetStatusCondition(&next.Status.Conditions, metav1.Condition{
			Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason, Message: err.Error(),
			ObservedGeneration: b.Generation, LastTransitionTime: metav1.NewTime(w.Now.Truncate(time.Second)),
		})
		next.Status.ObservedGeneration = b.Generation
	} else {
		update(&p, next, pods, needs, w.Now)
	}
	if equality.Semantic.DeepEqual(b.Status, next.Status) {
		return p, nil
	}
	p.Status(next, "its pods changed")
	switch {
	case err != nil:
		p.Warn(b, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", err)
	case len(pods) == 0:
		p.Event(b, "NoPods", "No matching pods found")
	case needs.unmanaged:
		p.Warn(b, "UnmanagedPods", "Pods selected by this PodDisruptionBudget (selector: %v) were found to be unmanaged. As a result, the status of the PDB cannot be "+
			"calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.", metav1.FormatLabelSelector(b.Spec.Selector))
	}
	return p, nil
}

// update writes what is, into the status of next.
func update(p *control.Plan, next *policyv1.PodDisruptionBudget, pods []*corev1.Pod, needs need, now time.Time) {
	s := &next.Status
	disrupted := map[string]metav1.Time{}
	var healthy int32
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil {
			continue
		}
		if at, ok := s.DisruptedPods[pod.Name]; ok {
			if left := at.Add(deletedWithin).Sub(now); left > 0 {
				disrupted[pod.Name] = at
				p.Again(left)
				continue
			}
			p.Warn(pod, "NotDeleted", "Pod was expected by PDB %s/%s to be deleted but it wasn't", next.Namespace, next.Name)
		}
		if ready(pod) {
			healthy++
		}
	}
	s.CurrentHealthy, s.DesiredHealthy, s.ExpectedPods, s.DisruptedPods = healthy, needs.healthy, needs.expected, disrupted
	if len(disrupted) == 0 {
		s.DisruptedPods = nil
	}
	s.DisruptionsAllowed = max(healthy-needs.healthy, 0)
	if needs.expected <= 0 {
		s.DisruptionsAllowed = 0 // the first pods must not be evicted before they are seen
	}
	s.ObservedGeneration = next.Generation
	setCondition(next, now)
}

// A need is how many pods a budget expects, and how many of them are to be healthy.
type need struct {
	expected, healthy int32
	unmanaged         bool // some pods are of no controller
}

func (d Budgets) needs(s *store.Snapshot, b *policyv1.PodDisruptionBudget, pods []*corev1.Pod) (n need, err error) {
	least, most := b.Spec.MinAvailable, b.Spec.MaxUnavailable
	switch {
	case most != nil:
		if n, err = d.scale(s, pods); err != nil {
			return n, err
		}
		m, err := intstr.GetScaledValueFromIntOrPercent(most, int(n.expected), true)
		n.healthy = max(n.expected-int32(m), 0)
		return n, err
	case least != nil && least.Type == intstr.Int:
		return need{expected: int32(len(pods)), healthy: least.IntVal}, nil
	case least != nil:
		if n, err = d.scale(s, pods); err != nil {
			return n, err
		}
		m, err := intstr.GetScaledValueFromIntOrPercent(least, int(n.expected), true)
		n.healthy = int32(m)
		return n, err
	}
	return n, nil
}

// scale adds up how many replicas the controllers of pods want.
func (d Budgets) scale(s *store.Snapshot, pods []*corev1.Pod) (n need, err error) {
	seen := map[types.UID]bool{}
	for _, p := range pods {
		r := metav1.GetControllerOf(p)
		if r == nil {
			n.unmanaged = true
			continue
		}
		o, ok := top(s, p.Namespace, r)
		if !ok {
			return n, fmt.Errorf("found no controllers for pod %q", p.Name)
		}
		if seen[o.GetUID()] {
			continue
		}
		seen[o.GetUID()] = true
		k := d.Scheme.Kind(s.Key(o).Kind)
		if k == nil {
			return n, fmt.Errorf("found no controllers for pod %q", p.Name)
		}
		scaled, err := k.Scaled(o)
		if err != nil {
			return n, err
		}
		n.expected += scaled.Wanted
	}
	return n, nil
}

// top is the controller that r names or, of a ReplicaSet that a Deployment controls, the Deployment.
func top(s *store.Snapshot, namespace string, r *metav1.OwnerReference) (store.Object, bool) {
	gv, err := schema.ParseGroupVersion(r.APIVersion)
	if err != nil {
		return nil, false
	}
	k := store.Key{Kind: schema.GroupKind{Group: gv.Group, Kind: r.Kind}, Namespace: namespace, Name: r.Name}
	o, ok := s.Get(k)
	if !ok || o.GetUID() != r.UID {
		return nil, false
	}
	if above := metav1.GetControllerOf(o); k.Kind == replicaSetKind && above != nil && above.Kind == "Deployment" {
		return top(s, namespace, above)
	}
	return o, true
}

// restore takes back from a pod that it is disrupted, when it has not been deleted for too long.
func restore(w control.World, key store.Key) (p control.Plan) {
	pod, ok := store.Get[*corev1.Pod](w.Snapshot, key.Namespace, key.Name)
	if !ok || !stale(pod) {
		return p
	}
	c := podCondition(pod, corev1.DisruptionTarget)
	if left := c.LastTransitionTime.Add(deletedWithin).Sub(w.Now); left > 0 {
		p.Again(left)
		return p
	}
	next := pod.DeepCopy()
	setPodCondition(next, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionFalse}, w.Now)
	p.Status(next, "nobody deleted it")
	return p
}
