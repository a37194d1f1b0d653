package validate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Service validates a new Service.
func (v Rules) Service(s *corev1.Service) field.ErrorList {
	errs := append(metadata(&s.ObjectMeta, validation.NameIsDNSLabel), serviceSpec(&s.Spec, nil)...)
	return append(errs, v.unsupportedService(&s.Spec)...)
}

// unsupportedService is what the nodes cannot do yet of s.
func (v Rules) unsupportedService(s *corev1.ServiceSpec) field.ErrorList {
	if v.UnsupportedService == nil {
		return nil
	}
	return within(root("spec"), v.UnsupportedService(s))
}

// ServiceUpdate keeps the address that clients know.
func (v Rules) ServiceUpdate(new, old *corev1.Service) field.ErrorList {
	path := root("spec")
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	if old.Spec.Type != corev1.ServiceTypeExternalName && new.Spec.Type != corev1.ServiceTypeExternalName && old.Spec.ClusterIP != "" {
		errs = append(errs, immutable(new.Spec.ClusterIP, old.Spec.ClusterIP, path.Child("clusterIP"))...)
		if len(old.Spec.ClusterIPs) > 0 && len(new.Spec.ClusterIPs) > 0 && new.Spec.ClusterIPs[0] != old.Spec.ClusterIPs[0] {
			errs = append(errs, field.Invalid(path.Child("clusterIPs").Index(0), new.Spec.ClusterIPs[0], "may not change once set"))
		}
	}
	if old.Spec.LoadBalancerClass != nil && new.Spec.Type == corev1.ServiceTypeLoadBalancer && !same(new.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass) {
		errs = append(errs, field.Invalid(path.Child("loadBalancerClass"), new.Spec.LoadBalancerClass, "may not change once set"))
	}
	if healthPort(&new.Spec) && healthPort(&old.Spec) && new.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		errs = append(errs, field.Forbidden(path.Child("healthCheckNodePort"), "field is immutable"))
	}
	errs = append(errs, serviceSpec(&new.Spec, &old.Spec)...)
	return append(errs, v.unsupportedService(&new.Spec)...)
}

// ServiceStatusUpdate validates the addresses of load balancers.
func ServiceStatusUpdate(new, old *corev1.Service) field.ErrorList {
	path := root("status").Child("loadBalancer", "ingress")
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	ingress := new.Status.LoadBalancer.Ingress
	if len(ingress) > 0 && new.Spec.Type != corev1.ServiceTypeLoadBalancer {
		errs = append(errs, field.Forbidden(path, "may only be used when `spec.type` is LoadBalancer"))
	}
	for i, in := range ingress {
		errs = append(errs, reachedAt(in.IP, in.Hostname, path.Index(i))...)
	}
	return errs
}

// serviceSpec validates s. What old, which may be nil, has already is not refused for being written in an old way.
func serviceSpec(s, old *corev1.ServiceSpec) field.ErrorList {
	path := root("spec")
	errs := oneOf(s.Type, path.Child("type"), corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)
	headless := s.ClusterIP == corev1.ClusterIPNone
	if len(s.Ports) == 0 && !headless && s.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(path.Child("ports"), ""))
	}
	errs = append(errs, servicePorts(s, path.Child("ports"))...)
	errs = append(errs, serviceType(s, path)...)
	errs = append(errs, clusterIPs(s, path)...)
	if s.Selector != nil {
		errs = append(errs, metavalidation.ValidateLabels(s.Selector, path.Child("selector"))...)
	}
	errs = append(errs, sessionAffinity(s, path)...)
	var before []string
	if old != nil {
		before = old.ExternalIPs
	}
	for i, ip := range s.ExternalIPs {
		p := path.Child("externalIPs").Index(i)
		if bad := valid.IsValidIPForLegacyField(p, ip, true, before); len(bad) > 0 {
			errs = append(errs, bad...)
		} else {
			errs = append(errs, noSpecialIP(ip, p)...)
		}
	}
	errs = append(errs, trafficPolicies(s, path)...)
	return append(errs, loadBalancer(s, path)...)
}

