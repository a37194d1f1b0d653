// Package autoscale holds the controller that sets the size of what HorizontalPodAutoscalers name, by what its pods use.
package autoscale

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Period is how often sizes are looked at, and how long a size stands at least.
const Period = 15 * time.Second

// Kind is that of the autoscalers.
var Kind = schema.GroupKind{Group: autoscalingv2.GroupName, Kind: "HorizontalPodAutoscaler"}

// Used is what a container used over a window that ended at a time.
type Used struct {
	Cores  float64
	Memory int64 // bytes
	At     time.Time
	Window time.Duration
}

// Usage tells what containers used when they were last measured. It measures nothing itself: so a plan depends on it as it
// depends on a snapshot.
type Usage interface {
	// Latest is what was measured last, by the uid of the pod and the name of the container. It is not to be written to.
	Latest() map[types.UID]map[string]Used
}

// Autoscaler sets sizes. Its memory, what it recommended and did of late, is an annotation of each autoscaler, so that a
// restart forgets nothing. Usage is given to it, rather than put into the World that all plans share, because no other plan
// depends on what is measured.
type Autoscaler struct {
	Scheme *scheme.Scheme
	Usage  Usage
}

func (Autoscaler) Name() string { return "horizontal-pod-autoscaler" }

func (Autoscaler) Owns() []control.Owned {
	owned := []control.Owned{{Kind: Kind}, {Kind: Kind, Part: control.Status}, {Kind: schema.GroupKind{Kind: "ReplicationController"}}}
	for _, k := range []string{"Deployment", "ReplicaSet", "StatefulSet"} {
		owned = append(owned, control.Owned{Kind: schema.GroupKind{Group: appsv1.GroupName, Kind: k}})
	}
	return owned
}

func (Autoscaler) Watches() []control.Watch { return []control.Watch{{Kind: Kind}} }

// A sizing is one autoscaler while it is planned.
type sizing struct {
	control.World
	*Autoscaler
	hpa    *autoscalingv2.HorizontalPodAutoscaler // as it is
	next   *autoscalingv2.HorizontalPodAutoscaler // as it shall be: status and memory
	kind   *scheme.Kind
	target store.Object
	scaled scheme.Scaled
	memory memory
	plan   control.Plan
}

// Plan looks at one autoscaler, and asks to be asked again after the period.
func (a Autoscaler) Plan(w control.World, key store.Key) (control.Plan, error) {
	h, ok := store.Get[*autoscalingv2.HorizontalPodAutoscaler](w.Snapshot, key.Namespace, key.Name)
	if !ok || h.DeletionTimestamp != nil {
		return control.Plan{}, nil
	}
	w.Now = w.Now.Truncate(time.Second) // as the times in the status are kept
	s := &sizing{World: w, Autoscaler: &a, hpa: h, next: h.DeepCopy(), memory: recall(h)}
	s.plan.Again(Period)
	if last := h.Status.LastScaleTime; last != nil {
		if wait := last.Add(Period).Sub(w.Now); wait > 0 && wait <= Period {
			s.plan.Again(wait)
			return s.plan, nil
		}
	}
	if s.find() {
		s.size()
	}
	s.next.Status.ObservedGeneration = &h.Generation
	s.memory.keep(s.next)
	if !equality.Semantic.DeepEqual(h, s.next) {
		s.plan.Update(s.next, "its pods use more or less than before")
	}
	return s.plan, nil
}

// find finds what is to be sized.
func (s *sizing) find() bool {
	ref := s.hpa.Spec.ScaleTargetRef
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err == nil {
		err = s.look(store.Key{Kind: schema.GroupKind{Group: gv.Group, Kind: ref.Kind}, Namespace: s.hpa.Namespace, Name: ref.Name})
	}
	if err != nil {
		s.condition(autoscalingv2.AbleToScale, corev1.ConditionFalse, "FailedGetScale", "the HPA controller was unable to get the target's current scale: "+err.Error())
		return false
	}
	s.condition(autoscalingv2.AbleToScale, corev1.ConditionTrue, "SucceededGetScale", "the HPA controller was able to get the target's current scale")
	return true
}

