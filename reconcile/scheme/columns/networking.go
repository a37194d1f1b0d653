//lint:file-ignore SA1019 Endpoints are old, and kept for those who still use them

package columns

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Ingresses shows where they are reached.
func Ingresses() Table[*networkingv1.Ingress] {
	return Table[*networkingv1.Ingress]{
		header("Name,Class,Hosts,Address,Ports,Age"),
		func(i *networkingv1.Ingress, now time.Time) []any {
			class, ports := none, "80"
			if i.Spec.IngressClassName != nil {
				class = *i.Spec.IngressClassName
			}
			if len(i.Spec.TLS) > 0 {
				ports = "80, 443"
			}
			return []any{i.Name, class, ingressHosts(i.Spec.Rules), ingressAddress(i), ports, created(i, now)}
		},
	}
}

func ingressHosts(rules []networkingv1.IngressRule) string {
	const shown = 3
	var all []string
	more := false
	for _, r := range rules {
		if len(all) == shown {
			more = true
		}
		if !more && r.Host != "" {
			all = append(all, r.Host)
		}
	}
	text := or(strings.Join(all, ","), "*")
	if more {
		return fmt.Sprintf("%s + %d more...", text, len(rules)-shown)
	}
	return text
}

func ingressAddress(i *networkingv1.Ingress) string {
	var all []string
	for _, in := range i.Status.LoadBalancer.Ingress {
		if a := or(in.IP, in.Hostname); a != "" {
			all = append(all, a)
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}

// IngressClasses shows who serves them.
func IngressClasses() Table[*networkingv1.IngressClass] {
	return Table[*networkingv1.IngressClass]{
		header("Name,Controller,Parameters,Age"),
		func(c *networkingv1.IngressClass, now time.Time) []any {
			parameters := none
			if p := c.Spec.Parameters; p != nil {
				parameters = p.Kind
				if p.APIGroup != nil {
					parameters += "." + *p.APIGroup
				}
				parameters += "/" + p.Name
			}
			name := c.Name
			if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
				name += " (default)"
			}
			return []any{name, c.Spec.Controller, parameters, created(c, now)}
		},
	}
}

// NetworkPolicies shows which pods they are about.
func NetworkPolicies() Table[*networkingv1.NetworkPolicy] {
	return Table[*networkingv1.NetworkPolicy]{
		header("Name,Pod-Selector,Age"),
		func(p *networkingv1.NetworkPolicy, now time.Time) []any {
			return []any{p.Name, metav1.FormatLabelSelector(&p.Spec.PodSelector), created(p, now)}
		},
	}
}

// IPAddresses shows whose they are.
func IPAddresses() Table[*networkingv1.IPAddress] {
	return Table[*networkingv1.IPAddress]{
		header("Name,ParentRef,Age"),
		func(a *networkingv1.IPAddress, now time.Time) []any {
			parent := none
			if r := a.Spec.ParentRef; r != nil {
				parent = strings.ToLower(schema.GroupResource{Group: r.Group, Resource: r.Resource}.String())
				if r.Namespace != "" {
					parent += "/" + r.Namespace
				}
				parent += "/" + r.Name
			}
			return []any{a.Name, parent, created(a, now)}
		},
	}
}

// ServiceCIDRs shows their ranges.
func ServiceCIDRs() Table[*networkingv1.ServiceCIDR] {
	return Table[*networkingv1.ServiceCIDR]{
		header("Name,CIDRs,Age"),
		func(c *networkingv1.ServiceCIDR, now time.Time) []any {
			return []any{c.Name, strings.Join(c.Spec.CIDRs, ","), created(c, now)}
		},
	}
}

// Endpoints shows the first that are ready.
func Endpoints() Table[*corev1.Endpoints] {
	return Table[*corev1.Endpoints]{
		header("Name,Endpoints,Age"),
		func(e *corev1.Endpoints, now time.Time) []any {
			return []any{e.Name, readyEndpoints(e), created(e, now)}
		},
	}
}

func readyEndpoints(e *corev1.Endpoints) string {
	const shown = 3
	var all []string
	if len(e.Subsets) == 0 {
		return none
	}
	for _, s := range e.Subsets {
		if len(s.Ports) == 0 { // those of a headless service need none
			for _, a := range s.Addresses {
				all = append(all, a.IP)
			}
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				all = append(all, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	if len(all) > shown {
		return fmt.Sprintf("%s + %d more...", strings.Join(all[:shown], ","), len(all)-shown)
	}
	return strings.Join(all, ",")
}
