package validate

import (
	"fmt"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The limits of how an autoscaler behaves, in seconds.
const (
	longestStabilization = 3600
	longestPeriod        = 1800
)

// HorizontalPodAutoscaler validates a new HorizontalPodAutoscaler.
func HorizontalPodAutoscaler(h *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	return append(metadata(&h.ObjectMeta, validation.NameIsDNSSubdomain), autoscalerSpec(&h.Spec, false)...)
}

// HorizontalPodAutoscalerUpdate validates a HorizontalPodAutoscaler that is there, of which all may change.
func HorizontalPodAutoscalerUpdate(new, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	_, err := groupOf(old.Spec.ScaleTargetRef.APIVersion)
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), autoscalerSpec(&new.Spec, err != nil)...)
}

// HorizontalPodAutoscalerStatusUpdate validates the counts.
func HorizontalPodAutoscalerStatusUpdate(new, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	path := root("status")
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	for i, c := range new.Status.Conditions {
		if g := c.ObservedGeneration; g != nil {
			errs = append(errs, notNegative(*g, path.Child("conditions").Index(i).Child("observedGeneration"))...)
		}
	}
	errs = append(errs, notNegative(new.Status.CurrentReplicas, path.Child("currentReplicas"))...)
	return append(errs, notNegative(new.Status.DesiredReplicas, path.Child("desiredReplicas"))...)
}

