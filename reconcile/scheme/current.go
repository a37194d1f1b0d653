package scheme

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/upgrade"
)

// upgraded is a document of a removed version in the version that took its place.
func upgraded(document []byte) (schema.GroupVersionKind, []byte, *decode.FieldError) {
	var object map[string]any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(document, &object); err != nil {
		return schema.GroupVersionKind{}, nil, &decode.FieldError{Message: err.Error()}
	}
	current, _, err := upgrade.Object(object)
	if err != nil {
		return schema.GroupVersionKind{}, nil, &decode.FieldError{Path: "kind", Message: err.Error()}
	}
	b, err := json.Marshal(current)
	if err != nil {
		return schema.GroupVersionKind{}, nil, &decode.FieldError{Message: err.Error()}
	}
	u := unstructured.Unstructured{Object: current}
	return u.GroupVersionKind(), b, nil
}

// Current implements decode.Kinds: what is written in a removed version is upgraded, and what is written in another version
// than the stored one is converted, with the fields that the user wrote and no others.
func (s *Scheme) Current(object map[string]any) (map[string]any, string) {
	told := ""
	if current, version, err := upgrade.Object(object); err == nil && current != nil {
		u := unstructured.Unstructured{Object: object}
		told = fmt.Sprintf("%s is a version that Kubernetes has removed: read as %s, write that instead", u.GetAPIVersion(), version)
		object = current
	}
	return s.converted(object), told
}

// converted is object in the version that its kind is stored in; object itself if it is.
func (s *Scheme) converted(object map[string]any) map[string]any {
	u := &unstructured.Unstructured{Object: object}
	gvk := u.GroupVersionKind()
	for _, k := range s.kinds {
		v := k.in(gvk.GroupVersion())
		if k.Kind != gvk.Kind || v == nil {
			continue
		}
		from, to := v.New(), k.New()
		if runtime.DefaultUnstructuredConverter.FromUnstructured(object, from) != nil {
			return object // it was not checked, and is refused when it is applied
		}
		v.convert(from, to)
		current, err := runtime.DefaultUnstructuredConverter.ToUnstructured(to)
		if err != nil {
			return object
		}
		current["apiVersion"], current["kind"] = k.GroupVersion().String(), k.Kind
		delete(current, "status") // nobody owns it by a manifest
		current = withoutNull(current).(map[string]any)
		current["metadata"] = object["metadata"] // as the user wrote it
		return current
	}
	return object
}

// withoutNull is v without fields that say nothing, which Go types that do not leave them out yield.
func withoutNull(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, field := range v {
			if field == nil {
				delete(v, name)
			} else {
				v[name] = withoutNull(field)
			}
		}
	case []any:
		for i := range v {
			v[i] = withoutNull(v[i])
		}
	}
	return v
}
