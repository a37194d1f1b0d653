package columns

import (
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Deployments shows how far they are rolled out.
func Deployments() Table[*appsv1.Deployment] {
	return Table[*appsv1.Deployment]{
		header("Name,Ready,Up-to-date,Available,Age,Containers*,Images*,Selector*"),
		func(d *appsv1.Deployment, now time.Time) []any {
			names, images := containers(&d.Spec.Template.Spec)
			return []any{
				d.Name, nOf(d.Status.ReadyReplicas, replicas(d.Spec.Replicas)), int64(d.Status.UpdatedReplicas),
				int64(d.Status.AvailableReplicas), created(d, now), names, images, selector(d.Spec.Selector),
			}
		},
	}
}

// ReplicaSets shows how many pods they want and have.
func ReplicaSets() Table[*appsv1.ReplicaSet] {
	return Table[*appsv1.ReplicaSet]{
		header("Name,Desired:integer,Current:integer,Ready:integer,Age,Containers*,Images*,Selector*"),
		func(r *appsv1.ReplicaSet, now time.Time) []any {
			names, images := containers(&r.Spec.Template.Spec)
			return []any{
				r.Name, int64(replicas(r.Spec.Replicas)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas),
				created(r, now), names, images, metav1.FormatLabelSelector(r.Spec.Selector),
			}
		},
	}
}

func replicas(n *int32) int32 {
	if n == nil {
		return 0
	}
	return *n
}

func containers(s *corev1.PodSpec) (names, images string) {
	var ns, is []string
	for _, c := range s.Containers {
		ns, is = append(ns, c.Name), append(is, c.Image)
	}
	return strings.Join(ns, ","), strings.Join(is, ",")
}

func selector(s *metav1.LabelSelector) string {
	parsed, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return "<invalid>"
	}
	return parsed.String()
}