func (s *sizing) look(k store.Key) (err error) {
	if s.kind = s.Scheme.Kind(k.Kind); s.kind == nil {
		return fmt.Errorf("no matches for kind %q in group %q", k.Kind.Kind, k.Kind.Group)
	}
	var ok bool
	if s.target, ok = s.Get(k); !ok {
		return fmt.Errorf("%s %q not found", s.kind.Resource(), k.Name)
	}
	s.scaled, err = s.kind.Scaled(s.target)
	return err
}

// size decides how many replicas there shall be.
func (s *sizing) size() {
	current, least := s.scaled.Wanted, int32(1)
	if n := s.hpa.Spec.MinReplicas; n != nil {
		least = *n
	}
	s.memory.begin(current, s.Now)
	s.next.Status.CurrentReplicas = current
	switch {
	case current == 0:
		s.condition(autoscalingv2.ScalingActive, corev1.ConditionFalse, "ScalingDisabled", "scaling is disabled since the replica count of the target is zero")
		s.next.Status.DesiredReplicas, s.next.Status.CurrentMetrics = 0, nil
	case current > s.hpa.Spec.MaxReplicas:
		s.resize(s.hpa.Spec.MaxReplicas, "Current number of replicas above Spec.MaxReplicas")
	case current < least:
		s.resize(least, "Current number of replicas below Spec.MinReplicas")
	default:
		want, metric, ok := s.propose()
		if !ok {
			return
		}
		why := "All metrics below target"
		if want > current {
			why = metric + " above target"
		}
		s.resize(s.limit(current, want, least), why)
	}
}

// resize gives the target n replicas.
func (s *sizing) resize(n int32, why string) {
	s.next.Status.DesiredReplicas = n
	current := s.scaled.Wanted
	if n == current {
		return
	}
	target, err := s.kind.WithReplicas(s.target, n)
	if err != nil {
		s.condition(autoscalingv2.AbleToScale, corev1.ConditionFalse, "FailedUpdateScale", "the HPA controller was unable to update the target scale: "+err.Error())
		return
	}
	s.plan.Update(target, why)
	s.plan.Event(s.hpa, "SuccessfulRescale", "New size: %d; reason: %s", n, why)
	s.condition(autoscalingv2.AbleToScale, corev1.ConditionTrue, "SucceededRescale", fmt.Sprintf("the HPA controller was able to update the target scale to %d", n))
	at := metav1.NewTime(s.Now)
	s.next.Status.LastScaleTime = &at
	if s.hpa.Spec.Behavior != nil {
		s.memory.scaled(n-current, s.Now)
	}
}

// condition sets a condition. What has become false is said in an event too.
func (s *sizing) condition(t autoscalingv2.HorizontalPodAutoscalerConditionType, status corev1.ConditionStatus, reason, message string) {
	var c *autoscalingv2.HorizontalPodAutoscalerCondition
	for i := range s.next.Status.Conditions {
		if s.next.Status.Conditions[i].Type == t {
			c = &s.next.Status.Conditions[i]
		}
	}
	if c == nil {
		s.next.Status.Conditions = append(s.next.Status.Conditions, autoscalingv2.HorizontalPodAutoscalerCondition{Type: t})
		c = &s.next.Status.Conditions[len(s.next.Status.Conditions)-1]
	}
	if c.Status != status {
		c.LastTransitionTime = metav1.NewTime(s.Now)
	}
	if status == corev1.ConditionFalse && t != autoscalingv2.ScalingLimited && reason != "ScalingDisabled" && (c.Status != status || c.Reason != reason || c.Message != message) {
		s.plan.Warn(s.hpa, reason, "%s", message)
	}
	c.Status, c.Reason, c.Message = status, reason, message
}