func autoscalerSpec(s *autoscalingv2.HorizontalPodAutoscalerSpec, anyGroup bool) field.ErrorList {
	path := root("spec")
	var errs field.ErrorList
	if n := s.MinReplicas; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(path.Child("minReplicas"), *n, "must be greater than or equal to 0"))
	}
	switch most := path.Child("maxReplicas"); {
	case s.MaxReplicas == 0:
		errs = append(errs, field.Required(most, "must be set and greater than 0"))
	case s.MaxReplicas < 0:
		errs = append(errs, field.Invalid(most, s.MaxReplicas, "must be greater than or equal to 1"))
	}
	if n := s.MinReplicas; n != nil && s.MaxReplicas < *n {
		errs = append(errs, field.Invalid(path.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`"))
	}
	errs = append(errs, scaleReference(s.ScaleTargetRef, path.Child("scaleTargetRef"))...)
	if _, err := groupOf(s.ScaleTargetRef.APIVersion); err != nil && !anyGroup {
		errs = append(errs, field.Invalid(path.Child("scaleTargetRef", "apiVersion"), s.ScaleTargetRef.APIVersion, err.Error()))
	}
	errs = append(errs, metrics(s, path.Child("metrics"))...)
	if b := s.Behavior; b != nil {
		errs = append(errs, scalingRules(b.ScaleUp, path.Child("behavior", "scaleUp"))...)
		errs = append(errs, scalingRules(b.ScaleDown, path.Child("behavior", "scaleDown"))...)
	}
	return errs
}

func groupOf(version string) (string, error) {
	gv, err := schema.ParseGroupVersion(version)
	if err == nil && gv.Group == "" {
		err = fmt.Errorf("apiVersion must specify API group")
	}
	return gv.Group, err
}

func scaleReference(r autoscalingv2.CrossVersionObjectReference, path *field.Path) field.ErrorList {
	return append(segment(r.Kind, path.Child("kind"), ""), segment(r.Name, path.Child("name"), "")...)
}

// segment is a name that is part of a path.
func segment(name string, at *field.Path, missing string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, missing)}
	}
	return invalid(at, name, content.IsPathSegmentName(name))
}

func metrics(s *autoscalingv2.HorizontalPodAutoscalerSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	toZero := false
	for i := range s.Metrics {
		errs = append(errs, metric(&s.Metrics[i], path.Index(i))...)
		toZero = toZero || s.Metrics[i].Type == autoscalingv2.ObjectMetricSourceType || s.Metrics[i].Type == autoscalingv2.ExternalMetricSourceType
	}
	if n := s.MinReplicas; n != nil && *n == 0 && !toZero {
		errs = append(errs, field.Forbidden(path, "must specify at least one Object or External metric to support scaling to zero replicas"))
	}
	return errs
}

func metric(m *autoscalingv2.MetricSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if m.Type == "" {
		errs = append(errs, field.Required(path.Child("type"), "must specify a metric source type"))
	}
	types := []autoscalingv2.MetricSourceType{autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType,
		autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType}
	if !slices.Contains(types, m.Type) {
		errs = append(errs, field.NotSupported(path.Child("type"), m.Type, types))
	}
	sources := []struct {
		name  string
		kind  autoscalingv2.MetricSourceType
		there bool
		check func(*field.Path) field.ErrorList
	}{
		{"object", autoscalingv2.ObjectMetricSourceType, m.Object != nil, func(p *field.Path) field.ErrorList { return objectSource(m.Object, p) }},
		{"external", autoscalingv2.ExternalMetricSourceType, m.External != nil, func(p *field.Path) field.ErrorList { return externalSource(m.External, p) }},
		{"pods", autoscalingv2.PodsMetricSourceType, m.Pods != nil, func(p *field.Path) field.ErrorList { return podsSource(m.Pods, p) }},
		{"resource", autoscalingv2.ResourceMetricSourceType, m.Resource != nil, func(p *field.Path) field.ErrorList { return resourceSource(m.Resource, p) }},
		{"containerResource", autoscalingv2.ContainerResourceMetricSourceType, m.ContainerResource != nil,
			func(p *field.Path) field.ErrorList { return containerSource(m.ContainerResource, p) }},
	}
	found := 0
	for _, s := range sources {
		if s.there {
			if found++; found == 1 {
				errs = append(errs, s.check(path.Child(s.name))...)
			}
		} else if s.kind == m.Type {
			errs = append(errs, field.Required(path.Child(s.name), "must populate information for the given metric source"))
		}
	}
	for _, s := range sources {
		if s.there && found > 1 && s.kind != m.Type {
			errs = append(errs, field.Forbidden(path.Child(s.name), "must populate the given metric source only"))
		}
	}
	return errs
}

func objectSource(s *autoscalingv2.ObjectMetricSource, path *field.Path) field.ErrorList {
	errs := scaleReference(s.DescribedObject, path.Child("describedObject"))
	errs = append(errs, segment(s.Metric.Name, path.Child("metric", "name"), "must specify a metric name")...)
	errs = append(errs, metricTarget(&s.Target, path.Child("target"))...)
	if s.Target.Value == nil && s.Target.AverageValue == nil {
		errs = append(errs, field.Required(path.Child("target", "averageValue"), "must set either a target value or averageValue"))
	}
	return errs
}

func externalSource(s *autoscalingv2.ExternalMetricSource, path *field.Path) field.ErrorList {
	errs := segment(s.Metric.Name, path.Child("metric", "name"), "must specify a metric name")
	errs = append(errs, metricTarget(&s.Target, path.Child("target"))...)
	switch value, average := s.Target.Value != nil, s.Target.AverageValue != nil; {
	case !value && !average:
		errs = append(errs, field.Required(path.Child("target", "averageValue"), "must set either a target value for metric or a per-pod target"))
	case value && average:
		errs = append(errs, field.Forbidden(path.Child("target", "value"), "may not set both a target value for metric and a per-pod target"))
	}
	return errs
}

func podsSource(s *autoscalingv2.PodsMetricSource, path *field.Path) field.ErrorList {
	errs := segment(s.Metric.Name, path.Child("metric", "name"), "must specify a metric name")
	errs = append(errs, metricTarget(&s.Target, path.Child("target"))...)
	if s.Target.AverageValue == nil {
		errs = append(errs, field.Required(path.Child("target", "averageValue"), "must specify a positive target averageValue"))
	}
	return errs
}

func resourceSource(s *autoscalingv2.ResourceMetricSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), "must specify a resource name"))
	}
	return append(errs, useTarget(&s.Target, path.Child("target"))...)
}

func containerSource(s *autoscalingv2.ContainerResourceMetricSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), "must specify a resource name"))
	}
	if s.Container == "" {
		errs = append(errs, field.Required(path.Child("container"), "must specify a container"))
	} else {
		errs = append(errs, invalid(path.Child("container"), s.Container, valid.IsDNS1123Label(s.Container))...)
	}
	return append(errs, useTarget(&s.Target, path.Child("target"))...)
}

func useTarget(t *autoscalingv2.MetricTarget, path *field.Path) field.ErrorList {
	errs := metricTarget(t, path)
	switch share, value := t.AverageUtilization != nil, t.AverageValue != nil; {
	case !share && !value:
		errs = append(errs, field.Required(path.Child("averageUtilization"), "must set either a target raw value or a target utilization"))
	case share && value:
		errs = append(errs, field.Forbidden(path.Child("averageValue"), "may not set both a target raw value and a target utilization"))
	}
	return errs
}

func metricTarget(t *autoscalingv2.MetricTarget, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.Type == "" {
		errs = append(errs, field.Required(path.Child("type"), "must specify a metric target type"))
	}
	if t.Type != autoscalingv2.UtilizationMetricType && t.Type != autoscalingv2.ValueMetricType && t.Type != autoscalingv2.AverageValueMetricType {
		errs = append(errs, field.Invalid(path.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue"))
	}
	positive := func(name string, q *resource.Quantity) {
		if q != nil && q.Sign() != 1 {
			errs = append(errs, field.Invalid(path.Child(name), q.String(), "must be positive"))
		}
	}
	positive("value", t.Value)
	positive("averageValue", t.AverageValue)
	if n := t.AverageUtilization; n != nil && *n < 1 {
		errs = append(errs, field.Invalid(path.Child("averageUtilization"), *n, "must be greater than 0"))
	}
	return errs
}

func scalingRules(r *autoscalingv2.HPAScalingRules, path *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	if n := r.StabilizationWindowSeconds; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(path.Child("stabilizationWindowSeconds"), *n, "must be greater than or equal to zero"))
	} else if n != nil && *n > longestStabilization {
		errs = append(errs, field.Invalid(path.Child("stabilizationWindowSeconds"), *n, fmt.Sprintf("must be less than or equal to %d", longestStabilization)))
	}
	errs = append(errs, maybe(r.SelectPolicy, path.Child("selectPolicy"), autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect, autoscalingv2.DisabledPolicySelect)...)
	if len(r.Policies) == 0 {
		errs = append(errs, field.Required(path.Child("policies"), "must specify at least one Policy"))
	}
	for i, p := range r.Policies {
		at := path.Child("policies").Index(i)
		errs = append(errs, maybe(&p.Type, at.Child("type"), autoscalingv2.PodsScalingPolicy, autoscalingv2.PercentScalingPolicy)...)
		if p.Value <= 0 {
			errs = append(errs, field.Invalid(at.Child("value"), p.Value, "must be greater than zero"))
		}
		if p.PeriodSeconds <= 0 {
			errs = append(errs, field.Invalid(at.Child("periodSeconds"), p.PeriodSeconds, "must be greater than zero"))
		} else if p.PeriodSeconds > longestPeriod {
			errs = append(errs, field.Invalid(at.Child("periodSeconds"), p.PeriodSeconds, fmt.Sprintf("must be less than or equal to %d", longestPeriod)))
		}
	}
	if t := r.Tolerance; t != nil && t.Sign() < 0 {
		errs = append(errs, field.Invalid(path.Child("tolerance"), t.String(), "must be greater than or equal to 0"))
	}
	return errs
}
