package scheme

import (
	"encoding/json"
	"maps"
	"slices"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/columns"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/defaults"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/validate"
)

// What autoscaling/v1 has no fields for is in these annotations.
const (
	metricsNote        = "autoscaling.alpha.kubernetes.io/metrics"
	currentMetricsNote = "autoscaling.alpha.kubernetes.io/current-metrics"
	conditionsNote     = "autoscaling.alpha.kubernetes.io/conditions"
	behaviorNote       = "autoscaling.alpha.kubernetes.io/behavior"
)

func autoscalingKinds() []*Kind {
	return []*Kind{
		typed(Kind{GroupVersionKind: autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"), Plural: "horizontalpodautoscalers", Short: list("hpa"), Categories: list("all"),
			Namespaced: true, Status: true, Versions: []*Version{oldAutoscalers()}}, rules[*autoscalingv2.HorizontalPodAutoscaler]{
			defaults: defaults.HorizontalPodAutoscaler, generation: true, validate: validate.HorizontalPodAutoscaler, update: validate.HorizontalPodAutoscalerUpdate,
			status: validate.HorizontalPodAutoscalerStatusUpdate, table: columns.HorizontalPodAutoscalers(),
		}),
	}
}

// oldAutoscalers is autoscaling/v1, which knows only the share of processors that is aimed at. The rest is in annotations.
func oldAutoscalers() *Version {
	return version(autoscalingv1.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"),
		conversions[*autoscalingv2.HorizontalPodAutoscaler, *autoscalingv1.HorizontalPodAutoscaler]{up: newAutoscaler, down: oldAutoscaler})
}

func oldAutoscaler(from *autoscalingv2.HorizontalPodAutoscaler, to *autoscalingv1.HorizontalPodAutoscaler) {
	s := &from.Spec
	to.Spec = autoscalingv1.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscalingv1.CrossVersionObjectReference(s.ScaleTargetRef), MinReplicas: s.MinReplicas, MaxReplicas: s.MaxReplicas}
	to.Status = autoscalingv1.HorizontalPodAutoscalerStatus{
		ObservedGeneration: from.Status.ObservedGeneration, LastScaleTime: from.Status.LastScaleTime,
		CurrentReplicas: from.Status.CurrentReplicas, DesiredReplicas: from.Status.DesiredReplicas,
	}
	to.Annotations = withoutAutoscaling(to.Annotations)
	var others []autoscalingv1.MetricSpec
	for i := range s.Metrics {
		if m := &s.Metrics[i]; to.Spec.TargetCPUUtilizationPercentage == nil && processorShare(m) {
			to.Spec.TargetCPUUtilizationPercentage = m.Resource.Target.AverageUtilization
		} else {
			others = append(others, oldMetric(m))
		}
	}
	var current []autoscalingv1.MetricStatus
	for _, m := range from.Status.CurrentMetrics {
		if r := m.Resource; r != nil && r.Name == corev1.ResourceCPU && r.Current.AverageUtilization != nil && to.Status.CurrentCPUUtilizationPercentage == nil {
			to.Status.CurrentCPUUtilizationPercentage = r.Current.AverageUtilization
		}
		if old, ok := oldCurrent(m); ok {
			current = append(current, old)
		}
	}
	var conditions []autoscalingv1.HorizontalPodAutoscalerCondition
	for _, c := range from.Status.Conditions {
		conditions = append(conditions, autoscalingv1.HorizontalPodAutoscalerCondition{Type: autoscalingv1.HorizontalPodAutoscalerConditionType(c.Type),
			Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message})
	}
	note(&to.Annotations, metricsNote, others, len(others) > 0)
	note(&to.Annotations, currentMetricsNote, current, len(current) > 0)
	note(&to.Annotations, conditionsNote, conditions, len(conditions) > 0)
	note(&to.Annotations, behaviorNote, s.Behavior, s.Behavior != nil)
}

// note keeps v in an annotation, if it says something.
func note(annotations *map[string]string, key string, v any, says bool) {
	if !says {
		return
	}
	if b, err := json.Marshal(v); err == nil {
		if *annotations == nil {
			*annotations = map[string]string{}
		}
		(*annotations)[key] = string(b)
	}
}

