package validate

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// NewEvent is what events.k8s.io asks of an event, as it is stored, beyond what the core group does: it is one that has a
// time of its own, and nothing of the old form.
func NewEvent(e *corev1.Event) field.ErrorList {
	var errs field.ErrorList
	if e.EventTime.IsZero() {
		errs = append(errs, field.Required(root("eventTime"), ""))
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		errs = append(errs, field.Invalid(root("type"), "", "has invalid value: "+e.Type))
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"firstTimestamp", !e.FirstTimestamp.IsZero()}, {"lastTimestamp", !e.LastTimestamp.IsZero()}, {"count", e.Count != 0},
		{"source", e.Source.Component != "" || e.Source.Host != ""},
	} {
		if f.set {
			errs = append(errs, field.Invalid(root(f.name), "", "needs to be unset"))
		}
	}
	return append(errs, eventSeries(e.Series)...)
}

func eventSeries(s *corev1.EventSeries) field.ErrorList {
	if s == nil {
		return nil
	}
	var errs field.ErrorList
	if s.Count < 2 {
		errs = append(errs, field.Invalid(root("series").Child("count"), "", "should be at least 2"))
	}
	if s.LastObservedTime.IsZero() {
		errs = append(errs, field.Required(root("series").Child("lastObservedTime"), ""))
	}
	return errs
}

// NewEventUpdate is what events.k8s.io asks of an update: only its series may go on.
func NewEventUpdate(new, old *corev1.Event) field.ErrorList {
	var errs field.ErrorList
	if !same(new.Series, old.Series) {
		errs = append(errs, eventSeries(new.Series)...)
	}
	for _, f := range []struct {
		name     string
		new, old any
	}{
		{"involvedObject", new.InvolvedObject, old.InvolvedObject}, {"reason", new.Reason, old.Reason}, {"message", new.Message, old.Message},
		{"source", new.Source, old.Source}, {"firstTimestamp", new.FirstTimestamp, old.FirstTimestamp},
		{"lastTimestamp", new.LastTimestamp, old.LastTimestamp}, {"count", new.Count, old.Count}, {"type", new.Type, old.Type},
		{"eventTime", new.EventTime, old.EventTime}, {"action", new.Action, old.Action}, {"related", new.Related, old.Related},
		{"reportingController", new.ReportingController, old.ReportingController}, {"reportingInstance", new.ReportingInstance, old.ReportingInstance},
	} {
		errs = append(errs, immutable(f.new, f.old, root(f.name))...)
	}
	return errs
}
