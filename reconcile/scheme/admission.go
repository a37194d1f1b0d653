package scheme

import (
	registration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/columns"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/defaults"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/validate"
)

// admissionKinds are those that say what other objects may be.
func admissionKinds() []*Kind {
	return append([]*Kind{
		typed(Kind{GroupVersionKind: core("LimitRange"), Plural: "limitranges", Short: list("limits"), Namespaced: true}, rules[*corev1.LimitRange]{
			defaults: defaults.LimitRange, validate: validate.LimitRange, update: validate.LimitRangeUpdate, table: columns.LimitRanges(),
		}),
		typed(Kind{GroupVersionKind: core("ResourceQuota"), Plural: "resourcequotas", Short: list("quota"), Namespaced: true, Status: true}, rules[*corev1.ResourceQuota]{
			validate: validate.ResourceQuota, update: validate.ResourceQuotaUpdate, status: validate.ResourceQuotaStatusUpdate, table: columns.ResourceQuotas(),
		}),
		typed(Kind{GroupVersionKind: schedulingv1.SchemeGroupVersion.WithKind("PriorityClass"), Plural: "priorityclasses", Short: list("pc")}, rules[*schedulingv1.PriorityClass]{
			defaults: defaults.PriorityClass, generation: true, changed: never[*schedulingv1.PriorityClass],
			validate: validate.PriorityClass(Priority), update: validate.PriorityClassUpdate, table: columns.PriorityClasses(),
		}),
	}, registrationKinds()...)
}

// registrationKinds are the policies and webhooks that a user adds.
func registrationKinds() []*Kind {
	return []*Kind{
		typed(Kind{GroupVersionKind: registered("MutatingAdmissionPolicy"), Plural: "mutatingadmissionpolicies"}, rules[*registration.MutatingAdmissionPolicy]{
			defaults: defaults.MutatingPolicy, generation: true,
			validate: validate.MutatingPolicy, update: validate.MutatingPolicyUpdate, table: columns.MutatingPolicies(),
		}),
		typed(Kind{GroupVersionKind: registered("MutatingAdmissionPolicyBinding"), Plural: "mutatingadmissionpolicybindings"}, rules[*registration.MutatingAdmissionPolicyBinding]{
			defaults: defaults.MutatingBinding, generation: true,
			validate: validate.MutatingBinding, update: validate.MutatingBindingUpdate, table: columns.MutatingBindings(),
		}),
		typed(Kind{GroupVersionKind: registered("MutatingWebhookConfiguration"), Plural: "mutatingwebhookconfigurations", Categories: list("api-extensions")}, rules[*registration.MutatingWebhookConfiguration]{
			defaults: defaults.MutatingWebhooks, generation: true,
			changed: func(new, old *registration.MutatingWebhookConfiguration) bool {
				return !equality.Semantic.DeepEqual(new.Webhooks, old.Webhooks)
			},
			validate: validate.MutatingWebhooks, update: validate.MutatingWebhooksUpdate, table: columns.MutatingWebhooks(),
		}),
		typed(Kind{GroupVersionKind: registered("ValidatingAdmissionPolicy"), Plural: "validatingadmissionpolicies", Categories: list("api-extensions"), Status: true}, rules[*registration.ValidatingAdmissionPolicy]{
			defaults: defaults.ValidatingPolicy, generation: true,
			validate: validate.ValidatingPolicy, update: validate.ValidatingPolicyUpdate, status: validate.ValidatingPolicyStatusUpdate, table: columns.ValidatingPolicies(),
		}),
		typed(Kind{GroupVersionKind: registered("ValidatingAdmissionPolicyBinding"), Plural: "validatingadmissionpolicybindings", Categories: list("api-extensions")}, rules[*registration.ValidatingAdmissionPolicyBinding]{
			defaults: defaults.ValidatingBinding, generation: true,
			validate: validate.ValidatingBinding, update: validate.ValidatingBindingUpdate, table: columns.ValidatingBindings(),
		}),
		typed(Kind{GroupVersionKind: registered("ValidatingWebhookConfiguration"), Plural: "validatingwebhookconfigurations", Categories: list("api-extensions")}, rules[*registration.ValidatingWebhookConfiguration]{
			defaults: defaults.ValidatingWebhooks, generation: true,
			changed: func(new, old *registration.ValidatingWebhookConfiguration) bool {
				return !equality.Semantic.DeepEqual(new.Webhooks, old.Webhooks)
			},
			validate: validate.ValidatingWebhooks, update: validate.ValidatingWebhooksUpdate, table: columns.ValidatingWebhooks(),
		}),
	}
}

func registered(kind string) schema.GroupVersionKind {
	return registration.SchemeGroupVersion.WithKind(kind)
}

// never: what counts of such an object cannot change.
func never[T any](_, _ T) bool { return false }
