package disruption

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func TestBudgetPlans(t *testing.T) {
	controltest.Golden(t, Budgets{scheme.New(scheme.Options{})}, "testdata/budget/*.txtar")
}

func TestABudgetGivesUntilItIsSpentAndSaysWhy(t *testing.T) {
	s := scheme.New(scheme.Options{})
	const healthy, unready, pending = "Running, conditions: [{type: Ready, status: 'True'}]", "Running", "Pending"
	for _, c := range []struct {
		name, phase, spec, status string
		left                      int32 // of the budget; -1: nothing is taken from it
		refused, cause            string
	}{
		{"something is left", healthy, "", "disruptionsAllowed: 2, currentHealthy: 3, desiredHealthy: 1", 1, "", ""},
		{"nothing is left", healthy, "", "currentHealthy: 1, desiredHealthy: 1", 0, "TooManyRequests", "The disruption budget web needs 1 healthy pods and has 1 currently"},
		{"it could not be worked out", healthy, "", "conditions: [{type: DisruptionAllowed, status: 'False', reason: SyncFailed, message: no scale}]", 0, "TooManyRequests",
			"The disruption budget web does not allow evicting pods currently because it failed sync: no scale"},
		{"it is not yet worked out", healthy, "", "observedGeneration: 1, disruptionsAllowed: 1", 0, "TooManyRequests", "The disruption budget web is still being processed by the server."},
		{"it is negative", healthy, "", "disruptionsAllowed: -1", 0, "Forbidden", "The disruption budget web does not allow evicting pods currently: pdb disruptions allowed is negative"},
		{"a pod that does not run yet needs none", pending, "", "currentHealthy: 1, desiredHealthy: 1", -1, "", ""},
		{"a pod that is not ready needs none if enough are", unready, "", "currentHealthy: 1, desiredHealthy: 1", -1, "", ""},
		{"a pod that is not ready waits until enough are", unready, "", "currentHealthy: 0, desiredHealthy: 1", 0, "TooManyRequests", "The disruption budget web needs 1 healthy pods and has 0 currently"},
		{"a pod that is not ready needs none if the policy says so", unready, "unhealthyPodEvictionPolicy: AlwaysAllow", "currentHealthy: 0, desiredHealthy: 1", -1, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.status[:3] != "obs" {
				c.status = "observedGeneration: 2, " + c.status
			}
			st := controltest.Store(t, s, nil, controltest.Objects(t, s, `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: hello, generation: 2}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}, `+c.spec+`}
status: {`+c.status+`}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: other, namespace: hello}
spec: {minAvailable: 1, selector: {matchLabels: {app: other}}}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: hello, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: web, image: 'hello:v1'}]}
status: {phase: `+c.phase+`}
`)...)
			pod, _ := store.Get[*corev1.Pod](st.Snapshot(), "hello", "a")
			b, err := Take(st.Snapshot(), pod, controltest.Now)
			if c.refused != "" {
				status, ok := err.(apierrors.APIStatus)
				if !ok || string(status.Status().Reason) != c.refused || status.Status().Details.Causes[0].Message != c.cause || status.Status().Details.Causes[0].Type != policyv1.DisruptionBudgetCause {
					t.Errorf("%v (%+v)", err, status)
				}
				return
			}
			if err != nil || (b == nil) != (c.left < 0) || b != nil && b.Status.DisruptionsAllowed != c.left {
				t.Errorf("%+v %v", b, err)
			}
			if b != nil {
				if at := b.Status.DisruptedPods["a"]; !at.Time.Equal(controltest.Now) {
					t.Errorf("it is not noted that the pod is disrupted: %s", cmp.Diff(controltest.Now, at.Time))
				}
			}
		})
	}
}

func TestTheLastOfABudgetIsNotGivenTwice(t *testing.T) {
	s := scheme.New(scheme.Options{})
	st := controltest.Store(t, s, nil, controltest.Objects(t, s, `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: hello}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
status: {disruptionsAllowed: 1, currentHealthy: 2, desiredHealthy: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: hello, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: web, image: 'hello:v1'}]}
status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: hello, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: web, image: 'hello:v1'}]}
status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}
`)...)
	given := make(chan error)
	for _, name := range []string{"a", "b"} {
		go func() {
			_, err := st.Update(t.Context(), "eviction", func(tx *store.Tx) error {
				pod, _ := store.Get[*corev1.Pod](tx.Snapshot, "hello", name)
				b, err := Take(tx.Snapshot, pod, controltest.Now.Add(time.Second))
				if err != nil {
					return err
				}
				return tx.Update(b)
			})
			given <- err
		}()
	}
	if a, b := <-given, <-given; (a == nil) == (b == nil) {
		t.Errorf("one should be given, and one refused: %v, %v", a, b)
	}
}
