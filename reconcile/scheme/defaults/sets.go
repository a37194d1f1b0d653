package defaults

import (
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// DaemonSet renews one pod at a time and keeps ten old revisions.
func DaemonSet(d *appsv1.DaemonSet) {
	s := &d.Spec
	unset(&s.UpdateStrategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if s.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		missing(&s.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		missing(&s.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		missing(&s.UpdateStrategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	missing(&s.RevisionHistoryLimit, 10)
	PodTemplate(&s.Template)
}

// StatefulSet has one pod, makes and renews them in order, one at a time, and keeps their claims and ten old revisions.
func StatefulSet(d *appsv1.StatefulSet) {
	s := &d.Spec
	unset(&s.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	if u := &s.UpdateStrategy; u.Type == "" {
		u.Type = appsv1.RollingUpdateStatefulSetStrategyType
		missing(&u.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	if u := s.UpdateStrategy; u.Type == appsv1.RollingUpdateStatefulSetStrategyType && u.RollingUpdate != nil {
		missing(&u.RollingUpdate.Partition, 0)
		missing(&u.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
	}
	missing(&s.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	unset(&s.PersistentVolumeClaimRetentionPolicy.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	unset(&s.PersistentVolumeClaimRetentionPolicy.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	missing(&s.Replicas, 1)
	missing(&s.RevisionHistoryLimit, 10)
	PodTemplate(&s.Template)
	for i := range s.VolumeClaimTemplates {
		c := &s.VolumeClaimTemplates[i]
		PersistentVolumeClaim(c)
		unset(&c.APIVersion, "v1")
		unset(&c.Kind, "PersistentVolumeClaim")
	}
}

// ReplicationController keeps one pod. It selects by the labels of its template, and bears them.
func ReplicationController(r *corev1.ReplicationController) {
	missing(&r.Spec.Replicas, 1)
	t := r.Spec.Template
	if t == nil {
		return
	}
	if t.Labels != nil && len(r.Spec.Selector) == 0 {
		r.Spec.Selector = maps.Clone(t.Labels)
	}
	if t.Labels != nil && len(r.Labels) == 0 {
		r.Labels = maps.Clone(t.Labels)
	}
	PodTemplate(t)
}

// PodTemplates are templates that stand alone.
func PodTemplates(t *corev1.PodTemplate) { PodTemplate(&t.Template) }
