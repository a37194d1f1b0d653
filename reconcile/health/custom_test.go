package health_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/reconcile/health"
)

func TestTheHealthOfACustomResource(t *testing.T) {
	for _, row := range []struct{ sentence, status, want string }{
		{"one that says nothing", "", "Healthy"},
		{"one that is ready", "status: {observedGeneration: 2, conditions: [{type: Ready, status: 'True'}]}", "Healthy"},
		{"one that is not", "status: {conditions: [{type: Ready, status: 'False', reason: Leaks, message: it leaks}]}", "Progressing: it leaks"},
		{"one of which that is not known", "status: {conditions: [{type: Ready, status: Unknown, reason: Waiting}]}", "Progressing: Waiting"},
		{"one whose controller lags", "status: {observedGeneration: 1, conditions: [{type: Ready, status: 'True'}]}", "Progressing: its controller has not seen the newest change"},
		{"one that is busy", "status: {conditions: [{type: Reconciling, status: 'True', message: at work}, {type: Ready, status: 'True'}]}", "Progressing: at work"},
		{"one that is stuck", "status: {conditions: [{type: Stalled, status: 'True', message: no wind}, {type: Ready, status: 'False'}]}", "Degraded: no wind"},
		{"one with a status of its own kind", "status: fine", "Healthy"},
		{"one that is being deleted", "metadata: {generation: 2, deletionTimestamp: '2026-01-02T11:00:00Z'}", "Progressing: it is being deleted"},
	} {
		u := &unstructured.Unstructured{}
		text := "apiVersion: sea.example/v1\nkind: Boat\n" + row.status
		data, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := u.UnmarshalJSON(data); err != nil {
			t.Fatal(err)
		}
		if u.GetDeletionTimestamp() == nil {
			u.SetGeneration(2)
		}
		if got := health.Of(nil, u).String(); got != row.want {
			t.Errorf("%s: %s, want %s", row.sentence, got, row.want)
		}
	}
}
