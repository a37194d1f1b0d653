package api

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

func newEvent(name string) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"for": "test"}}, EventTime: metav1.NewMicroTime(time.Unix(1700000000, 5000)),
		ReportingController: "example.com/test", ReportingInstance: "test-1", Action: "Testing", Reason: "Tested", Type: "Normal", Note: "it works",
		Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "web"},
	}
}

func TestAnEventIsTheSameInBothOfItsVersions(t *testing.T) {
	c := serve(t)
	k := c.client(t)
	fromCore, err := k.CoreV1().Events("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer fromCore.Stop()
	fromNew, err := k.EventsV1().Events("default").Watch(t.Context(), metav1.ListOptions{FieldSelector: "regarding.name=web"})
	if err != nil {
		t.Fatal(err)
	}
	defer fromNew.Stop()

	made, err := k.EventsV1().Events("default").Create(t.Context(), newEvent("web.1"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(newEvent("").Regarding, made.Regarding); diff != "" || made.Note != "it works" || made.UID == "" {
		t.Errorf("%+v", made)
	}
	old, err := k.CoreV1().Events("default").Get(t.Context(), "web.1", metav1.GetOptions{})
	if err != nil || old.Message != "it works" || old.InvolvedObject.Name != "web" || old.UID != made.UID || old.ReportingController != "example.com/test" {
		t.Errorf("%+v, %v", old, err)
	}
	if e := next(t, fromCore); e.Type != watch.Added || e.Object.(*corev1.Event).Message != "it works" {
		t.Errorf("the watch in core: %+v", e)
	}
	if e := next(t, fromNew); e.Type != watch.Added || e.Object.(*eventsv1.Event).Note != "it works" {
		t.Errorf("the watch in events.k8s.io: %+v", e)
	}
	eventsInBothVersions(t, k, old)
}

// eventsInBothVersions changes and lists the event old, and one more, in each version.
func eventsInBothVersions(t *testing.T, k *kubernetes.Clientset, old *corev1.Event) {
	t.Helper()
	if _, err := k.CoreV1().Events("default").Create(t.Context(), &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "other.1"}, Message: "old",
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "other"}, Count: 3, Source: corev1.EventSource{Component: "x"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	all, err := k.EventsV1().Events("default").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(all.Items) != 2 || all.Items[0].DeprecatedCount != 3 || all.Items[0].DeprecatedSource.Component != "x" || all.Items[1].Note != "it works" {
		t.Errorf("%+v, %v", all, err)
	}
	some, err := k.EventsV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "regarding.name=web", LabelSelector: "for=test"})
	if err != nil || len(some.Items) != 1 || some.Items[0].Name != "web.1" {
		t.Errorf("%+v, %v", some, err)
	}
	if _, err := k.EventsV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=web"}); !apierrors.IsBadRequest(err) {
		t.Errorf("a field of the other version: %v", err)
	}
	series := []byte(`{"series":{"count":2,"lastObservedTime":"2023-11-14T22:13:21.000000Z"}}`)
	patched, err := k.EventsV1().Events("default").Patch(t.Context(), "web.1", types.MergePatchType, series, metav1.PatchOptions{FieldManager: "new"})
	if err != nil || patched.Series == nil || patched.Series.Count != 2 {
		t.Errorf("%+v, %v", patched, err)
	}
	force := true
	applied, err := k.EventsV1().Events("default").Patch(t.Context(), "web.1", types.ApplyPatchType,
		[]byte(`{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"web.1","labels":{"applied":"yes"}}}`), metav1.PatchOptions{FieldManager: "applier", Force: &force})
	if err != nil || applied.Labels["applied"] != "yes" || applied.Labels["for"] != "test" {
		t.Errorf("%+v, %v", applied, err)
	}
	for _, m := range applied.ManagedFields {
		if m.Manager == "applier" && m.APIVersion != "events.k8s.io/v1" {
			t.Errorf("%+v", m)
		}
	}
	now, err := k.CoreV1().Events("default").Get(t.Context(), "web.1", metav1.GetOptions{})
	if err != nil || now.Series == nil || now.Series.Count != 2 || now.Labels["applied"] != "yes" || now.UID != old.UID {
		t.Errorf("%+v, %v", now, err)
	}
	now.Message = "in the core version it may change"
	if _, err := k.CoreV1().Events("default").Update(t.Context(), now, metav1.UpdateOptions{}); err != nil {
		t.Error(err)
	}
}

func next(t *testing.T, w watch.Interface) watch.Event {
	t.Helper()
	select {
	case e := <-w.ResultChan():
		return e
	case <-t.Context().Done():
	case <-time.After(20 * time.Second):
	}
	t.Fatal("no event came")
	return watch.Event{}
}

func TestAVersionAsksForWhatTheOtherDoesNot(t *testing.T) {
	events := serve(t).client(t).EventsV1().Events("default")
	e := newEvent("web.2")
	e.EventTime, e.DeprecatedCount, e.Type = metav1.MicroTime{}, 1, "Odd"
	_, err := events.Create(t.Context(), e, metav1.CreateOptions{})
	for _, want := range []string{"eventTime: Required value", "count: Invalid value: \"\": needs to be unset", "type: Invalid value: \"\": has invalid value: Odd"} {
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nis not: %s", err, want)
		}
	}
	if _, err := events.Create(t.Context(), newEvent("web.2"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = events.Patch(t.Context(), "web.2", types.MergePatchType, []byte(`{"note":"other"}`), metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "message: Invalid value") {
		t.Error(err)
	}
}

func TestBothGroupsOfEventsAreDiscovered(t *testing.T) {
	k := serve(t).client(t)
	group, err := k.Discovery().ServerResourcesForGroupVersion("events.k8s.io/v1")
	if err != nil || len(group.APIResources) != 1 || group.APIResources[0].Name != "events" || group.APIResources[0].Kind != "Event" {
		t.Errorf("%+v, %v", group, err)
	}
	groups, err := k.Discovery().ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups.Groups {
		if g.Name == "events.k8s.io" && g.PreferredVersion.GroupVersion == "events.k8s.io/v1" {
			return
		}
	}
	t.Errorf("%+v", groups.Groups)
}
