package control

import (
	"fmt"
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NewEvent is e as an object. Its name is that of what it is about and a hash of what it says, so that the same event again
// is the same object, counted.
func NewEvent(w World, by string, e Event) *corev1.Event {
	k := w.Key(e.About)
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%s\x00%s\x00%s\x00%s\x00%s", k.Kind, e.About.GetUID(), by, e.Type, e.Reason, e.Message)
	ns := k.Namespace
	if ns == "" {
		ns = metav1.NamespaceDefault
	}
	now := metav1.NewTime(w.Now)
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s.%x", k.Name, h.Sum64()), Namespace: ns},
		InvolvedObject: corev1.ObjectReference{
			Kind: k.Kind.Kind, APIVersion: w.Kinds().Of(e.About).GroupVersion().String(), Namespace: k.Namespace, Name: k.Name,
			UID: e.About.GetUID(), ResourceVersion: e.About.GetResourceVersion(),
		},
		Type: e.Type, Reason: e.Reason, Message: e.Message,
		Source:              corev1.EventSource{Component: by},
		ReportingController: by,
		FirstTimestamp:      now, LastTimestamp: now, Count: 1,
	}
}
