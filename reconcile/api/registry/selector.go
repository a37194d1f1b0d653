package registry

import (
	"errors"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// fieldsAsked are the requirements of a field selector that somebody asks about. What cannot be read is left out, with an
// error: less is then selected by, so that more would have to be allowed.
func fieldsAsked(s *authorizationv1.FieldSelectorAttributes) (fields.Requirements, error) {
	switch {
	case s == nil:
		return nil, nil
	case s.RawSelector != "":
		parsed, err := fields.ParseSelector(s.RawSelector)
		if err != nil {
			return nil, err
		}
		return parsed.Requirements(), nil
	}
	var all fields.Requirements
	var errs []error
	for _, r := range s.Requirements {
		op := map[metav1.FieldSelectorOperator]selection.Operator{metav1.FieldSelectorOpIn: selection.Equals, metav1.FieldSelectorOpNotIn: selection.NotEquals}[r.Operator]
		switch {
		case op == "":
			errs = append(errs, fmt.Errorf("%q is not a valid field selector operator", r.Operator))
		case len(r.Values) != 1:
			errs = append(errs, fmt.Errorf("%d values for %s: only one is supported", len(r.Values), r.Operator))
		default:
			all = append(all, fields.Requirement{Field: r.Key, Operator: op, Value: r.Values[0]})
		}
	}
	return all, errors.Join(errs...)
}

// labelsAsked is fieldsAsked for labels.
func labelsAsked(s *authorizationv1.LabelSelectorAttributes) (labels.Requirements, error) {
	switch {
	case s == nil:
		return nil, nil
	case s.RawSelector != "":
		parsed, err := labels.Parse(s.RawSelector)
		if err != nil {
			return nil, err
		}
		all, _ := parsed.Requirements()
		return all, nil
	}
	var all labels.Requirements
	var errs []error
	for _, r := range s.Requirements {
		op := map[metav1.LabelSelectorOperator]selection.Operator{
			metav1.LabelSelectorOpIn: selection.In, metav1.LabelSelectorOpNotIn: selection.NotIn,
			metav1.LabelSelectorOpExists: selection.Exists, metav1.LabelSelectorOpDoesNotExist: selection.DoesNotExist,
		}[r.Operator]
		parsed, err := labels.NewRequirement(r.Key, op, r.Values)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, *parsed)
	}
	return all, errors.Join(errs...)
}
