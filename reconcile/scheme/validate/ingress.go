package validate

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/api/validation"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ingressClass is the annotation that named the class of an Ingress before it had a field for it.
const ingressClass = "kubernetes.io/ingress.class"

// Ingress validates a new Ingress.
func Ingress(o *networkingv1.Ingress) field.ErrorList {
	errs := append(metadata(&o.ObjectMeta, validation.NameIsDNSSubdomain), ingressSpec(&o.Spec)...)
	if class, ok := o.Annotations[ingressClass]; ok && o.Spec.IngressClassName != nil && class != *o.Spec.IngressClassName {
		errs = append(errs, field.Invalid(root("annotations").Child(ingressClass), class, "must match `ingressClassName` when both are specified"))
	}
	return errs
}

// IngressUpdate validates an update. All of the spec may change.
func IngressUpdate(new, old *networkingv1.Ingress) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), ingressSpec(&new.Spec)...)
}

// IngressStatusUpdate validates the addresses that a controller gave it.
func IngressStatusUpdate(new, old *networkingv1.Ingress) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	for i, in := range new.Status.LoadBalancer.Ingress {
		errs = append(errs, reachedAt(in.IP, in.Hostname, root("status").Child("loadBalancer", "ingress").Index(i))...)
	}
	return errs
}

// reachedAt validates an address or a name that a load balancer was given.
func reachedAt(ip, hostname string, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	if ip != "" {
		errs = append(errs, valid.IsValidIPForLegacyField(p.Child("ip"), ip, true, nil)...)
	}
	if hostname != "" {
		errs = append(errs, invalid(p.Child("hostname"), hostname, valid.IsDNS1123Subdomain(hostname))...)
		errs = append(errs, notAnAddress(hostname, p.Child("hostname"))...)
	}
	return errs
}

func notAnAddress(name string, p *field.Path) field.ErrorList {
	if len(valid.IsValidIP(p, name)) == 0 {
		return field.ErrorList{field.Invalid(p, name, "must be a DNS name, not an IP address")}
	}
	return nil
}

