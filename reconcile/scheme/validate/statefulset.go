package validate

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func parsed(s *metav1.LabelSelector) (labels.Selector, error) {
	return metav1.LabelSelectorAsSelector(s)
}

// StatefulSet validates a new StatefulSet.
func (v Rules) StatefulSet(s *appsv1.StatefulSet) field.ErrorList {
	return append(metadata(&s.ObjectMeta, validation.NameIsDNSLabel), v.statefulSetSpec(&s.Spec)...)
}

// StatefulSetUpdate keeps what the pods' names and claims hang on.
func (v Rules) StatefulSetUpdate(new, old *appsv1.StatefulSet) field.ErrorList {
	n, o, path := &new.Spec, &old.Spec, root("spec")
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, v.statefulSetSpec(n)...)
	errs = append(errs, immutable(n.Selector, o.Selector, path.Child("selector"))...)
	errs = append(errs, immutable(n.VolumeClaimTemplates, o.VolumeClaimTemplates, path.Child("volumeClaimTemplates"))...)
	errs = append(errs, immutable(n.ServiceName, o.ServiceName, path.Child("serviceName"))...)
	return append(errs, immutable(n.PodManagementPolicy, o.PodManagementPolicy, path.Child("podManagementPolicy"))...)
}

func (v Rules) statefulSetSpec(s *appsv1.StatefulSetSpec) field.ErrorList {
	path := root("spec")
	var errs field.ErrorList
	switch s.PodManagementPolicy {
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	default:
		errs = append(errs, field.Invalid(path.Child("podManagementPolicy"), s.PodManagementPolicy,
			fmt.Sprintf("must be '%s' or '%s'", appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement)))
	}
	errs = append(errs, statefulStrategy(&s.UpdateStrategy, path.Child("updateStrategy"))...)
	if p := s.PersistentVolumeClaimRetentionPolicy; p != nil {
		errs = append(errs, retention(p.WhenDeleted, path.Child("persistentVolumeClaimRetentionPolicy", "whenDeleted"))...)
		errs = append(errs, retention(p.WhenScaled, path.Child("persistentVolumeClaimRetentionPolicy", "whenScaled"))...)
	}
	for i := range s.VolumeClaimTemplates {
		errs = append(errs, claimSpec(&s.VolumeClaimTemplates[i].Spec, path.Child("volumeClaimTemplates").Index(i).Child("spec"))...)
	}
	errs = append(errs, replicas(s.Replicas, path.Child("replicas"))...)
	errs = append(errs, notNegative(s.MinReadySeconds, path.Child("minReadySeconds"))...)
	if n := s.RevisionHistoryLimit; n != nil {
		errs = append(errs, notNegative(*n, path.Child("revisionHistoryLimit"))...)
	}
	if s.Ordinals != nil {
		errs = append(errs, notNegative(s.Ordinals.Start, path.Child("ordinals.start"))...)
	}
	if s.ServiceName != "" {
		errs = append(errs, dnsLabel(s.ServiceName, path.Child("serviceName"))...)
	}
	errs = append(errs, ownSelector(s.Selector, "statefulset", path.Child("selector"))...)
	return append(errs, v.statefulTemplate(s, path.Child("template"))...)
}

// statefulTemplate validates the template as the pods will have it: with the claims as volumes, and names given.
func (v Rules) statefulTemplate(s *appsv1.StatefulSetSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if sel, err := parsed(s.Selector); err == nil {
		errs = append(errs, selected(sel, &s.Template, path)...)
	}
	t := s.Template.DeepCopy()
	t.Spec.Hostname, t.Spec.Subdomain = "", ""
	for _, c := range s.VolumeClaimTemplates {
		t.Spec.Volumes = slices.DeleteFunc(t.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == c.Name })
		t.Spec.Volumes = append(t.Spec.Volumes, corev1.Volume{Name: c.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.Name},
		}})
	}
	errs = append(errs, v.podTemplate(t, path)...)
	return append(errs, runsOn(&t.Spec, "StatefulSet", path.Child("spec"))...)
}

func statefulStrategy(s *appsv1.StatefulSetUpdateStrategy, path *field.Path) field.ErrorList {
	switch s.Type {
	case "":
		return field.ErrorList{field.Required(path, "")}
	case appsv1.OnDeleteStatefulSetStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Invalid(path.Child("rollingUpdate"), s.RollingUpdate, fmt.Sprintf("only allowed for updateStrategy '%s'", appsv1.RollingUpdateStatefulSetStrategyType))}
		}
		return nil
	case appsv1.RollingUpdateStatefulSetStrategyType:
		return statefulRolling(s.RollingUpdate, path.Child("rollingUpdate"))
	}
	return field.ErrorList{field.Invalid(path, *s, fmt.Sprintf("must be '%s' or '%s'", appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType))}
}

func statefulRolling(r *appsv1.RollingUpdateStatefulSetStrategy, path *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	if r.Partition != nil {
		errs = notNegative(*r.Partition, path.Child("partition"))
	}
	if n := r.MaxUnavailable; n != nil {
		at := path.Child("maxUnavailable")
		errs = append(errs, countOrPercent(*n, at)...)
		if zero(*n) {
			errs = append(errs, field.Invalid(at, *n, "cannot be 0"))
		}
		errs = append(errs, notAbove100(n, at)...)
	}
	return errs
}

func retention(p appsv1.PersistentVolumeClaimRetentionPolicyType, path *field.Path) field.ErrorList {
	return maybe(&p, path, appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType)
}

// StatefulSetStatusUpdate validates the counts.
func StatefulSetStatusUpdate(new, old *appsv1.StatefulSet) field.ErrorList {
	s, path := &new.Status, root("status")
	errs := notNegatives(path, count{"replicas", int64(s.Replicas)}, count{"observedGeneration", s.ObservedGeneration})
	for _, n := range []struct {
		name  string
		count int32
	}{
		{"readyReplicas", s.ReadyReplicas}, {"currentReplicas", s.CurrentReplicas}, {"updatedReplicas", s.UpdatedReplicas}, {"availableReplicas", s.AvailableReplicas},
	} {
		errs = append(errs, atMost(n.count, s.Replicas, "status.replicas", path.Child(n.name))...)
	}
	if s.AvailableReplicas > s.ReadyReplicas {
		errs = append(errs, field.Invalid(path.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than status.readyReplicas"))
	}
	errs = append(errs, metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)...)
	return append(errs, collisions(s.CollisionCount, old.Status.CollisionCount)...)
}
