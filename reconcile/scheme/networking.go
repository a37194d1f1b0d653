//lint:file-ignore SA1019 Endpoints are old, and kept for those who still use them

package scheme

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/columns"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/defaults"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/validate"
)

// networkingKinds say how traffic finds its way. Some are only kept yet, and tell so when they are written.
func networkingKinds() []*Kind {
	in := func(kind string) schema.GroupVersionKind { return networkingv1.SchemeGroupVersion.WithKind(kind) }
	return []*Kind{
		typed(Kind{GroupVersionKind: core("Endpoints"), Plural: "endpoints", Short: list("ep"), Namespaced: true}, rules[*corev1.Endpoints]{
			defaults: defaults.Endpoints, validate: validate.Endpoints, update: validate.EndpointsUpdate, table: columns.Endpoints(),
		}),
		typed(Kind{GroupVersionKind: in("Ingress"), Plural: "ingresses", Short: list("ing"), Namespaced: true, Status: true}, rules[*networkingv1.Ingress]{
			generation: true, validate: validate.Ingress, update: validate.IngressUpdate, status: validate.IngressStatusUpdate, table: columns.Ingresses(),
			warn: always[*networkingv1.Ingress]("Mainstay has no ingress controller of its own yet: an Ingress leads nowhere, unless a controller that runs in the cluster serves its class"),
		}),
		typed(Kind{GroupVersionKind: in("IngressClass"), Plural: "ingressclasses"}, rules[*networkingv1.IngressClass]{
			defaults: defaults.IngressClass, generation: true, validate: validate.IngressClass, update: validate.IngressClassUpdate, table: columns.IngressClasses(),
		}),
		typed(Kind{GroupVersionKind: in("IPAddress"), Plural: "ipaddresses", Short: list("ip")}, rules[*networkingv1.IPAddress]{
			validate: validate.IPAddress, update: validate.IPAddressUpdate, table: columns.IPAddresses(),
			labels: list("spec.parentRef.group", "spec.parentRef.resource", "spec.parentRef.namespace", "spec.parentRef.name"), fields: addressFields,
		}),
		typed(Kind{GroupVersionKind: in("NetworkPolicy"), Plural: "networkpolicies", Short: list("netpol"), Namespaced: true}, rules[*networkingv1.NetworkPolicy]{
			defaults: defaults.NetworkPolicy, generation: true, validate: validate.NetworkPolicy, update: validate.NetworkPolicyUpdate, table: columns.NetworkPolicies(),
			warn: always[*networkingv1.NetworkPolicy]("NetworkPolicies are not enforced yet: this one is kept, and allows or forbids nothing"),
		}),
		typed(Kind{GroupVersionKind: in("ServiceCIDR"), Plural: "servicecidrs", Status: true}, rules[*networkingv1.ServiceCIDR]{
			validate: validate.ServiceCIDR, update: validate.ServiceCIDRUpdate, status: validate.ServiceCIDRStatusUpdate, table: columns.ServiceCIDRs(),
			warn: func(c *networkingv1.ServiceCIDR) []string {
				if c.Name == "kubernetes" {
					return nil
				}
				return list("services get addresses only from the range that Mainstay was started with: this one is kept, and not used")
			},
		}),
	}
}

func addressFields(a *networkingv1.IPAddress, set fields.Set) {
	var r networkingv1.ParentReference
	if a.Spec.ParentRef != nil {
		r = *a.Spec.ParentRef
	}
	set["spec.parentRef.group"], set["spec.parentRef.resource"] = r.Group, r.Resource
	set["spec.parentRef.namespace"], set["spec.parentRef.name"] = r.Namespace, r.Name
}
