package columns

import (
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// DaemonSets shows on how many nodes they should be, and are.
func DaemonSets() Table[*appsv1.DaemonSet] {
	return Table[*appsv1.DaemonSet]{
		header("Name,Desired:integer,Current:integer,Ready:integer,Up-to-date:integer,Available:integer,Node Selector,Age,Containers*,Images*,Selector*"),
		func(d *appsv1.DaemonSet, now time.Time) []any {
			names, images := containers(&d.Spec.Template.Spec)
			s := d.Status
			return []any{
				d.Name, int64(s.DesiredNumberScheduled), int64(s.CurrentNumberScheduled), int64(s.NumberReady), int64(s.UpdatedNumberScheduled),
				int64(s.NumberAvailable), labels.FormatLabels(d.Spec.Template.Spec.NodeSelector), created(d, now), names, images,
				metav1.FormatLabelSelector(d.Spec.Selector),
			}
		},
	}
}

// StatefulSets shows how many of their pods are ready.
func StatefulSets() Table[*appsv1.StatefulSet] {
	return Table[*appsv1.StatefulSet]{
		header("Name,Ready,Age,Containers*,Images*"),
		func(s *appsv1.StatefulSet, now time.Time) []any {
			names, images := containers(&s.Spec.Template.Spec)
			return []any{s.Name, nOf(s.Status.ReadyReplicas, replicas(s.Spec.Replicas)), created(s, now), names, images}
		},
	}
}

// ReplicationControllers shows how many pods they want and have.
func ReplicationControllers() Table[*corev1.ReplicationController] {
	return Table[*corev1.ReplicationController]{
		header("Name,Desired:integer,Current:integer,Ready:integer,Age,Containers*,Images*,Selector*"),
		func(r *corev1.ReplicationController, now time.Time) []any {
			var names, images string
			if r.Spec.Template != nil {
				names, images = containers(&r.Spec.Template.Spec)
			}
			return []any{
				r.Name, int64(replicas(r.Spec.Replicas)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas),
				created(r, now), names, images, labels.FormatLabels(r.Spec.Selector),
			}
		},
	}
}

// PodTemplates shows what their pods would be made of.
func PodTemplates() Table[*corev1.PodTemplate] {
	return Table[*corev1.PodTemplate]{
		header("Name,Containers,Images,Pod Labels"),
		func(t *corev1.PodTemplate, _ time.Time) []any {
			names, images := containers(&t.Template.Spec)
			return []any{t.Name, names, images, labels.FormatLabels(t.Template.Labels)}
		},
	}
}

// ControllerRevisions shows whose they are.
func ControllerRevisions() Table[*appsv1.ControllerRevision] {
	return Table[*appsv1.ControllerRevision]{
		header("Name,Controller,Revision,Age"),
		func(r *appsv1.ControllerRevision, now time.Time) []any {
			owner := none
			if c := metav1.GetControllerOf(r); c != nil {
				gv, _ := schema.ParseGroupVersion(c.APIVersion) // an empty group, if it cannot be read
				owner = strings.ToLower(schema.GroupKind{Group: gv.Group, Kind: c.Kind}.String()) + "/" + c.Name
			}
			return []any{r.Name, owner, r.Revision, created(r, now)}
		},
	}
}
