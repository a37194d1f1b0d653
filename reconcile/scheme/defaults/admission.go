package defaults

import (
	registration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LimitRange fills in what containers get by default: a limit from the most they may have, a request from the limit or from the
// least they must have.
func LimitRange(l *corev1.LimitRange) {
	for i := range l.Spec.Limits {
		item := &l.Spec.Limits[i]
		if item.Type != corev1.LimitTypeContainer {
			continue
		}
		fill(&item.Default, item.Max)
		fill(&item.DefaultRequest, item.Default)
		fill(&item.DefaultRequest, item.Min)
	}
}

// fill adds to a list what it lacks of another.
func fill(to *corev1.ResourceList, from corev1.ResourceList) {
	if *to == nil {
		*to = corev1.ResourceList{}
	}
	for name, q := range from {
		if _, ok := (*to)[name]; !ok {
			(*to)[name] = q.DeepCopy()
		}
	}
	roundUp(*to)
}

// PriorityClass lets pods displace others unless it says otherwise.
func PriorityClass(c *schedulingv1.PriorityClass) {
	missing(&c.PreemptionPolicy, corev1.PreemptLowerPriority)
}

// ValidatingWebhooks fills in when webhooks are asked, and how long for.
func ValidatingWebhooks(c *registration.ValidatingWebhookConfiguration) {
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		missing(&w.FailurePolicy, registration.Fail)
		missing(&w.MatchPolicy, registration.Equivalent)
		missing(&w.NamespaceSelector, metav1.LabelSelector{})
		missing(&w.ObjectSelector, metav1.LabelSelector{})
		missing(&w.TimeoutSeconds, webhookSeconds)
		webhook(&w.ClientConfig, w.Rules)
	}
}

// MutatingWebhooks does the same for those that change objects.
func MutatingWebhooks(c *registration.MutatingWebhookConfiguration) {
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		missing(&w.FailurePolicy, registration.Fail)
		missing(&w.MatchPolicy, registration.Equivalent)
		missing(&w.NamespaceSelector, metav1.LabelSelector{})
		missing(&w.ObjectSelector, metav1.LabelSelector{})
		missing(&w.TimeoutSeconds, webhookSeconds)
		missing(&w.ReinvocationPolicy, registration.NeverReinvocationPolicy)
		webhook(&w.ClientConfig, w.Rules)
	}
}

const (
	webhookSeconds int32 = 10
	webhookPort    int32 = 443
)

func webhook(c *registration.WebhookClientConfig, rules []registration.RuleWithOperations) {
	if c.Service != nil {
		missing(&c.Service.Port, webhookPort)
	}
	for i := range rules {
		missing(&rules[i].Scope, registration.AllScopes)
	}
}

// ValidatingPolicy fills in what happens when a policy cannot be evaluated, and what it is about.
func ValidatingPolicy(p *registration.ValidatingAdmissionPolicy) {
	missing(&p.Spec.FailurePolicy, registration.Fail)
	matched(p.Spec.MatchConstraints)
}

// ValidatingBinding fills in what a binding is about.
func ValidatingBinding(b *registration.ValidatingAdmissionPolicyBinding) {
	matched(b.Spec.MatchResources)
}

// MutatingPolicy does the same for a policy that changes objects.
func MutatingPolicy(p *registration.MutatingAdmissionPolicy) {
	missing(&p.Spec.FailurePolicy, registration.Fail)
	matched(p.Spec.MatchConstraints)
}

// MutatingBinding fills in what a binding is about.
func MutatingBinding(b *registration.MutatingAdmissionPolicyBinding) { matched(b.Spec.MatchResources) }

func matched(m *registration.MatchResources) {
	if m == nil {
		return
	}
	missing(&m.MatchPolicy, registration.Equivalent)
	missing(&m.NamespaceSelector, metav1.LabelSelector{})
	missing(&m.ObjectSelector, metav1.LabelSelector{})
	for _, rules := range [][]registration.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			missing(&rules[i].Scope, registration.AllScopes)
		}
	}
}
