//lint:file-ignore SA1019 Endpoints are old, and kept for those who still use them

package defaults

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// IngressClass has parameters of the cluster.
func IngressClass(c *networkingv1.IngressClass) {
	if p := c.Spec.Parameters; p != nil {
		missing(&p.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
	}
}

// NetworkPolicy is about what comes in and, if it has rules for that, about what goes out. Ports are TCP.
func NetworkPolicy(p *networkingv1.NetworkPolicy) {
	s := &p.Spec
	for i := range s.Ingress {
		policyPorts(s.Ingress[i].Ports)
	}
	for i := range s.Egress {
		policyPorts(s.Egress[i].Ports)
	}
	if len(s.PolicyTypes) == 0 {
		s.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(s.Egress) > 0 {
			s.PolicyTypes = append(s.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
}

func policyPorts(ports []networkingv1.NetworkPolicyPort) {
	for i := range ports {
		missing(&ports[i].Protocol, corev1.ProtocolTCP)
	}
}

// Endpoints have TCP ports.
func Endpoints(e *corev1.Endpoints) {
	for i := range e.Subsets {
		for j := range e.Subsets[i].Ports {
			unset(&e.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
		}
	}
}
