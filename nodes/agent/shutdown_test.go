package agent

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func TestANodeShutsDownByPriority(t *testing.T) {
	story(t, func(n *node, a *Agent) {
		yes := true
		made := parsePod(t, "made", `{priority: 0, containers: [{name: a}]}`)
		made.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "r", UID: "r", Controller: &yes}}
		n.put(made)
		n.pod("bare", `{priority: 0, containers: [{name: a}]}`)
		n.pod("critical", `{priority: 2000000000, containers: [{name: a}]}`)
		n.expect(soon, "critical", "Running ready a=running")

		var said []string
		a.Shutdown(context.Background(), 30*time.Second, 10*time.Second, func(line string) {
			said = append(said, line)
			if strings.Contains(line, "2000000000") && show(n.get("bare")) != "Running a=Error(143)" {
				t.Errorf("a critical pod is ended while bare is %q", show(n.get("bare")))
			}
		})
		want := []string{"ending 2 pods of priority 0, within 20s", "ending 1 pod of priority 2000000000, within 30s"}
		if d := cmp.Diff(want, said); d != "" {
			t.Error(d)
		}
		n.expect(soon, "made", "Failed a=Error(143)")
		if p := n.get("made"); p.Status.Reason != "Terminated" || p.Status.Message != shutdownMessage {
			t.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
		}
		n.expect(0, "bare", "Running a=Error(143)")
		n.expect(0, "critical", "Running a=Error(143)")
		if c := readiness(n); c.Status != corev1.ConditionFalse || c.Message != "node is shutting down" {
			t.Errorf("the node is %v", c)
		}
		n.pod("late", `{containers: [{name: a}]}`)
		n.expect(time.Minute, "late", "Pending a=ContainerCreating")
	})
}

// readiness is what the node says of itself.
func readiness(n *node) corev1.NodeCondition {
	synctest.Wait()
	here, _ := store.Get[*corev1.Node](n.store.Snapshot(), "", "here")
	for _, c := range here.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c
		}
	}
	return corev1.NodeCondition{}
}
