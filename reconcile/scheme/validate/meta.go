// Package validate refuses what Kubernetes refuses, with Kubernetes' paths and, where a user reads them, its words. Every
// function tells all that is wrong at once. Objects are defaulted; what is absent here is valid.
package validate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Rules are the validations that depend on what the nodes can do.
type Rules struct {
	// Unsupported tells what they cannot do of a pod, with paths that begin inside the spec. Nil: they can do all.
	Unsupported func(*corev1.PodSpec) field.ErrorList
	// UnsupportedService is the same for services.
	UnsupportedService func(*corev1.ServiceSpec) field.ErrorList
}

// within puts the paths of errs below path.
func within(path *field.Path, errs field.ErrorList) field.ErrorList {
	for _, e := range errs {
		e.Field = path.String() + "." + e.Field
	}
	return errs
}

func root(name string) *field.Path { return field.NewPath(name) }

// metadata is for namespaced kinds, clusterMetadata for the others.
func metadata(m *metav1.ObjectMeta, name validation.ValidateNameFunc) field.ErrorList {
	return append(validation.ValidateObjectMeta(m, true, name, root("metadata")), finalizers(m)...)
}

func clusterMetadata(m *metav1.ObjectMeta, name validation.ValidateNameFunc) field.ErrorList {
	return append(validation.ValidateObjectMeta(m, false, name, root("metadata")), finalizers(m)...)
}

// finalizers belong to somebody: those of Kubernetes have no prefix, all others do.
func finalizers(m *metav1.ObjectMeta) field.ErrorList {
	var errs field.ErrorList
	for i, f := range m.Finalizers {
		switch {
		case strings.Contains(f, "/"), f == metav1.FinalizerOrphanDependents, f == metav1.FinalizerDeleteDependents, f == string(corev1.FinalizerKubernetes):
		default:
			errs = append(errs, field.Invalid(root("metadata").Child("finalizers").Index(i), f, "name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}

func metadataUpdate(new, old *metav1.ObjectMeta) field.ErrorList {
	return append(validation.ValidateObjectMetaUpdate(new, old, root("metadata")), finalizers(new)...)
}

// immutable refuses another value.
func immutable(new, old any, path *field.Path) field.ErrorList {
	return validation.ValidateImmutableField(new, old, path)
}

func same(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }

// invalid is one error for each of messages.
func invalid(path *field.Path, value any, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, m := range messages {
		errs = append(errs, field.Invalid(path, value, m))
	}
	return errs
}

func notNegative[N ~int32 | ~int64](n N, path *field.Path) field.ErrorList {
	return validation.ValidateNonnegativeField(int64(n), path)
}

// maybe refuses a value that is there and not in list.
func maybe[T ~string](value *T, path *field.Path, list ...T) field.ErrorList {
	if value == nil || slices.Contains(list, *value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, *value, slices.Sorted(slices.Values(list)))}
}

// oneOf refuses a value that is not in list. An empty one is missing.
func oneOf[T ~string](value T, path *field.Path, list ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, fmt.Sprintf("valid values: %v", list))}
	}
	return maybe(&value, path, list...)
}
