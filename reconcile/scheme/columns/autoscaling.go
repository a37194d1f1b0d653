package columns

import (
	"fmt"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
)

// HorizontalPodAutoscalers shows what they scale, what they aim at, and where they are.
func HorizontalPodAutoscalers() Table[*autoscalingv2.HorizontalPodAutoscaler] {
	return Table[*autoscalingv2.HorizontalPodAutoscaler]{
		header("Name,Reference,Targets,MinPods,MaxPods,Replicas,Age"),
		func(h *autoscalingv2.HorizontalPodAutoscaler, now time.Time) []any {
			least := "<unset>"
			if n := h.Spec.MinReplicas; n != nil {
				least = fmt.Sprint(*n)
			}
			r := h.Spec.ScaleTargetRef
			return []any{h.Name, r.Kind + "/" + r.Name, targets(h), least, int64(h.Spec.MaxReplicas), int64(h.Status.CurrentReplicas), created(h, now)}
		},
	}
}

const unknown = "<unknown>"

// targets are the first two metrics, and how many more there are.
func targets(h *autoscalingv2.HorizontalPodAutoscaler) string {
	const most = 2
	if len(h.Spec.Metrics) == 0 {
		return none
	}
	var all []string
	for i := range h.Spec.Metrics {
		var current *autoscalingv2.MetricStatus
		if i < len(h.Status.CurrentMetrics) {
			current = &h.Status.CurrentMetrics[i]
		}
		all = append(all, aim(&h.Spec.Metrics[i], current))
	}
	if n := len(all); n > most {
		return fmt.Sprintf("%s + %d more...", strings.Join(all[:most], ", "), n-most)
	}
	return strings.Join(all, ", ")
}

func aim(m *autoscalingv2.MetricSpec, s *autoscalingv2.MetricStatus) string {
	if s == nil {
		s = &autoscalingv2.MetricStatus{}
	}
	switch {
	case m.Type == autoscalingv2.ExternalMetricSourceType && m.External != nil:
		var is *autoscalingv2.MetricValueStatus
		if s.External != nil {
			is = &s.External.Current
		}
		return value(m.External.Target, is)
	case m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil:
		var is *autoscalingv2.MetricValueStatus
		if s.Object != nil {
			is = &s.Object.Current
		}
		return value(m.Object.Target, is)
	case m.Type == autoscalingv2.PodsMetricSourceType && m.Pods != nil:
		var is *resource.Quantity
		if s.Pods != nil {
			is = s.Pods.Current.AverageValue
		}
		return amount(is) + "/" + amount(m.Pods.Target.AverageValue)
	case m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil:
		var is autoscalingv2.MetricValueStatus
		if s.Resource != nil {
			is = s.Resource.Current
		}
		return string(m.Resource.Name) + ": " + use(m.Resource.Target, is)
	case m.Type == autoscalingv2.ContainerResourceMetricSourceType && m.ContainerResource != nil:
		var is autoscalingv2.MetricValueStatus
		if s.ContainerResource != nil {
			is = s.ContainerResource.Current
		}
		return string(m.ContainerResource.Name) + ": " + use(m.ContainerResource.Target, is)
	}
	return "<unknown type>"
}

func value(t autoscalingv2.MetricTarget, is *autoscalingv2.MetricValueStatus) string {
	if is == nil {
		is = &autoscalingv2.MetricValueStatus{}
	}
	if t.AverageValue != nil {
		return amount(is.AverageValue) + "/" + amount(t.AverageValue) + " (avg)"
	}
	return amount(is.Value) + "/" + amount(t.Value)
}

func use(t autoscalingv2.MetricTarget, is autoscalingv2.MetricValueStatus) string {
	if t.AverageValue != nil {
		return amount(is.AverageValue) + "/" + amount(t.AverageValue)
	}
	now, aim := unknown, "<auto>"
	if n := is.AverageUtilization; n != nil {
		now = fmt.Sprintf("%d%%", *n)
	}
	if n := t.AverageUtilization; n != nil {
		aim = fmt.Sprintf("%d%%", *n)
	}
	return now + "/" + aim
}

func amount(q *resource.Quantity) string {
	if q == nil {
		return unknown
	}
	return q.String()
}
