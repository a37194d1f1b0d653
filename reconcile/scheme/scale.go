package scheme

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Scaled is what the scale subresource of an object says: how many replicas it wants and has, and which pods are its own.
type Scaled struct {
	Wanted, Has int32
	Pods        labels.Selector // nil if it does not say
}

// Scaled reads the scale of o, which is of the kind. It is an error if the kind has none, or if it cannot be read.
func (k *Kind) Scaled(o store.Object) (Scaled, error) {
	if k.Scale == nil {
		return Scaled{}, fmt.Errorf("%s does not implement the scale subresource", k.Resource())
	}
	switch o := o.(type) {
	case *appsv1.Deployment:
		return scaled(o.Spec.Replicas, o.Status.Replicas, o.Spec.Selector)
	case *appsv1.ReplicaSet:
		return scaled(o.Spec.Replicas, o.Status.Replicas, o.Spec.Selector)
	case *appsv1.StatefulSet:
		return scaled(o.Spec.Replicas, o.Status.Replicas, o.Spec.Selector)
	case *corev1.ReplicationController:
		return scaled(o.Spec.Replicas, o.Status.Replicas, &metav1.LabelSelector{MatchLabels: o.Spec.Selector})
	}
	return k.scaledByPath(o)
}

func scaled(wanted *int32, has int32, selector *metav1.LabelSelector) (s Scaled, err error) {
	s.Wanted, s.Has = 1, has
	if wanted != nil {
		s.Wanted = *wanted
	}
	s.Pods, err = metav1.LabelSelectorAsSelector(selector)
	return s, err
}

// scaledByPath reads the fields that the kind names.
func (k *Kind) scaledByPath(o store.Object) (s Scaled, err error) {
	m, err := contents(o)
	if err != nil {
		return s, err
	}
	number := func(path string) int32 {
		n, _, _ := unstructured.NestedInt64(m, split(path)...)
		return int32(n)
	}
	s.Wanted, s.Has = number(k.Scale.Replicas), number(k.Scale.Status)
	if k.Scale.Selector == "" {
		return s, nil
	}
	if text, ok, _ := unstructured.NestedString(m, split(k.Scale.Selector)...); ok {
		s.Pods, err = labels.Parse(text)
	}
	return s, err
}

func split(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }

func contents(o store.Object) (map[string]any, error) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return u.Object, nil
	}
	return runtime.DefaultUnstructuredConverter.ToUnstructured(o)
}

// WithReplicas is a copy of o that wants n replicas.
func (k *Kind) WithReplicas(o store.Object, n int32) (store.Object, error) {
	next := o.DeepCopyObject().(store.Object)
	switch o := next.(type) {
	case *appsv1.Deployment:
		o.Spec.Replicas = &n
	case *appsv1.ReplicaSet:
		o.Spec.Replicas = &n
	case *appsv1.StatefulSet:
		o.Spec.Replicas = &n
	case *corev1.ReplicationController:
		o.Spec.Replicas = &n
	default:
		return k.setReplicas(next, n)
	}
	return next, nil
}

func (k *Kind) setReplicas(next store.Object, n int32) (store.Object, error) {
	if k.Scale == nil {
		return nil, fmt.Errorf("%s does not implement the scale subresource", k.Resource())
	}
	m, err := contents(next)
	if err != nil {
		return nil, err
	}
	if err := unstructured.SetNestedField(m, int64(n), split(k.Scale.Replicas)...); err != nil {
		return nil, fmt.Errorf("set %s: %w", k.Scale.Replicas, err)
	}
	if u, ok := next.(*unstructured.Unstructured); ok {
		u.Object = m
		return u, nil
	}
	return next, runtime.DefaultUnstructuredConverter.FromUnstructured(m, next)
}
