// Package disruption keeps PodDisruptionBudgets: a controller that works out how many pods may be disrupted at present, and the
// decision whether one more may be, which takes from the budget in the transaction that evicts the pod.
package disruption

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Limits of what is disrupted but not deleted yet.
const (
	mostDisrupted = 2000
	deletedWithin = 2 * time.Minute // or it is no longer believed that it will be
)

// Take decides whether pod may be evicted now. budget is what then replaces the stored budget that it is taken from; nil if
// none is about the pod, or none is needed for it. An error is the API's: 429 if the budget does not allow it at present.
func Take(s *store.Snapshot, pod *corev1.Pod, now time.Time) (budget *policyv1.PodDisruptionBudget, err error) {
	if over(pod) {
		return nil, nil
	}
	budgets := about(s, pod)
	switch {
	case len(budgets) == 0:
		return nil, nil
	case len(budgets) > 1:
		return nil, apierrors.NewInternalError(fmt.Errorf("this pod has more than one PodDisruptionBudget, which the eviction subresource does not support"))
	}
	b := budgets[0]
	if !ready(pod) && free(b) {
		return nil, nil
	}
	if err := refuse(b); err != nil {
		return nil, err
	}
	next := b.DeepCopy()
	next.Status.DisruptionsAllowed--
	setCondition(next, now)
	if next.Status.DisruptedPods == nil {
		next.Status.DisruptedPods = map[string]metav1.Time{}
	}
	next.Status.DisruptedPods[pod.Name] = metav1.NewTime(now.Truncate(time.Second))
	return next, nil
}

// over tells whether there is nothing of p to disrupt.
func over(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodPending
}

// about are the budgets that count p.
func about(s *store.Snapshot, p *corev1.Pod) (all []*policyv1.PodDisruptionBudget) {
	for b := range store.List[*policyv1.PodDisruptionBudget](s, store.InNamespace(p.Namespace)) {
		if sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil && sel.Matches(labels.Set(p.Labels)) {
			all = append(all, b)
		}
	}
	return all
}

// free tells whether pods that are not ready may be evicted without taking from the budget.
func free(b *policyv1.PodDisruptionBudget) bool {
	if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0
}

// refuse says why nothing can be taken from b at present; nil: something can.
func refuse(b *policyv1.PodDisruptionBudget) error {
	s := &b.Status
	const refused = "Cannot evict pod as it would violate the pod's disruption budget."
	switch {
	case s.ObservedGeneration < b.Generation:
		return because(apierrors.NewTooManyRequests(refused, 10), fmt.Sprintf("The disruption budget %s is still being processed by the server.", b.Name))
	case s.DisruptionsAllowed < 0:
		return because(forbidden(b, "pdb disruptions allowed is negative"),
			fmt.Sprintf("The disruption budget %s does not allow evicting pods currently: pdb disruptions allowed is negative", b.Name))
	case len(s.DisruptedPods) > mostDisrupted:
		return because(forbidden(b, "DisruptedPods map too big - too many evictions not confirmed by PDB controller"),
			fmt.Sprintf("The disruption budget %s does not allow evicting pods currently: too many pending evictions not confirmed by PDB controller", b.Name))
	case s.DisruptionsAllowed == 0:
		return because(apierrors.NewTooManyRequests(refused, 0), whyNone(b))
	}
	return nil
}

func forbidden(b *policyv1.PodDisruptionBudget, why string) *apierrors.StatusError {
	return apierrors.NewForbidden(policyv1.Resource("poddisruptionbudget"), b.Name, fmt.Errorf("%s", why))
}

func because(err *apierrors.StatusError, why string) error {
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: why})
	return err
}

func whyNone(b *policyv1.PodDisruptionBudget) string {
	c := meta.FindStatusCondition(b.Status.Conditions, policyv1.DisruptionAllowedCondition)
	said := c != nil && c.Status == metav1.ConditionFalse && c.Message != ""
	switch {
	case said && c.Reason == policyv1.SyncFailedReason:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently because it failed sync: %s", b.Name, c.Message)
	case b.Status.CurrentHealthy <= b.Status.DesiredHealthy:
		return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, b.Status.DesiredHealthy, b.Status.CurrentHealthy)
	case said:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently (%s): %s", b.Name, c.Reason, c.Message)
	}
	return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", b.Name)
}

// Evicted is a copy of pod that says that it was evicted through the API.
func Evicted(pod *corev1.Pod, now time.Time) *corev1.Pod {
	next := pod.DeepCopy()
	setPodCondition(next, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
	}, now)
	return next
}

func setPodCondition(p *corev1.Pod, c corev1.PodCondition, now time.Time) {
	c.LastTransitionTime, c.ObservedGeneration = metav1.NewTime(now.Truncate(time.Second)), p.Generation
	for i, was := range p.Status.Conditions {
		if was.Type == c.Type {
			if was.Status == c.Status {
				c.LastTransitionTime = was.LastTransitionTime
			}
			p.Status.Conditions[i] = c
			return
		}
	}
	p.Status.Conditions = append(p.Status.Conditions, c)
}

func podCondition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func ready(p *corev1.Pod) bool {
	c := podCondition(p, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// setCondition says whether the budget allows anything.
func setCondition(b *policyv1.PodDisruptionBudget, now time.Time) {
	c := metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.InsufficientPodsReason,
		ObservedGeneration: b.Status.ObservedGeneration, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
	}
	if b.Status.DisruptionsAllowed > 0 {
		c.Status, c.Reason = metav1.ConditionTrue, policyv1.SufficientPodsReason
	}
	meta.SetStatusCondition(&b.Status.Conditions, c)
}
