package storage

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Ephemeral makes the claims of pods that bring a template of one: they go with the pod.
type Ephemeral struct{}

func (Ephemeral) Name() string { return "ephemeral-volume-controller" }

func (Ephemeral) Owns() []control.Owned { return []control.Owned{{Kind: claimKind}} }

func (Ephemeral) Watches() []control.Watch {
	return []control.Watch{
		{Kind: podKind, Keys: func(s *store.Snapshot, c store.Change) []store.Key {
			if c.New == nil || c.Old != nil || !hasEphemeral(c.New.(*corev1.Pod)) {
				return nil
			}
			return []store.Key{s.Key(c.New)}
		}},
		{Kind: claimKind, Keys: func(s *store.Snapshot, c store.Change) []store.Key {
			if c.New != nil {
				return nil
			}
			if k, ok := control.ControllerOf(c.Old, podKind); ok {
				return []store.Key{k}
			}
			return nil
		}},
	}
}

func hasEphemeral(p *corev1.Pod) bool {
	for i := range p.Spec.Volumes {
		if p.Spec.Volumes[i].Ephemeral != nil {
			return true
		}
	}
	return false
}

// Plan makes the claims of one pod that are not there.
func (Ephemeral) Plan(w control.World, key store.Key) (control.Plan, error) {
	var plan control.Plan
	p, ok := store.Get[*corev1.Pod](w.Snapshot, key.Namespace, key.Name)
	if !ok || p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return plan, nil
	}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.Ephemeral == nil || v.Ephemeral.VolumeClaimTemplate == nil {
			continue
		}
		name := ephemeral.VolumeClaimName(p, v)
		if c, there := store.Get[*corev1.PersistentVolumeClaim](w.Snapshot, p.Namespace, name); there {
			if err := ephemeral.VolumeIsForPod(p, c); err != nil {
				tell(&plan, w, Ephemeral{}.Name(), control.Event{About: p, Type: corev1.EventTypeWarning, Reason: "FailedBinding", Message: "ephemeral volume: " + err.Error()})
			}
			continue
		}
		t := v.Ephemeral.VolumeClaimTemplate
		plan.Create(&corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{
				Name: name, Namespace: p.Namespace, Labels: maps.Clone(t.Labels), Annotations: maps.Clone(t.Annotations),
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(p, corev1.SchemeGroupVersion.WithKind("Pod"))},
			},
			Spec: *t.Spec.DeepCopy(),
		}, "its pod brings a template of it")
	}
	return plan, nil
}
