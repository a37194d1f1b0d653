package scheme

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/validate"
)

// newEvents is events.k8s.io/v1, the form in which newer clients read and write events.
func newEvents() *Version {
	return version(eventsv1.SchemeGroupVersion.WithKind("Event"), conversions[*corev1.Event, *eventsv1.Event]{
		up: oldEvent, down: newEvent, validate: validate.NewEvent, update: validate.NewEventUpdate,
		labels: map[string]string{
			"regarding.kind": "involvedObject.kind", "regarding.namespace": "involvedObject.namespace", "regarding.name": "involvedObject.name",
			"regarding.uid": "involvedObject.uid", "regarding.apiVersion": "involvedObject.apiVersion",
			"regarding.resourceVersion": "involvedObject.resourceVersion", "regarding.fieldPath": "involvedObject.fieldPath",
			"reason": "reason", "reportingController": "reportingComponent", "type": "type",
		},
	})
}

func oldEvent(from *eventsv1.Event, to *corev1.Event) {
	to.EventTime, to.Type, to.Action, to.Reason, to.Message = from.EventTime, from.Type, from.Action, from.Reason, from.Note
	to.InvolvedObject, to.Related = from.Regarding, from.Related
	to.ReportingController, to.ReportingInstance = from.ReportingController, from.ReportingInstance
	to.Source, to.Count = from.DeprecatedSource, from.DeprecatedCount
	to.FirstTimestamp, to.LastTimestamp = from.DeprecatedFirstTimestamp, from.DeprecatedLastTimestamp
	to.Series = nil
	if s := from.Series; s != nil {
		to.Series = &corev1.EventSeries{Count: s.Count, LastObservedTime: s.LastObservedTime}
	}
}

func newEvent(from *corev1.Event, to *eventsv1.Event) {
	to.EventTime, to.Type, to.Action, to.Reason, to.Note = from.EventTime, from.Type, from.Action, from.Reason, from.Message
	to.Regarding, to.Related = from.InvolvedObject, from.Related
	to.ReportingController, to.ReportingInstance = from.ReportingController, from.ReportingInstance
	to.DeprecatedSource, to.DeprecatedCount = from.Source, from.Count
	to.DeprecatedFirstTimestamp, to.DeprecatedLastTimestamp = from.FirstTimestamp, from.LastTimestamp
	to.Series = nil
	if s := from.Series; s != nil {
		to.Series = &eventsv1.EventSeries{Count: s.Count, LastObservedTime: s.LastObservedTime}
	}
}