func ingressSpec(s *networkingv1.IngressSpec) field.ErrorList {
	var errs field.ErrorList
	path := root("spec")
	if len(s.Rules) == 0 && s.DefaultBackend == nil {
		errs = append(errs, field.Invalid(path, s.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if s.DefaultBackend != nil {
		errs = append(errs, ingressBackend(s.DefaultBackend, path.Child("defaultBackend"))...)
	}
	for i := range s.Rules {
		errs = append(errs, ingressRule(&s.Rules[i], path.Child("rules"), i)...)
	}
	for i, t := range s.TLS {
		p := path.Child("tls").Index(i)
		for j, host := range t.Hosts {
			errs = append(errs, ingressHost(host, p.Child("hosts").Index(j))...)
		}
		if t.SecretName != "" {
			errs = append(errs, invalid(p.Child("secretName"), t.SecretName, validation.NameIsDNSSubdomain(t.SecretName, false))...)
		}
	}
	if s.IngressClassName != nil {
		errs = append(errs, invalid(path.Child("ingressClassName"), *s.IngressClassName, validation.NameIsDNSSubdomain(*s.IngressClassName, false))...)
	}
	return errs
}

func ingressHost(host string, p *field.Path) field.ErrorList {
	if strings.Contains(host, "*") {
		return invalid(p, host, valid.IsWildcardDNS1123Subdomain(host))
	}
	return invalid(p, host, valid.IsDNS1123Subdomain(host))
}

func ingressRule(r *networkingv1.IngressRule, rules *field.Path, i int) field.ErrorList {
	var errs field.ErrorList
	if r.Host != "" {
		p := rules.Index(i).Child("host")
		errs = append(errs, notAnAddress(r.Host, p)...)
		errs = append(errs, ingressHost(r.Host, p)...)
	}
	if r.HTTP == nil {
		return errs
	}
	paths := rules.Index(0).Child("http", "paths") // Kubernetes names the first rule, whichever it is
	if len(r.HTTP.Paths) == 0 {
		errs = append(errs, field.Required(paths, ""))
	}
	for j := range r.HTTP.Paths {
		errs = append(errs, ingressPath(&r.HTTP.Paths[j], paths.Index(j))...)
	}
	return errs
}

func ingressPath(h *networkingv1.HTTPIngressPath, at *field.Path) field.ErrorList {
	if h.PathType == nil {
		return field.ErrorList{field.Required(at.Child("pathType"), "pathType must be specified")}
	}
	var errs field.ErrorList
	path := at.Child("path")
	absolute := func() {
		if !strings.HasPrefix(h.Path, "/") {
			errs = append(errs, field.Invalid(path, h.Path, "must be an absolute path"))
		}
	}
	switch *h.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		absolute()
		for _, part := range []string{"//", "/./", "/../", "%2f", "%2F"} {
			if strings.Contains(h.Path, part) {
				errs = append(errs, field.Invalid(path, h.Path, fmt.Sprintf("must not contain '%s'", part)))
			}
		}
		for _, end := range []string{"/..", "/."} {
			if strings.HasSuffix(h.Path, end) {
				errs = append(errs, field.Invalid(path, h.Path, fmt.Sprintf("cannot end with '%s'", end)))
			}
		}
	case networkingv1.PathTypeImplementationSpecific:
		if h.Path != "" {
			absolute()
		}
	default:
		errs = append(errs, maybe(h.PathType, at.Child("pathType"), networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix)...)
	}
	return append(errs, ingressBackend(&h.Backend, at.Child("backend"))...)
}

func ingressBackend(b *networkingv1.IngressBackend, at *field.Path) field.ErrorList {
	switch {
	case b.Resource != nil && b.Service != nil:
		return field.ErrorList{field.Invalid(at, "", "cannot set both resource and service backends")}
	case b.Resource != nil:
		return typedReference(b.Resource, at.Child("resource"))
	case b.Service == nil:
		return field.ErrorList{field.Invalid(at, "", "resource or service backend is required")}
	}
	var errs field.ErrorList
	name, p := b.Service.Name, at.Child("service")
	if name == "" {
		errs = append(errs, field.Required(p.Child("name"), ""))
	} else {
		errs = append(errs, invalid(p.Child("name"), name, validation.NameIsDNS1035Label(name, false))...)
	}
	switch target := b.Service.Port; {
	case target.Name != "" && target.Number != 0:
		errs = append(errs, field.Invalid(at, "", "cannot set both port name & port number"))
	case target.Name != "":
		errs = append(errs, invalid(p.Child("port", "name"), target.Name, valid.IsValidPortName(target.Name))...)
	case target.Number != 0:
		errs = append(errs, port(target.Number, p.Child("port", "number"))...)
	default:
		errs = append(errs, field.Required(at, "port name or number is required"))
	}
	return errs
}

func typedReference(r *corev1.TypedLocalObjectReference, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if r.APIGroup != nil {
		errs = append(errs, invalid(at.Child("apiGroup"), *r.APIGroup, valid.IsDNS1123Subdomain(*r.APIGroup))...)
	}
	for _, f := range []struct{ name, value string }{{"kind", r.Kind}, {"name", r.Name}} {
		if f.value == "" {
			errs = append(errs, field.Required(at.Child(f.name), f.name+" is required"))
			continue
		}
		errs = append(errs, invalid(at.Child(f.name), f.value, content.IsPathSegmentName(f.value))...)
	}
	return errs
}

// IngressClass validates a new IngressClass.
func IngressClass(c *networkingv1.IngressClass) field.ErrorList {
	errs := clusterMetadata(&c.ObjectMeta, validation.NameIsDNSSubdomain)
	path := root("spec")
	if n := len(c.Spec.Controller); n > 250 {
		errs = append(errs, field.TooLong(path.Child("controller"), "", 250))
	}
	errs = append(errs, valid.IsDomainPrefixedPath(path.Child("controller"), c.Spec.Controller)...)
	if c.Spec.Parameters != nil {
		errs = append(errs, classParameters(c.Spec.Parameters, path.Child("parameters"))...)
	}
	return errs
}

// IngressClassUpdate keeps the controller.
func IngressClassUpdate(new, old *networkingv1.IngressClass) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, immutable(new.Spec.Controller, old.Spec.Controller, root("spec").Child("controller"))...)
	return append(errs, IngressClass(new)...)
}

func classParameters(r *networkingv1.IngressClassParametersReference, at *field.Path) field.ErrorList {
	errs := typedReference(&corev1.TypedLocalObjectReference{APIGroup: r.APIGroup, Kind: r.Kind, Name: r.Name}, at)
	if r.Scope == nil {
		return append(errs, field.Required(at.Child("scope"), ""))
	}
	errs = append(errs, maybe(r.Scope, at.Child("scope"), networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace)...)
	namespace := ""
	if r.Namespace != nil {
		namespace = *r.Namespace
	}
	switch p := at.Child("namespace"); *r.Scope {
	case networkingv1.IngressClassParametersReferenceScopeNamespace:
		if namespace == "" {
			return append(errs, field.Required(p, "`parameters.scope` is set to 'Namespace'"))
		}
		errs = append(errs, invalid(p, namespace, valid.IsDNS1123Label(namespace))...)
	case networkingv1.IngressClassParametersReferenceScopeCluster:
		if namespace != "" {
			errs = append(errs, field.Forbidden(p, "`parameters.scope` is set to 'Cluster'"))
		}
	}
	return errs
}
