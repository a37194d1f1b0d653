package defaults

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Service is a ClusterIP without affinity, whose ports are TCP and lead to the same port of the pods.
func Service(o *corev1.Service) {
	s := &o.Spec
	unset(&s.Type, corev1.ServiceTypeClusterIP)
	affinity(s)
	for i := range s.Ports {
		p := &s.Ports[i]
		unset(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	published := s.Type == corev1.ServiceTypeNodePort || s.Type == corev1.ServiceTypeLoadBalancer
	if published || s.Type == corev1.ServiceTypeClusterIP && len(s.ExternalIPs) > 0 {
		unset(&s.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	if published || s.Type == corev1.ServiceTypeClusterIP {
		missing(&s.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if s.Type == corev1.ServiceTypeLoadBalancer {
		missing(&s.AllocateLoadBalancerNodePorts, true)
		for i := range o.Status.LoadBalancer.Ingress {
			if in := &o.Status.LoadBalancer.Ingress[i]; in.IP != "" {
				missing(&in.IPMode, corev1.LoadBalancerIPModeVIP)
			}
		}
	}
}

// affinity keeps a client with its pod for three hours, where that is asked for.
func affinity(s *corev1.ServiceSpec) {
	unset(&s.SessionAffinity, corev1.ServiceAffinityNone)
	switch s.SessionAffinity {
	case corev1.ServiceAffinityNone:
		s.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		missing(&s.SessionAffinityConfig, corev1.SessionAffinityConfig{})
		missing(&s.SessionAffinityConfig.ClientIP, corev1.ClientIPConfig{})
		missing(&s.SessionAffinityConfig.ClientIP.TimeoutSeconds, corev1.DefaultClientIPServiceAffinitySeconds)
	}
}
