package validate

import (
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// A count is a field of a status and its value.
type count struct {
	name string
	n    int64
}

func notNegatives(path *field.Path, counts ...count) field.ErrorList {
	var errs field.ErrorList
	for _, c := range counts {
		errs = append(errs, notNegative(c.n, path.Child(c.name))...)
	}
	return errs
}

// runsOn must be a template of pods that run until they are deleted.
func runsOn(s *corev1.PodSpec, kind string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p := s.RestartPolicy; p != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(path.Child("restartPolicy"), p, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if s.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("activeDeadlineSeconds"), "activeDeadlineSeconds in "+kind+" is not Supported"))
	}
	return errs
}

// selected refuses a template whose pods the selector would not find.
func selected(s labels.Selector, t *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	if s.Empty() || s.Matches(labels.Set(t.Labels)) {
		return nil
	}
	return field.ErrorList{field.Invalid(path.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`")}
}

func notAbove100(v *intstr.IntOrString, path *field.Path) field.ErrorList {
	if v == nil {
		return nil
	}
	if n, ok := percent(*v); ok && n > 100 {
		return field.ErrorList{field.Invalid(path, v, "must not be greater than 100%")}
	}
	return nil
}

// ReplicationController validates a new ReplicationController.
func (v Rules) ReplicationController(r *corev1.ReplicationController) field.ErrorList {
	return append(metadata(&r.ObjectMeta, validation.NameIsDNSSubdomain), v.replicationControllerSpec(&r.Spec)...)
}

// ReplicationControllerUpdate may change all of the spec.
func (v Rules) ReplicationControllerUpdate(new, old *corev1.ReplicationController) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), v.replicationControllerSpec(&new.Spec)...)
}

func (v Rules) replicationControllerSpec(s *corev1.ReplicationControllerSpec) field.ErrorList {
	path := root("spec")
	errs := notNegative(s.MinReadySeconds, path.Child("minReadySeconds"))
	if len(s.Selector) == 0 {
		errs = append(errs, field.Required(path.Child("selector"), ""))
	}
	errs = append(errs, replicas(s.Replicas, path.Child("replicas"))...)
	if s.Template == nil {
		return append(errs, field.Required(path.Child("template"), ""))
	}
	errs = append(errs, selected(labels.SelectorFromSet(s.Selector), s.Template, path.Child("template"))...)
	errs = append(errs, v.podTemplate(s.Template, path.Child("template"))...)
	return append(errs, runsOn(&s.Template.Spec, "ReplicationController", path.Child("template", "spec"))...)
}

// ReplicationControllerStatusUpdate validates the counts.
func ReplicationControllerStatusUpdate(new, old *corev1.ReplicationController) field.ErrorList {
	s, path := &new.Status, root("status")
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, notNegatives(path, count{"replicas", int64(s.Replicas)}, count{"observedGeneration", s.ObservedGeneration})...)
	errs = append(errs, atMost(s.FullyLabeledReplicas, s.Replicas, "status.replicas", path.Child("fullyLabeledReplicas"))...)
	errs = append(errs, atMost(s.ReadyReplicas, s.Replicas, "status.replicas", path.Child("readyReplicas"))...)
	errs = append(errs, atMost(s.AvailableReplicas, s.Replicas, "status.replicas", path.Child("availableReplicas"))...)
	if s.AvailableReplicas > s.ReadyReplicas {
		errs = append(errs, field.Invalid(path.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas"))
	}
	return errs
}

// PodTemplate validates a new PodTemplate.
func (v Rules) PodTemplate(t *corev1.PodTemplate) field.ErrorList {
	return append(metadata(&t.ObjectMeta, validation.NameIsDNSSubdomain), v.podTemplate(&t.Template, root("template"))...)
}

// PodTemplateUpdate may change all of the template.
func (v Rules) PodTemplateUpdate(new, old *corev1.PodTemplate) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), v.podTemplate(&new.Template, root("template"))...)
}

// DaemonSet validates a new DaemonSet.
func (v Rules) DaemonSet(d *appsv1.DaemonSet) field.ErrorList {
	return append(metadata(&d.ObjectMeta, validation.NameIsDNSSubdomain), v.daemonSetSpec(&d.Spec)...)
}

// DaemonSetUpdate keeps the selector.
func (v Rules) DaemonSetUpdate(new, old *appsv1.DaemonSet) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, immutable(new.Spec.Selector, old.Spec.Selector, root("spec").Child("selector"))...)
	return append(errs, v.daemonSetSpec(&new.Spec)...)
}

func (v Rules) daemonSetSpec(s *appsv1.DaemonSetSpec) field.ErrorList {
	path := root("spec")
	errs := ownSelector(s.Selector, "daemonset", path.Child("selector"))
	if sel, err := parsed(s.Selector); err == nil {
		errs = append(errs, selected(sel, &s.Template, path.Child("template"))...)
	}
	errs = append(errs, v.podTemplate(&s.Template, path.Child("template"))...)
	errs = append(errs, runsOn(&s.Template.Spec, "DaemonSet", path.Child("template", "spec"))...)
	errs = append(errs, notNegative(s.MinReadySeconds, path.Child("minReadySeconds"))...)
	errs = append(errs, daemonStrategy(&s.UpdateStrategy, path.Child("updateStrategy"))...)
	if n := s.RevisionHistoryLimit; n != nil {
		errs = append(errs, notNegative(*n, path.Child("revisionHistoryLimit"))...)
	}
	return errs
}

func daemonStrategy(s *appsv1.DaemonSetUpdateStrategy, path *field.Path) field.ErrorList {
	switch s.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
		return nil
	case appsv1.RollingUpdateDaemonSetStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(path.Child("rollingUpdate"), "")}
		}
		return daemonRolling(s.RollingUpdate, path.Child("rollingUpdate"))
	}
	return field.ErrorList{field.NotSupported(path, *s, []string{string(appsv1.RollingUpdateDaemonSetStrategyType), string(appsv1.OnDeleteDaemonSetStrategyType)})}
}

// daemonRolling: either a pod goes first, or another comes first.
func daemonRolling(r *appsv1.RollingUpdateDaemonSet, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	some := func(v *intstr.IntOrString, name string) bool {
		if v == nil {
			return false
		}
		errs = append(errs, countOrPercent(*v, path.Child(name))...)
		errs = append(errs, notAbove100(v, path.Child(name))...)
		return !zero(*v)
	}
	gap, surge := some(r.MaxUnavailable, "maxUnavailable"), some(r.MaxSurge, "maxSurge")
	switch {
	case gap && surge:
		errs = append(errs, field.Invalid(path.Child("maxSurge"), r.MaxSurge, "may not be set when maxUnavailable is non-zero"))
	case !gap && !surge:
		errs = append(errs, field.Required(path.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
	}
	return errs
}

// DaemonSetStatusUpdate validates the counts.
func DaemonSetStatusUpdate(new, old *appsv1.DaemonSet) field.ErrorList {
	s, path := &new.Status, root("status")
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, notNegatives(path, count{"currentNumberScheduled", int64(s.CurrentNumberScheduled)}, count{"numberMisscheduled", int64(s.NumberMisscheduled)},
		count{"desiredNumberScheduled", int64(s.DesiredNumberScheduled)}, count{"numberReady", int64(s.NumberReady)}, count{"observedGeneration", s.ObservedGeneration},
		count{"updatedNumberScheduled", int64(s.UpdatedNumberScheduled)}, count{"numberAvailable", int64(s.NumberAvailable)}, count{"numberUnavailable", int64(s.NumberUnavailable)})...)
	return append(errs, collisions(s.CollisionCount, old.Status.CollisionCount)...)
}

// collisions only become more.
func collisions(new, old *int32) field.ErrorList {
	path := root("status").Child("collisionCount")
	var n int32
	if new != nil {
		n = *new
	}
	errs := notNegative(n, path)
	if old != nil && n < *old {
		errs = append(errs, field.Invalid(path, n, "cannot be decremented"))
	}
	return errs
}

// ControllerRevision validates a new ControllerRevision.
func ControllerRevision(r *appsv1.ControllerRevision) field.ErrorList {
	errs := controllerRevision(r)
	raw, err := r.Data.MarshalJSON()
	var data any
	if err == nil {
		err = json.Unmarshal(raw, &data)
	}
	_, object := data.(map[string]any)
	switch {
	case err != nil:
		errs = append(errs, field.Invalid(root("data"), "<value omitted>", fmt.Sprintf("error parsing data: %v", err)))
	case data == nil:
		errs = append(errs, field.Required(root("data"), "data is mandatory"))
	case !object:
		errs = append(errs, field.Required(root("data"), "data must be a valid JSON object"))
	}
	return errs
}

func controllerRevision(r *appsv1.ControllerRevision) field.ErrorList {
	return append(metadata(&r.ObjectMeta, validation.NameIsDNSSubdomain), notNegative(r.Revision, root("revision"))...)
}

// ControllerRevisionUpdate keeps the data.
func ControllerRevisionUpdate(new, old *appsv1.ControllerRevision) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, controllerRevision(new)...)
	return append(errs, immutable(new.Data, old.Data, root("data"))...)
}

func dnsLabel(s string, path *field.Path) field.ErrorList {
	return invalid(path, s, valid.IsDNS1123Label(s))
}
