package validate

import (
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	corev1 "k8s.io/api/core/v1"
)

// NetworkPolicy validates a new NetworkPolicy.
func NetworkPolicy(p *networkingv1.NetworkPolicy) field.ErrorList {
	return append(metadata(&p.ObjectMeta, validation.NameIsDNSSubdomain), networkPolicySpec(&p.Spec)...)
}

// NetworkPolicyUpdate validates an update. All of the spec may change.
func NetworkPolicyUpdate(new, old *networkingv1.NetworkPolicy) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), networkPolicySpec(&new.Spec)...)
}

func networkPolicySpec(s *networkingv1.NetworkPolicySpec) field.ErrorList {
	path := root("spec")
	errs := selector(&s.PodSelector, path.Child("podSelector"))
	for i, r := range s.Ingress {
		p := path.Child("ingress").Index(i)
		errs = append(errs, policyPorts(r.Ports, p.Child("ports"))...)
		errs = append(errs, policyPeers(r.From, p.Child("from"))...)
	}
	for i, r := range s.Egress {
		p := path.Child("egress").Index(i)
		errs = append(errs, policyPorts(r.Ports, p.Child("ports"))...)
		errs = append(errs, policyPeers(r.To, p.Child("to"))...)
	}
	if len(s.PolicyTypes) > 2 {
		return append(errs, field.Invalid(path.Child("policyTypes"), &s.PolicyTypes, "may not specify more than two policyTypes"))
	}
	for i := range s.PolicyTypes {
		errs = append(errs, maybe(&s.PolicyTypes[i], path.Child("policyTypes").Index(i), networkingv1.PolicyTypeEgress, networkingv1.PolicyTypeIngress)...)
	}
	return errs
}

func policyPorts(all []networkingv1.NetworkPolicyPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range all {
		errs = append(errs, policyPort(&all[i], path.Index(i))...)
	}
	return errs
}

func policyPort(r *networkingv1.NetworkPolicyPort, at *field.Path) field.ErrorList {
	errs := maybe(r.Protocol, at.Child("protocol"), corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)
	last := at.Child("endPort")
	switch {
	case r.Port == nil && r.EndPort != nil:
		errs = append(errs, field.Invalid(last, *r.EndPort, "may not be specified when `port` is not specified"))
	case r.Port == nil:
	case r.Port.Type == intstr.String:
		if r.EndPort != nil {
			errs = append(errs, field.Invalid(last, *r.EndPort, "may not be specified when `port` is non-numeric"))
		}
		errs = append(errs, portOrName(*r.Port, at.Child("port"))...)
	default:
		errs = append(errs, portOrName(*r.Port, at.Child("port"))...)
		if r.EndPort == nil {
			break
		}
		if *r.EndPort < r.Port.IntVal {
			errs = append(errs, field.Invalid(last, r.Port.IntVal, "must be greater than or equal to `port`"))
		}
		errs = append(errs, port(*r.EndPort, last)...)
	}
	return errs
}

func policyPeers(all []networkingv1.NetworkPolicyPeer, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range all {
		p, at := &all[i], path.Index(i)
		if p.PodSelector != nil {
			errs = append(errs, selector(p.PodSelector, at.Child("podSelector"))...)
		}
		if p.NamespaceSelector != nil {
			errs = append(errs, selector(p.NamespaceSelector, at.Child("namespaceSelector"))...)
		}
		if p.IPBlock != nil {
			errs = append(errs, ipBlock(p.IPBlock, at.Child("ipBlock"))...)
		}
		selects := p.PodSelector != nil || p.NamespaceSelector != nil
		switch {
		case !selects && p.IPBlock == nil:
			errs = append(errs, field.Required(at, "must specify a peer"))
		case selects && p.IPBlock != nil:
			errs = append(errs, field.Forbidden(at, "may not specify both ipBlock and another peer"))
		}
	}
	return errs
}

func ipBlock(b *networkingv1.IPBlock, at *field.Path) field.ErrorList {
	if b.CIDR == "" {
		return field.ErrorList{field.Required(at.Child("cidr"), "")}
	}
	errs := valid.IsValidCIDRForLegacyField(at.Child("cidr"), b.CIDR, true, nil)
	whole, wrong := netip.ParsePrefix(b.CIDR)
	for i, except := range b.Except {
		p := at.Child("except").Index(i)
		wrongly := valid.IsValidCIDRForLegacyField(p, except, true, nil)
		errs = append(errs, wrongly...)
		part, err := netip.ParsePrefix(except)
		if wrong == nil && err == nil && len(wrongly) == 0 && (!whole.Contains(part.Addr()) || whole.Bits() >= part.Bits()) {
			errs = append(errs, field.Invalid(p, except, "must be a strict subset of `cidr`"))
		}
	}
	return errs
}
