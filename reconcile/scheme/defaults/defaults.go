// Package defaults fills in what Kubernetes fills in when a manifest leaves it out, by its documented rules. Its
// functions change the object that they are given, are idempotent, and never overwrite what is there.
package defaults

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// unset gives *field the value v if it is zero.
func unset[T comparable](field *T, v T) {
	var zero T
	if *field == zero {
		*field = v
	}
}

// missing gives *field a pointer to v if it is nil.
func missing[T any](field **T, v T) {
	if *field == nil {
		*field = &v
	}
}

// Deployment rolls one replica, a quarter at a time, keeps ten old ReplicaSets, and fails after ten minutes.
func Deployment(d *appsv1.Deployment) {
	s := &d.Spec
	missing(&s.Replicas, 1)
	missing(&s.RevisionHistoryLimit, 10)
	missing(&s.ProgressDeadlineSeconds, 600)
	unset(&s.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if s.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		missing(&s.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		missing(&s.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		missing(&s.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	PodTemplate(&s.Template)
}

// ReplicaSet keeps one replica.
func ReplicaSet(r *appsv1.ReplicaSet) {
	missing(&r.Spec.Replicas, 1)
	PodTemplate(&r.Spec.Template)
}

// Namespace carries its name as a label, so that selectors can name it, and is active.
func Namespace(n *corev1.Namespace) {
	unset(&n.Status.Phase, corev1.NamespaceActive)
	if n.Name == "" {
		return
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
}

// Node may give away all that it has. Its pods' range is written in two fields, which agree: the older one counts.
func Node(n *corev1.Node) {
	if s := &n.Spec; s.PodCIDR != "" && (len(s.PodCIDRs) == 0 || s.PodCIDRs[0] != s.PodCIDR) {
		s.PodCIDRs = []string{s.PodCIDR}
	} else if len(s.PodCIDRs) > 0 {
		s.PodCIDR = s.PodCIDRs[0]
	}
	roundUp(n.Status.Capacity)
	if n.Status.Allocatable == nil && n.Status.Capacity != nil {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
	roundUp(n.Status.Allocatable)
}

// Secret is opaque. What is written as text under stringData becomes data.
func Secret(s *corev1.Secret) {
	unset(&s.Type, corev1.SecretTypeOpaque)
	if s.Data == nil && len(s.StringData) > 0 {
		s.Data = make(map[string][]byte, len(s.StringData))
	}
	for k, v := range s.StringData {
		s.Data[k] = []byte(v)
	}
	s.StringData = nil
}

// EndpointSlice has ports with a name, be it empty, and a protocol.
func EndpointSlice(e *discoveryv1.EndpointSlice) {
	for i := range e.Ports {
		missing(&e.Ports[i].Name, "")
		missing(&e.Ports[i].Protocol, corev1.ProtocolTCP)
	}
}
