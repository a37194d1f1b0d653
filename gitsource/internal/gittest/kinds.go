package gittest

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/json"

	"github.com/mainstay-gitops/mainstay/gitsource/decode"
)

// Kinds are a few of Kubernetes' kinds, checked against their Go types.
type Kinds struct{}

var _ decode.Kinds = Kinds{}

// Check decodes strictly.
func (Kinds) Check(gvk schema.GroupVersionKind, data []byte) []decode.FieldError {
	into := object(gvk)
	if into == nil {
		return []decode.FieldError{{Path: "kind", Message: fmt.Sprintf("unknown kind %s in %s", gvk.Kind, gvk.GroupVersion())}}
	}
	strict, err := json.UnmarshalStrict(data, into)
	var errs []decode.FieldError
	for _, err := range strict {
		_, rest, _ := strings.Cut(err.Error(), `"`)
		path, _, _ := strings.Cut(rest, `"`)
		errs = append(errs, decode.FieldError{Path: path, Message: err.Error()})
	}
	if err != nil {
		wrong := decode.FieldError{Message: err.Error()}
		if _, rest, ok := strings.Cut(err.Error(), "Go struct field "); ok {
			wrong.Path = rest
			_, wrong.Path, _ = strings.Cut(wrong.Path, ".")
			wrong.Path, _, _ = strings.Cut(wrong.Path, " ")
		}
		errs = append(errs, wrong)
	}
	return errs
}

func object(gvk schema.GroupVersionKind) any {
	switch gvk {
	case corev1.SchemeGroupVersion.WithKind("ConfigMap"):
		return &corev1.ConfigMap{}
	case corev1.SchemeGroupVersion.WithKind("Service"):
		return &corev1.Service{}
	case corev1.SchemeGroupVersion.WithKind("Namespace"):
		return &corev1.Namespace{}
	case appsv1.SchemeGroupVersion.WithKind("Deployment"):
		return &appsv1.Deployment{}
	}
	return nil
}

// Current knows of no other versions.
func (Kinds) Current(object map[string]any) (map[string]any, string) { return object, "" }

// Namespaced says that all but namespaces are.
func (Kinds) Namespaced(gk schema.GroupKind) bool { return gk.Kind != "Namespace" }