// noted reads what note kept. What somebody wrote there and cannot be read says nothing.
func noted[T any](annotations map[string]string, key string) (v T) {
	if text, ok := annotations[key]; ok && json.Unmarshal([]byte(text), &v) != nil {
		var nothing T
		return nothing
	}
	return v
}

func withoutAutoscaling(annotations map[string]string) map[string]string {
	keys := []string{metricsNote, currentMetricsNote, conditionsNote, behaviorNote}
	out := maps.Clone(annotations)
	maps.DeleteFunc(out, func(k, _ string) bool { return slices.Contains(keys, k) })
	if len(out) == 0 {
		return nil
	}
	return out
}

func processorShare(m *autoscalingv2.MetricSpec) bool {
	return m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil && m.Resource.Name == corev1.ResourceCPU && m.Resource.Target.AverageUtilization != nil
}

func newAutoscaler(from *autoscalingv1.HorizontalPodAutoscaler, to *autoscalingv2.HorizontalPodAutoscaler) {
	s := &from.Spec
	to.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference(s.ScaleTargetRef), MinReplicas: s.MinReplicas, MaxReplicas: s.MaxReplicas,
		Behavior: noted[*autoscalingv2.HorizontalPodAutoscalerBehavior](from.Annotations, behaviorNote),
	}
	for _, m := range noted[[]autoscalingv1.MetricSpec](from.Annotations, metricsNote) {
		to.Spec.Metrics = append(to.Spec.Metrics, newMetric(m))
	}
	if n := s.TargetCPUUtilizationPercentage; n != nil {
		to.Spec.Metrics = append(to.Spec.Metrics, autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
			Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: n},
		}})
	}
	to.Status = autoscalingv2.HorizontalPodAutoscalerStatus{
		ObservedGeneration: from.Status.ObservedGeneration, LastScaleTime: from.Status.LastScaleTime,
		CurrentReplicas: from.Status.CurrentReplicas, DesiredReplicas: from.Status.DesiredReplicas,
	}
	for _, m := range noted[[]autoscalingv1.MetricStatus](from.Annotations, currentMetricsNote) {
		if m, ok := newCurrent(m); ok {
			to.Status.CurrentMetrics = append(to.Status.CurrentMetrics, m)
		}
	}
	for _, c := range noted[[]autoscalingv1.HorizontalPodAutoscalerCondition](from.Annotations, conditionsNote) {
		to.Status.Conditions = append(to.Status.Conditions, autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.HorizontalPodAutoscalerConditionType(c.Type),
			Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message})
	}
	to.Annotations = withoutAutoscaling(to.Annotations)
}

func oldMetric(m *autoscalingv2.MetricSpec) autoscalingv1.MetricSpec {
	old := autoscalingv1.MetricSpec{Type: autoscalingv1.MetricSourceType(m.Type)}
	if o := m.Object; o != nil {
		old.Object = &autoscalingv1.ObjectMetricSource{Target: autoscalingv1.CrossVersionObjectReference(o.DescribedObject), MetricName: o.Metric.Name,
			Selector: o.Metric.Selector, AverageValue: o.Target.AverageValue}
		if v := o.Target.Value; v != nil {
			old.Object.TargetValue = *v
		}
	}
	if p := m.Pods; p != nil {
		old.Pods = &autoscalingv1.PodsMetricSource{MetricName: p.Metric.Name, Selector: p.Metric.Selector}
		if v := p.Target.AverageValue; v != nil {
			old.Pods.TargetAverageValue = *v
		}
	}
	if r := m.Resource; r != nil {
		old.Resource = &autoscalingv1.ResourceMetricSource{Name: r.Name, TargetAverageUtilization: r.Target.AverageUtilization, TargetAverageValue: r.Target.AverageValue}
	}
	if r := m.ContainerResource; r != nil {
		old.ContainerResource = &autoscalingv1.ContainerResourceMetricSource{Name: r.Name, Container: r.Container,
			TargetAverageUtilization: r.Target.AverageUtilization, TargetAverageValue: r.Target.AverageValue}
	}
	if e := m.External; e != nil {
		old.External = &autoscalingv1.ExternalMetricSource{MetricName: e.Metric.Name, MetricSelector: e.Metric.Selector, TargetValue: e.Target.Value, TargetAverageValue: e.Target.AverageValue}
	}
	return old
}