func serviceType(s *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	ip := path.Child("clusterIPs").Index(0)
	switch s.Type {
	case corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		if s.ClusterIP == corev1.ClusterIPNone {
			errs = append(errs, field.Invalid(ip, corev1.ClusterIPNone, fmt.Sprintf("may not be set to 'None' for %s services", s.Type)))
		}
	case corev1.ServiceTypeExternalName:
		if s.ClusterIP != "" || len(s.ClusterIPs) > 0 {
			errs = append(errs, field.Forbidden(path.Child("clusterIPs"), "may not be set for ExternalName services"))
		}
		if len(s.IPFamilies) > 0 {
			errs = append(errs, field.Forbidden(path.Child("ipFamilies"), "may not be set for ExternalName services"))
		}
		if s.IPFamilyPolicy != nil {
			errs = append(errs, field.Forbidden(path.Child("ipFamilyPolicy"), "may not be set for ExternalName services"))
		}
		if s.ExternalName == "" {
			return append(errs, field.Required(path.Child("externalName"), ""))
		}
		name := strings.TrimSuffix(s.ExternalName, ".")
		errs = append(errs, invalid(path.Child("externalName"), s.ExternalName, valid.IsDNS1123Subdomain(name))...)
	}
	return errs
}

func clusterIPs(s *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	ips := path.Child("clusterIPs")
	for i, ip := range s.ClusterIPs {
		if ip == corev1.ClusterIPNone && i == 0 {
			continue
		}
		errs = append(errs, valid.IsValidIPForLegacyField(ips.Index(i), ip, true, nil)...)
	}
	switch {
	case s.ClusterIP == "" && len(s.ClusterIPs) > 0:
		errs = append(errs, field.Invalid(ips, s.ClusterIPs, "must be empty when `clusterIP` is not specified"))
	case s.ClusterIP != "" && len(s.ClusterIPs) > 0 && s.ClusterIPs[0] != s.ClusterIP:
		errs = append(errs, field.Invalid(ips, s.ClusterIPs, "first value must match `clusterIP`"))
	case s.ClusterIP != "" && s.ClusterIP != corev1.ClusterIPNone && len(s.ClusterIPs) == 0:
		errs = append(errs, valid.IsValidIPForLegacyField(path.Child("clusterIP"), s.ClusterIP, true, nil)...)
	case len(s.ClusterIPs) > 1 && s.ClusterIPs[0] == corev1.ClusterIPNone:
		errs = append(errs, field.Invalid(ips, s.ClusterIPs, "'None' must be the first and only value"))
	}
	if len(s.ClusterIPs) > 2 {
		errs = append(errs, field.Invalid(ips, s.ClusterIPs, "may only hold up to 2 values"))
	}
	if len(s.ClusterIPs) == 2 && isIPv6(s.ClusterIPs[0]) == isIPv6(s.ClusterIPs[1]) {
		errs = append(errs, field.Invalid(ips, s.ClusterIPs, "may specify no more than one IP for each IP family"))
	}
	for i, f := range s.IPFamilies {
		errs = append(errs, maybe(&f, path.Child("ipFamilies").Index(i), corev1.IPv4Protocol, corev1.IPv6Protocol)...)
		if slices.Contains(s.IPFamilies[:i], f) {
			errs = append(errs, field.Duplicate(path.Child("ipFamilies").Index(i), f))
		}
		if i < len(s.ClusterIPs) && s.ClusterIPs[i] != corev1.ClusterIPNone && isIPv6(s.ClusterIPs[i]) != (f == corev1.IPv6Protocol) {
			errs = append(errs, field.Invalid(ips.Index(i), s.ClusterIPs[i], fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%d]`", f, i)))
		}
	}
	return append(errs, maybe(s.IPFamilyPolicy, path.Child("ipFamilyPolicy"),
		corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack)...)
}

func servicePorts(s *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names, ports, nodePorts := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i, sp := range s.Ports {
		p := path.Index(i)
		errs = append(errs, portName(sp.Name, len(s.Ports) > 1, names, p.Child("name"))...)
		errs = append(errs, port(sp.Port, p.Child("port"))...)
		errs = append(errs, protocol(sp.Protocol, p.Child("protocol"))...)
		errs = append(errs, portOrName(sp.TargetPort, p.Child("targetPort"))...)
		if a := sp.AppProtocol; a != nil {
			errs = append(errs, labelKey(*a, p.Child("appProtocol"))...)
		}
		if key := fmt.Sprintf("%s/%d", sp.Protocol, sp.Port); ports[key] {
			errs = append(errs, field.Duplicate(p, corev1.ServicePort{Protocol: sp.Protocol, Port: sp.Port}))
		} else {
			ports[key] = true
		}
		errs = append(errs, nodePort(s, sp, nodePorts, p)...)
	}
	return errs
}

func portName(name string, needed bool, seen map[string]bool, path *field.Path) field.ErrorList {
	if name == "" {
		if needed {
			return field.ErrorList{field.Required(path, "")}
		}
		return nil
	}
	errs := invalid(path, name, valid.IsDNS1123Label(name))
	if seen[name] {
		errs = append(errs, field.Duplicate(path, name))
	}
	seen[name] = true
	return errs
}

func nodePort(s *corev1.ServiceSpec, sp corev1.ServicePort, seen map[string]bool, path *field.Path) field.ErrorList {
	path = path.Child("nodePort")
	switch key := fmt.Sprintf("%s/%d", sp.Protocol, sp.NodePort); {
	case sp.NodePort == 0:
		return nil
	case s.Type == corev1.ServiceTypeClusterIP, s.Type == corev1.ServiceTypeExternalName:
		return field.ErrorList{field.Forbidden(path, fmt.Sprintf("may not be used when `type` is '%s'", s.Type))}
	case seen[key]:
		return field.ErrorList{field.Duplicate(path, sp.NodePort)}
	default:
		seen[key] = true
	}
	return port(sp.NodePort, path)
}

const affinitySecondsAtMost = 86400

func sessionAffinity(s *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	errs := oneOf(s.SessionAffinity, path.Child("sessionAffinity"), corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	p := path.Child("sessionAffinityConfig")
	switch c := s.SessionAffinityConfig; {
	case s.SessionAffinity == corev1.ServiceAffinityNone && c != nil:
		errs = append(errs, field.Forbidden(p, fmt.Sprintf("must not be set when session affinity is %s", corev1.ServiceAffinityNone)))
	case s.SessionAffinity == corev1.ServiceAffinityClientIP && (c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil):
		errs = append(errs, field.Required(p, "when session affinity type is ClientIP"))
	case s.SessionAffinity == corev1.ServiceAffinityClientIP:
		if n := *c.ClientIP.TimeoutSeconds; n <= 0 || n > affinitySecondsAtMost {
			errs = append(errs, field.Invalid(p.Child("clientIP", "timeoutSeconds"), n, fmt.Sprintf("must be greater than 0 and less than %d", affinitySecondsAtMost)))
		}
	}
	return errs
}

func trafficPolicies(s *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	external := s.Type == corev1.ServiceTypeNodePort || s.Type == corev1.ServiceTypeLoadBalancer || s.Type == corev1.ServiceTypeClusterIP && len(s.ExternalIPs) > 0
	p := path.Child("externalTrafficPolicy")
	switch {
	case !external && s.ExternalTrafficPolicy != "":
		errs = append(errs, field.Invalid(p, s.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
	case external:
		errs = append(errs, oneOf(s.ExternalTrafficPolicy, p, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)...)
	}
	errs = append(errs, maybe(s.InternalTrafficPolicy, path.Child("internalTrafficPolicy"), corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)...)
	errs = append(errs, maybe(s.TrafficDistribution, path.Child("trafficDistribution"), corev1.ServiceTrafficDistributionPreferClose,
		corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)...)
	if s.HealthCheckNodePort < 0 || s.HealthCheckNodePort > 65535 {
		errs = append(errs, field.Invalid(path.Child("healthCheckNodePort"), s.HealthCheckNodePort, valid.InclusiveRangeError(0, 65535)))
	}
	if s.HealthCheckNodePort > 0 && !healthPort(s) {
		errs = append(errs, field.Invalid(path.Child("healthCheckNodePort"), s.HealthCheckNodePort, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
	}
	return errs
}

// healthPort tells whether load balancers ask a port of each node whether it has endpoints.
func healthPort(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeLoadBalancer && s.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func loadBalancer(s *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	is := s.Type == corev1.ServiceTypeLoadBalancer
	for i, r := range s.LoadBalancerSourceRanges {
		p := path.Child("loadBalancerSourceRanges").Index(i)
		errs = append(errs, valid.IsValidCIDRForLegacyField(p, strings.TrimSpace(r), true, nil)...)
	}
	if len(s.LoadBalancerSourceRanges) > 0 && !is {
		errs = append(errs, field.Forbidden(path.Child("loadBalancerSourceRanges"), "may only be used when `type` is 'LoadBalancer'"))
	}
	if s.AllocateLoadBalancerNodePorts != nil && !is {
		errs = append(errs, field.Forbidden(path.Child("allocateLoadBalancerNodePorts"), "may only be used when `type` is 'LoadBalancer'"))
	}
	if is && s.AllocateLoadBalancerNodePorts == nil {
		errs = append(errs, field.Required(path.Child("allocateLoadBalancerNodePorts"), ""))
	}
	if c := s.LoadBalancerClass; c != nil {
		if !is {
			errs = append(errs, field.Forbidden(path.Child("loadBalancerClass"), "may only be used when `type` is 'LoadBalancer'"))
		}
		errs = append(errs, labelKey(*c, path.Child("loadBalancerClass"))...)
	}
	return errs
}
