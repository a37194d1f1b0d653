package columns

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	registration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LimitRanges shows when they were made.
func LimitRanges() Table[*corev1.LimitRange] {
	return Table[*corev1.LimitRange]{header("Name,Created At:date"), func(l *corev1.LimitRange, _ time.Time) []any {
		return []any{l.Name, l.CreationTimestamp.UTC().Format(time.RFC3339)}
	}}
}

// ResourceQuotas shows how much of what is allowed is used.
func ResourceQuotas() Table[*corev1.ResourceQuota] {
	return Table[*corev1.ResourceQuota]{header("Name,Request,Limit,Age"), func(q *corev1.ResourceQuota, now time.Time) []any {
		var requests, limits []string
		for _, name := range slices.Sorted(maps.Keys(q.Status.Hard)) {
			used, hard := q.Status.Used[name], q.Status.Hard[name]
			text := fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
			if strings.HasPrefix(string(name), "limits.") {
				limits = append(limits, text)
			} else {
				requests = append(requests, text)
			}
		}
		return []any{q.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), created(q, now)}
	}}
}

// PriorityClasses shows what they are worth.
func PriorityClasses() Table[*schedulingv1.PriorityClass] {
	return Table[*schedulingv1.PriorityClass]{
		header("Name,Value:integer,Global-Default:boolean,Age,PreemptionPolicy"),
		func(c *schedulingv1.PriorityClass, now time.Time) []any {
			policy := ""
			if c.PreemptionPolicy != nil {
				policy = string(*c.PreemptionPolicy)
			}
			return []any{c.Name, int64(c.Value), c.GlobalDefault, created(c, now), policy}
		},
	}
}

// ValidatingWebhooks shows how many a configuration has.
func ValidatingWebhooks() Table[*registration.ValidatingWebhookConfiguration] {
	return Table[*registration.ValidatingWebhookConfiguration]{header("Name,Webhooks:integer,Age"), func(c *registration.ValidatingWebhookConfiguration, now time.Time) []any {
		return []any{c.Name, int64(len(c.Webhooks)), created(c, now)}
	}}
}

// MutatingWebhooks shows how many a configuration has.
func MutatingWebhooks() Table[*registration.MutatingWebhookConfiguration] {
	return Table[*registration.MutatingWebhookConfiguration]{header("Name,Webhooks:integer,Age"), func(c *registration.MutatingWebhookConfiguration, now time.Time) []any {
		return []any{c.Name, int64(len(c.Webhooks)), created(c, now)}
	}}
}

const unset = "<unset>"

func paramKind(k *registration.ParamKind) string {
	if k == nil {
		return unset
	}
	return k.APIVersion + "/" + k.Kind
}

func paramRef(r *registration.ParamRef) string {
	switch {
	case r == nil:
	case r.Name != "":
		return or(r.Namespace, "*") + "/" + r.Name
	case r.Selector != nil:
		return metav1.FormatLabelSelector(r.Selector)
	}
	return unset
}

// ValidatingPolicies shows how many rules a policy has.
func ValidatingPolicies() Table[*registration.ValidatingAdmissionPolicy] {
	return Table[*registration.ValidatingAdmissionPolicy]{header("Name,Validations:integer,ParamKind,Age"), func(p *registration.ValidatingAdmissionPolicy, now time.Time) []any {
		return []any{p.Name, int64(len(p.Spec.Validations)), paramKind(p.Spec.ParamKind), created(p, now)}
	}}
}

// ValidatingBindings shows what they bind.
func ValidatingBindings() Table[*registration.ValidatingAdmissionPolicyBinding] {
	return Table[*registration.ValidatingAdmissionPolicyBinding]{header("Name,PolicyName,ParamRef,Age"), func(b *registration.ValidatingAdmissionPolicyBinding, now time.Time) []any {
		return []any{b.Name, b.Spec.PolicyName, paramRef(b.Spec.ParamRef), created(b, now)}
	}}
}

// MutatingPolicies shows how many changes a policy makes.
func MutatingPolicies() Table[*registration.MutatingAdmissionPolicy] {
	return Table[*registration.MutatingAdmissionPolicy]{header("Name,Mutations:integer,ParamKind,Age"), func(p *registration.MutatingAdmissionPolicy, now time.Time) []any {
		return []any{p.Name, int64(len(p.Spec.Mutations)), paramKind(p.Spec.ParamKind), created(p, now)}
	}}
}

// MutatingBindings shows what they bind.
func MutatingBindings() Table[*registration.MutatingAdmissionPolicyBinding] {
	return Table[*registration.MutatingAdmissionPolicyBinding]{header("Name,PolicyName,ParamRef,Age"), func(b *registration.MutatingAdmissionPolicyBinding, now time.Time) []any {
		return []any{b.Name, b.Spec.PolicyName, paramRef(b.Spec.ParamRef), created(b, now)}
	}}
}
