package upgrade

import (
	"maps"

	"k8s.io/apimachinery/pkg/runtime"
)

func workloads(add func(r rewrite, to, from string, kinds ...string)) {
	add(oldDeployment, "apps/v1", "extensions/v1beta1", "Deployment")
	add(oldDaemonSet, "apps/v1", "extensions/v1beta1", "DaemonSet")
	add(selected, "apps/v1", "extensions/v1beta1", "ReplicaSet")
	add(deployment, "apps/v1", "apps/v1beta1", "Deployment")
	add(oldStatefulSet, "apps/v1", "apps/v1beta1", "StatefulSet")
	add(nil, "apps/v1", "apps/v1beta1", "ControllerRevision")
	add(selected, "apps/v1", "apps/v1beta2", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")
	add(nil, "apps/v1", "apps/v1beta2", "ControllerRevision")
	for _, old := range []string{"batch/v1beta1", "batch/v2alpha1"} {
		add(nil, "batch/v1", old, "CronJob")
	}
}

// selected has a workload select the pods that it makes, which once went without saying.
func selected(o fields) error {
	spec := o.in("spec")
	labels := spec.in("template", "metadata", "labels")
	if spec == nil || len(labels) == 0 || spec["selector"] != nil {
		return nil
	}
	spec["selector"] = map[string]any{"matchLabels": runtime.DeepCopyJSON(maps.Clone(labels))}
	return nil
}

// deployment has no field to roll back by: that is done with kubectl, or with Git.
func deployment(o fields) error {
	delete(o.in("spec"), "rollbackTo")
	return selected(o)
}

// oldDeployment replaced one pod at a time.
func oldDeployment(o fields) error {
	spec := o.in("spec")
	if spec == nil {
		return nil
	}
	strategy := spec.make("strategy")
	if kind := strategy.text("type"); kind == "" || kind == "RollingUpdate" {
		rolling := strategy.make("rollingUpdate")
		rolling.unset("maxSurge", int64(1))
		rolling.unset("maxUnavailable", int64(1))
	}
	return deployment(o)
}

// oldDaemonSet replaced its pods only when they were deleted.
func oldDaemonSet(o fields) error {
	if spec := o.in("spec"); spec != nil {
		delete(spec, "templateGeneration")
		spec.make("updateStrategy").unset("type", "OnDelete")
	}
	return selected(o)
}

// oldStatefulSet did so too.
func oldStatefulSet(o fields) error {
	if spec := o.in("spec"); spec != nil {
		spec.make("updateStrategy").unset("type", "OnDelete")
	}
	return selected(o)
}

// disruptionBudget with an empty selector was about no pod; now that is one without any.
func disruptionBudget(o fields) error {
	spec := o.in("spec")
	if selector, ok := spec["selector"].(map[string]any); ok && len(selector) == 0 {
		delete(spec, "selector")
	}
	return nil
}

// autoscaler says in one form what each metric is to be.
func autoscaler(o fields) error {
	for _, m := range o.in("spec").each("metrics") {
		for _, kind := range []string{"resource", "containerResource"} {
			if r := m.in(kind); r != nil {
				target(r, map[string]string{"targetAverageUtilization": "Utilization", "targetAverageValue": "AverageValue"})
			}
		}
		if p := m.in("pods"); p != nil {
			metric(p, "selector")
			target(p, map[string]string{"targetAverageValue": "AverageValue"})
		}
		if p := m.in("object"); p != nil {
			p.move("target", p, "describedObject")
			metric(p, "selector")
			target(p, map[string]string{"averageValue": "AverageValue", "targetValue": "Value"})
		}
		if e := m.in("external"); e != nil {
			metric(e, "metricSelector")
			target(e, map[string]string{"targetAverageValue": "AverageValue", "targetValue": "Value"})
		}
	}
	return nil
}

func metric(m fields, selector string) {
	named := m.make("metric")
	m.move("metricName", named, "name")
	m.move(selector, named, "selector")
}

// target makes one of the fields in which a metric once said what it is to be. Of a value and an average, which only objects
// could have both, the average counts.
func target(m fields, kinds map[string]string) {
	into := map[string]string{"Utilization": "averageUtilization", "AverageValue": "averageValue", "Value": "value"}
	t := fields{}
	for _, kind := range []string{"Value", "AverageValue", "Utilization"} {
		for old, is := range kinds {
			if v, ok := m[old]; ok && is == kind {
				delete(m, old)
				t = fields{"type": kind, into[kind]: v}
			}
		}
	}
	if len(t) > 0 {
		m["target"] = map[string]any(t)
	}
}
