package validate

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	endpointsAtMost = 1000
	addressesAtMost = 100
	portsAtMost     = 100
)

// EndpointSlice validates a new EndpointSlice.
func EndpointSlice(e *discoveryv1.EndpointSlice) field.ErrorList {
	return append(metadata(&e.ObjectMeta, validation.NameIsDNSSubdomain), endpointSlice(e)...)
}

// EndpointSliceUpdate keeps the kind of addresses.
func EndpointSliceUpdate(new, old *discoveryv1.EndpointSlice) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, immutable(new.AddressType, old.AddressType, root("addressType"))...)
	return append(errs, endpointSlice(new)...)
}

func endpointSlice(e *discoveryv1.EndpointSlice) field.ErrorList {
	errs := oneOf(e.AddressType, root("addressType"), discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN)
	if n := len(e.Endpoints); n > endpointsAtMost {
		return append(errs, field.TooMany(root("endpoints"), n, endpointsAtMost))
	}
	for i := range e.Endpoints {
		errs = append(errs, endpoint(&e.Endpoints[i], e.AddressType, root("endpoints").Index(i))...)
	}
	if n := len(e.Ports); n > portsAtMost {
		return append(errs, field.TooMany(root("ports"), n, portsAtMost))
	}
	names := map[string]bool{}
	for i, p := range e.Ports {
		path := root("ports").Index(i)
		if p.Name != nil {
			if *p.Name != "" {
				errs = append(errs, invalid(path.Child("name"), *p.Name, valid.IsDNS1123Label(*p.Name))...)
			}
			if names[*p.Name] {
				errs = append(errs, field.Duplicate(path.Child("name"), *p.Name))
			}
			names[*p.Name] = true
		}
		if p.Protocol == nil {
			errs = append(errs, field.Required(path.Child("protocol"), ""))
		} else {
			errs = append(errs, maybe(p.Protocol, path.Child("protocol"), corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
		}
		if p.AppProtocol != nil {
			errs = append(errs, labelKey(*p.AppProtocol, path.Child("appProtocol"))...)
		}
	}
	return errs
}

func endpoint(e *discoveryv1.Endpoint, kind discoveryv1.AddressType, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	at := path.Child("addresses")
	switch n := len(e.Addresses); {
	case n == 0:
		errs = append(errs, field.Required(at, "must contain at least 1 address"))
	case n > addressesAtMost:
		errs = append(errs, field.TooMany(at, n, addressesAtMost))
	}
	for i, a := range e.Addresses {
		errs = append(errs, endpointAddress(a, kind, at.Index(i))...)
	}
	if e.NodeName != nil {
		errs = append(errs, invalid(path.Child("nodeName"), *e.NodeName, valid.IsDNS1123Subdomain(*e.NodeName))...)
	}
	if e.Hostname != nil {
		errs = append(errs, invalid(path.Child("hostname"), *e.Hostname, valid.IsDNS1123Label(*e.Hostname))...)
	}
	return errs
}

func endpointAddress(a string, kind discoveryv1.AddressType, path *field.Path) field.ErrorList {
	switch kind {
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
		if errs := valid.IsValidIPForLegacyField(path, a, true, nil); len(errs) > 0 {
			return errs
		}
		if isIPv6(a) != (kind == discoveryv1.AddressTypeIPv6) {
			return field.ErrorList{field.Invalid(path, a, "must be an "+string(kind)+" address")}
		}
		return noSpecialIP(a, path)
	case discoveryv1.AddressTypeFQDN:
		return valid.IsFullyQualifiedDomainName(path, a)
	}
	return nil
}

func isIPv6(a string) bool {
	for _, c := range a {
		if c == ':' {
			return true
		}
	}
	return false
}

// Lease validates a Lease.
func Lease(l *coordinationv1.Lease) field.ErrorList {
	errs := metadata(&l.ObjectMeta, validation.NameIsDNSSubdomain)
	path := root("spec")
	if n := l.Spec.LeaseDurationSeconds; n != nil && *n <= 0 {
		errs = append(errs, field.Invalid(path.Child("leaseDurationSeconds"), *n, "must be greater than 0"))
	}
	if n := l.Spec.LeaseTransitions; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(path.Child("leaseTransitions"), *n, "must be greater than or equal to 0"))
	}
	return errs
}

// LeaseUpdate validates an update.
func LeaseUpdate(new, old *coordinationv1.Lease) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), Lease(new)...)
}
