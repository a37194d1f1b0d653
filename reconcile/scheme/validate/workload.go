package validate

import (
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Deployment validates a new Deployment.
func (v Rules) Deployment(d *appsv1.Deployment) field.ErrorList {
	return append(metadata(&d.ObjectMeta, validation.NameIsDNSSubdomain), v.deploymentSpec(&d.Spec)...)
}

// DeploymentUpdate keeps the selector, by which the pods that exist were made.
func (v Rules) DeploymentUpdate(new, old *appsv1.Deployment) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, v.deploymentSpec(&new.Spec)...)
	return append(errs, immutable(new.Spec.Selector, old.Spec.Selector, root("spec").Child("selector"))...)
}

func (v Rules) deploymentSpec(s *appsv1.DeploymentSpec) field.ErrorList {
	path := root("spec")
	errs := replicas(s.Replicas, path.Child("replicas"))
	errs = append(errs, ownSelector(s.Selector, "deployment", path.Child("selector"))...)
	errs = append(errs, v.workloadTemplate(&s.Template, s.Selector, path.Child("template"))...)
	errs = append(errs, strategy(&s.Strategy, path.Child("strategy"))...)
	errs = append(errs, notNegative(s.MinReadySeconds, path.Child("minReadySeconds"))...)
	if n := s.RevisionHistoryLimit; n != nil {
		errs = append(errs, notNegative(*n, path.Child("revisionHistoryLimit"))...)
	}
	if n := s.ProgressDeadlineSeconds; n != nil {
		errs = append(errs, notNegative(*n, path.Child("progressDeadlineSeconds"))...)
		if *n <= s.MinReadySeconds {
			errs = append(errs, field.Invalid(path.Child("progressDeadlineSeconds"), *n, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

func replicas(n *int32, path *field.Path) field.ErrorList {
	if n == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	return notNegative(*n, path)
}

// ownSelector must select something, but not all.
func ownSelector(s *metav1.LabelSelector, kind string, path *field.Path) field.ErrorList {
	if s == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	errs := selector(s, path)
	if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(path, s, "empty selector is invalid for "+kind))
	}
	return errs
}

// workloadTemplate must make pods that the selector finds, and that run until they are deleted.
func (v Rules) workloadTemplate(t *corev1.PodTemplateSpec, s *metav1.LabelSelector, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s != nil {
		if sel, err := metav1.LabelSelectorAsSelector(s); err == nil && !sel.Empty() && !sel.Matches(labels.Set(t.Labels)) {
			errs = append(errs, field.Invalid(path.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`"))
		}
	}
	errs = append(errs, v.podTemplate(t, path)...)
	spec := path.Child("spec")
	if p := t.Spec.RestartPolicy; p != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(spec.Child("restartPolicy"), p, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(spec.Child("activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicaSet is not Supported"))
	}
	return errs
}

func strategy(s *appsv1.DeploymentStrategy, path *field.Path) field.ErrorList {
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(path.Child("rollingUpdate"), "may not be specified when strategy `type` is '"+string(s.Type)+"'")}
		}
		return nil
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(path.Child("rollingUpdate"), "this should be defaulted and never be nil")}
		}
		return rolling(s.RollingUpdate, path.Child("rollingUpdate"))
	}
	return oneOf(s.Type, path, appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType)
}

func rolling(r *appsv1.RollingUpdateDeployment, path *field.Path) field.ErrorList {
	surge, gap := intstr.FromInt32(0), intstr.FromInt32(0)
	if r.MaxSurge != nil {
		surge = *r.MaxSurge
	}
	if r.MaxUnavailable != nil {
		gap = *r.MaxUnavailable
	}
	errs := countOrPercent(gap, path.Child("maxUnavailable"))
	errs = append(errs, countOrPercent(surge, path.Child("maxSurge"))...)
	if zero(surge) && zero(gap) {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), &gap, "may not be 0 when `maxSurge` is 0"))
	}
	if n, ok := percent(gap); ok && n > 100 {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), &gap, "must not be greater than 100%"))
	}
	return errs
}

func countOrPercent(v intstr.IntOrString, path *field.Path) field.ErrorList {
	if v.Type == intstr.String {
		return invalid(path, &v, valid.IsValidPercent(v.StrVal))
	}
	return notNegative(v.IntVal, path)
}

func percent(v intstr.IntOrString) (int, bool) {
	if v.Type != intstr.String || len(valid.IsValidPercent(v.StrVal)) > 0 {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSuffix(v.StrVal, "%"))
	return n, err == nil
}

func zero(v intstr.IntOrString) bool {
	n, ok := percent(v)
	return v.Type == intstr.Int && v.IntVal == 0 || ok && n == 0
}

// DeploymentStatusUpdate validates the counts.
func DeploymentStatusUpdate(new, old *appsv1.Deployment) field.ErrorList {
	s, path := &new.Status, root("status")
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, notNegative(s.ObservedGeneration, path.Child("observedGeneration"))...)
	errs = append(errs, notNegative(s.Replicas, path.Child("replicas"))...)
	for _, n := range []struct {
		name  string
		count int32
	}{
		{"updatedReplicas", s.UpdatedReplicas}, {"readyReplicas", s.ReadyReplicas}, {"availableReplicas", s.AvailableReplicas},
	} {
		errs = append(errs, atMost(n.count, s.Replicas, "status.replicas", path.Child(n.name))...)
	}
	errs = append(errs, notNegative(s.UnavailableReplicas, path.Child("unavailableReplicas"))...)
	if s.AvailableReplicas > s.ReadyReplicas {
		errs = append(errs, field.Invalid(path.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas"))
	}
	return errs
}

func atMost(n, most int32, name string, path *field.Path) field.ErrorList {
	errs := notNegative(n, path)
	if n > most {
		errs = append(errs, field.Invalid(path, n, "cannot be greater than "+name))
	}
	return errs
}

// ReplicaSet validates a new ReplicaSet.
func (v Rules) ReplicaSet(r *appsv1.ReplicaSet) field.ErrorList {
	return append(metadata(&r.ObjectMeta, validation.NameIsDNSSubdomain), v.replicaSetSpec(&r.Spec)...)
}

// ReplicaSetUpdate keeps the selector.
func (v Rules) ReplicaSetUpdate(new, old *appsv1.ReplicaSet) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, v.replicaSetSpec(&new.Spec)...)
	return append(errs, immutable(new.Spec.Selector, old.Spec.Selector, root("spec").Child("selector"))...)
}

func (v Rules) replicaSetSpec(s *appsv1.ReplicaSetSpec) field.ErrorList {
	path := root("spec")
	errs := replicas(s.Replicas, path.Child("replicas"))
	errs = append(errs, notNegative(s.MinReadySeconds, path.Child("minReadySeconds"))...)
	errs = append(errs, ownSelector(s.Selector, "deployment", path.Child("selector"))...)
	return append(errs, v.workloadTemplate(&s.Template, s.Selector, path.Child("template"))...)
}

// ReplicaSetStatusUpdate validates the counts.
func ReplicaSetStatusUpdate(new, old *appsv1.ReplicaSet) field.ErrorList {
	s, path := &new.Status, root("status")
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, notNegative(s.ObservedGeneration, path.Child("observedGeneration"))...)
	errs = append(errs, notNegative(s.Replicas, path.Child("replicas"))...)
	errs = append(errs, atMost(s.FullyLabeledReplicas, s.Replicas, "status.replicas", path.Child("fullyLabeledReplicas"))...)
	errs = append(errs, atMost(s.ReadyReplicas, s.Replicas, "status.replicas", path.Child("readyReplicas"))...)
	errs = append(errs, atMost(s.AvailableReplicas, s.Replicas, "status.replicas", path.Child("availableReplicas"))...)
	if s.AvailableReplicas > s.ReadyReplicas {
		errs = append(errs, field.Invalid(path.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas"))
	}
	return errs
}
