package columns

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Services shows where they are reached.
func Services() Table[*corev1.Service] {
	return Table[*corev1.Service]{
		header("Name,Type,Cluster-IP,External-IP,Port(s),Age,Selector*"),
		func(s *corev1.Service, now time.Time) []any {
			return []any{
				s.Name, string(s.Spec.Type), clusterIP(s), externalIP(s), or(servicePorts(s), none), created(s, now),
				labels.FormatLabels(s.Spec.Selector),
			}
		},
	}
}

func clusterIP(s *corev1.Service) string {
	if len(s.Spec.ClusterIPs) > 0 {
		return s.Spec.ClusterIPs[0]
	}
	return or(s.Spec.ClusterIP, none)
}

func externalIP(s *corev1.Service) string {
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		return or(strings.Join(s.Spec.ExternalIPs, ","), none)
	case corev1.ServiceTypeLoadBalancer:
		announced := ingress(s)
		if len(s.Spec.ExternalIPs) == 0 {
			return or(announced, "<pending>")
		}
		all := s.Spec.ExternalIPs
		if announced != "" {
			all = append([]string{announced}, all...)
		}
		return strings.Join(all, ",")
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	}
	return "<unknown>"
}

// ingress is each address or name that a load balancer was given, in order.
func ingress(s *corev1.Service) string {
	var all []string
	for _, in := range s.Status.LoadBalancer.Ingress {
		if a := or(in.IP, in.Hostname); a != "" {
			all = append(all, a)
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}

func servicePorts(s *corev1.Service) string {
	var all []string
	for _, p := range s.Spec.Ports {
		if p.NodePort > 0 {
			all = append(all, fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol))
			continue
		}
		all = append(all, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
	}
	return strings.Join(all, ",")
}

// EndpointSlices shows the first of their ports and addresses.
func EndpointSlices() Table[*discoveryv1.EndpointSlice] {
	return Table[*discoveryv1.EndpointSlice]{
		header("Name,AddressType,Ports,Endpoints,Age"),
		func(e *discoveryv1.EndpointSlice, now time.Time) []any {
			return []any{e.Name, string(e.AddressType), slicePorts(e), sliceAddresses(e), created(e, now)}
		},
	}
}

func slicePorts(e *discoveryv1.EndpointSlice) string {
	var all []string
	for _, p := range e.Ports {
		text := "*"
		switch {
		case p.Port != nil:
			text = strconv.Itoa(int(*p.Port))
		case p.Name != nil:
			text = *p.Name
		}
		all = append(all, text)
	}
	return firstThree(all)
}

func sliceAddresses(e *discoveryv1.EndpointSlice) string {
	var all []string
	for _, p := range e.Endpoints {
		all = append(all, p.Addresses...)
	}
	return firstThree(all)
}

func firstThree(all []string) string {
	const shown = 3
	if len(all) > shown {
		return fmt.Sprintf("%s + %d more...", strings.Join(all[:shown], ","), len(all)-shown)
	}
	return or(strings.Join(all, ","), "<unset>")
}
