package scheme

import (
	corev1 "k8s.io/api/core/v1"
)

// changeService keeps the addresses and ports that the cluster gave a service, which an update need not repeat, and takes
// away those that its new type has no use for.
func changeService(new, old *corev1.Service) {
	n, o := &new.Spec, old.DeepCopy().Spec
	if hasClusterIP(n) && hasClusterIP(&o) {
		if n.ClusterIP == "" && len(n.ClusterIPs) == 0 {
			n.ClusterIP, n.ClusterIPs = o.ClusterIP, o.ClusterIPs
		}
		if n.ClusterIP == o.ClusterIP && len(n.ClusterIPs) == 0 {
			n.ClusterIPs = o.ClusterIPs
		}
		if n.IPFamilyPolicy == nil {
			n.IPFamilyPolicy = o.IPFamilyPolicy
		}
		if len(n.IPFamilies) == 0 {
			n.IPFamilies = o.IPFamilies
		}
	}
	if hasNodePorts(n) && hasNodePorts(&o) {
		keepNodePorts(n, &o)
	}
	if hasClusterIP(&o) && !hasClusterIP(n) && n.ClusterIP == o.ClusterIP {
		n.ClusterIP, n.ClusterIPs, n.IPFamilies, n.IPFamilyPolicy = "", nil, nil, nil
	}
	if hasNodePorts(&o) && !hasNodePorts(n) {
		dropNodePorts(n, &o)
	}
}

func hasClusterIP(s *corev1.ServiceSpec) bool { return s.Type != corev1.ServiceTypeExternalName }

func hasNodePorts(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeNodePort || s.Type == corev1.ServiceTypeLoadBalancer
}

type portKey struct {
	protocol corev1.Protocol
	port     int32
}

func keyOf(p corev1.ServicePort) portKey {
	if p.Protocol == "" {
		p.Protocol = corev1.ProtocolTCP
	}
	return portKey{p.Protocol, p.Port}
}

func keepNodePorts(n, o *corev1.ServiceSpec) {
	was, taken := map[portKey]int32{}, map[int32]bool{}
	for _, p := range o.Ports {
		was[keyOf(p)] = p.NodePort
	}
	for _, p := range n.Ports {
		taken[p.NodePort] = true
	}
	for i := range n.Ports {
		p := &n.Ports[i]
		if port := was[keyOf(*p)]; p.NodePort == 0 && !taken[port] {
			p.NodePort = port
		}
	}
	if n.HealthCheckNodePort == 0 && n.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		n.HealthCheckNodePort = o.HealthCheckNodePort
	}
}

// dropNodePorts drops the ports that were given, not others that the user may have asked for by mistake: these are for
// validation to refuse.
func dropNodePorts(n, o *corev1.ServiceSpec) {
	was := map[int32]bool{}
	for _, p := range o.Ports {
		was[p.NodePort] = true
	}
	for i := range n.Ports {
		if was[n.Ports[i].NodePort] {
			n.Ports[i].NodePort = 0
		}
	}
	if n.ExternalTrafficPolicy == o.ExternalTrafficPolicy && len(n.ExternalIPs) == 0 {
		n.ExternalTrafficPolicy = ""
	}
	if n.HealthCheckNodePort == o.HealthCheckNodePort {
		n.HealthCheckNodePort = 0
	}
	if n.Type != corev1.ServiceTypeLoadBalancer {
		n.AllocateLoadBalancerNodePorts = nil
	}
}
