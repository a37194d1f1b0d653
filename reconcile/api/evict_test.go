package api

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestAnEvictionObeysTheDisruptionBudget(t *testing.T) {
	c := serve(t)
	pods, budgets := c.client(t).CoreV1().Pods("default"), c.client(t).PolicyV1().PodDisruptionBudgets("default")
	for _, name := range []string{"a", "b"} {
		p, err := pods.Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
			Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "web", Image: "mainstay.local/hello:v1"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p.Status.Phase, p.Status.Conditions = corev1.PodRunning, []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		if _, err := pods.UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	one := intstr.FromInt32(1)
	b, err := budgets.Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	evict := func(name string, dry ...string) error {
		return pods.EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name}, DeleteOptions: &metav1.DeleteOptions{DryRun: dry}})
	}
	if err := evict("a"); !apierrors.IsTooManyRequests(err) || !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) {
		t.Errorf("before the budget is worked out: %v", err)
	}
	b.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: 1, CurrentHealthy: 2, DesiredHealthy: 1, ExpectedPods: 2}
	if _, err := budgets.UpdateStatus(t.Context(), b, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := evict("a", metav1.DryRunAll); err != nil {
		t.Errorf("a dry run: %v", err)
	}
	wrong := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "a"}, DeleteOptions: metav1.NewPreconditionDeleteOptions("another")}
	if err := pods.EvictV1(t.Context(), wrong); !apierrors.IsConflict(err) {
		t.Errorf("of another pod: %v", err)
	}
	if b, err = budgets.Get(t.Context(), "web", metav1.GetOptions{}); err != nil || b.Status.DisruptionsAllowed != 1 || len(b.Status.DisruptedPods) > 0 {
		t.Errorf("what did not happen was taken from the budget: %+v %v", b.Status, err)
	}
	if err := evict("a"); err != nil {
		t.Error(err)
	}
	p, err := pods.Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil || p.DeletionTimestamp == nil || p.Status.Conditions[len(p.Status.Conditions)-1].Reason != "EvictionByEvictionAPI" {
		t.Errorf("%+v %v", p, err)
	}
	if b, err = budgets.Get(t.Context(), "web", metav1.GetOptions{}); err != nil || b.Status.DisruptionsAllowed != 0 || len(b.Status.DisruptedPods) != 1 {
		t.Errorf("%+v %v", b.Status, err)
	}
	if err := evict("b"); !apierrors.IsTooManyRequests(err) || !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) {
		t.Errorf("when nothing is left: %v", err)
	}
	if err := evict("a"); err != nil {
		t.Errorf("what is ending already: %v", err)
	}
}
