package scheme

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// createService lets the two fields for the address agree.
func createService(s *corev1.Service, _ time.Time) { oneAddress(&s.Spec) }

func oneAddress(s *corev1.ServiceSpec) {
	if s.ClusterIP != "" && len(s.ClusterIPs) == 0 {
		s.ClusterIPs = []string{s.ClusterIP}
	}
}

// changeService keeps the addresses and ports that the cluster gave a service, which an update need not repeat, and takes
// away what its new type has no use for. What differs from the old is the user's wish, and for validation to refuse.
func changeService(new, old *corev1.Service) {
	n, o := &new.Spec, old.DeepCopy().Spec
	keepAddress(n, &o)
	if hasNodePorts(n) && hasNodePorts(&o) {
		keepNodePorts(n, &o)
	}
	if hasHealthPort(n) && hasHealthPort(&o) && n.HealthCheckNodePort == 0 {
		n.HealthCheckNodePort = o.HealthCheckNodePort
	}
	dropUnused(n, &o)
	oneAddress(n)
	if n.Type != corev1.ServiceTypeLoadBalancer {
		new.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
}

func keepAddress(n, o *corev1.ServiceSpec) {
	if !hasClusterIP(n) || !hasClusterIP(o) {
		return
	}
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

func dropUnused(n, o *corev1.ServiceSpec) {
	if hasClusterIP(o) && !hasClusterIP(n) && n.ClusterIP == o.ClusterIP {
		n.ClusterIP, n.ClusterIPs, n.IPFamilies, n.IPFamilyPolicy = "", nil, nil, nil
	}
	if hasNodePorts(o) && !hasNodePorts(n) {
		dropNodePorts(n, o)
	}
	if hasHealthPort(o) && !hasHealthPort(n) && n.HealthCheckNodePort == o.HealthCheckNodePort {
		n.HealthCheckNodePort = 0
	}
	if isExternal(o) && !isExternal(n) && n.ExternalTrafficPolicy == o.ExternalTrafficPolicy {
		n.ExternalTrafficPolicy = ""
	}
	if o.Type == corev1.ServiceTypeLoadBalancer && n.Type != corev1.ServiceTypeLoadBalancer {
		if equality.Semantic.DeepEqual(n.AllocateLoadBalancerNodePorts, o.AllocateLoadBalancerNodePorts) {
			n.AllocateLoadBalancerNodePorts = nil
		}
		if equality.Semantic.DeepEqual(n.LoadBalancerClass, o.LoadBalancerClass) {
			n.LoadBalancerClass = nil
		}
	}
}

func hasClusterIP(s *corev1.ServiceSpec) bool { return s.Type != corev1.ServiceTypeExternalName }

func hasNodePorts(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeNodePort || s.Type == corev1.ServiceTypeLoadBalancer
}

func hasHealthPort(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeLoadBalancer && s.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// isExternal tells whether a service is reached from outside the cluster.
func isExternal(s *corev1.ServiceSpec) bool {
	return hasNodePorts(s) || s.Type == corev1.ServiceTypeClusterIP && len(s.ExternalIPs) > 0
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
}

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
}