func newMetric(m autoscalingv1.MetricSpec) autoscalingv2.MetricSpec {
	v2 := autoscalingv2.MetricSpec{Type: autoscalingv2.MetricSourceType(m.Type)}
	if o := m.Object; o != nil {
		t := target(nil, o.AverageValue)
		if !o.TargetValue.IsZero() {
			t.Value = &o.TargetValue
		}
		if o.AverageValue == nil {
			t.Type = autoscalingv2.ValueMetricType
		}
		v2.Object = &autoscalingv2.ObjectMetricSource{DescribedObject: autoscalingv2.CrossVersionObjectReference(o.Target),
			Metric: autoscalingv2.MetricIdentifier{Name: o.MetricName, Selector: o.Selector}, Target: t}
	}
	if p := m.Pods; p != nil {
		v2.Pods = &autoscalingv2.PodsMetricSource{Metric: autoscalingv2.MetricIdentifier{Name: p.MetricName, Selector: p.Selector}, Target: target(nil, &p.TargetAverageValue)}
	}
	if r := m.Resource; r != nil {
		v2.Resource = &autoscalingv2.ResourceMetricSource{Name: r.Name, Target: target(r.TargetAverageUtilization, r.TargetAverageValue)}
	}
	if r := m.ContainerResource; r != nil {
		v2.ContainerResource = &autoscalingv2.ContainerResourceMetricSource{Name: r.Name, Container: r.Container, Target: target(r.TargetAverageUtilization, r.TargetAverageValue)}
	}
	if e := m.External; e != nil {
		t := target(nil, e.TargetAverageValue)
		if t.Value = e.TargetValue; e.TargetAverageValue == nil {
			t.Type = autoscalingv2.ValueMetricType
		}
		v2.External = &autoscalingv2.ExternalMetricSource{Metric: autoscalingv2.MetricIdentifier{Name: e.MetricName, Selector: e.MetricSelector}, Target: t}
	}
	return v2
}

func target(share *int32, average *resource.Quantity) autoscalingv2.MetricTarget {
	t := autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: share, AverageValue: average}
	if share == nil {
		t.Type = autoscalingv2.AverageValueMetricType
	}
	return t
}

// oldCurrent is for the metrics that are measured here: others are in no status.
func oldCurrent(m autoscalingv2.MetricStatus) (autoscalingv1.MetricStatus, bool) {
	old := autoscalingv1.MetricStatus{Type: autoscalingv1.MetricSourceType(m.Type)}
	average := func(v autoscalingv2.MetricValueStatus) (q resource.Quantity) {
		if v.AverageValue != nil {
			q = *v.AverageValue
		}
		return q
	}
	switch {
	case m.Resource != nil:
		old.Resource = &autoscalingv1.ResourceMetricStatus{Name: m.Resource.Name, CurrentAverageUtilization: m.Resource.Current.AverageUtilization, CurrentAverageValue: average(m.Resource.Current)}
	case m.ContainerResource != nil:
		c := m.ContainerResource
		old.ContainerResource = &autoscalingv1.ContainerResourceMetricStatus{Name: c.Name, Container: c.Container, CurrentAverageUtilization: c.Current.AverageUtilization, CurrentAverageValue: average(c.Current)}
	default:
		return old, false
	}
	return old, true
}

func newCurrent(m autoscalingv1.MetricStatus) (autoscalingv2.MetricStatus, bool) {
	v2 := autoscalingv2.MetricStatus{Type: autoscalingv2.MetricSourceType(m.Type)}
	switch {
	case m.Resource != nil:
		v2.Resource = &autoscalingv2.ResourceMetricStatus{Name: m.Resource.Name,
			Current: autoscalingv2.MetricValueStatus{AverageUtilization: m.Resource.CurrentAverageUtilization, AverageValue: &m.Resource.CurrentAverageValue}}
	case m.ContainerResource != nil:
		c := m.ContainerResource
		v2.ContainerResource = &autoscalingv2.ContainerResourceMetricStatus{Name: c.Name, Container: c.Container,
			Current: autoscalingv2.MetricValueStatus{AverageUtilization: c.CurrentAverageUtilization, AverageValue: &c.CurrentAverageValue}}
	default:
		return v2, false
	}
	return v2, true
}
