package validate

import (
	"fmt"
	"net/netip"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/api/validation"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// IPAddress validates a new IPAddress, whose name is the address.
func IPAddress(a *networkingv1.IPAddress) field.ErrorList {
	errs := clusterMetadata(&a.ObjectMeta, canonicalIP)
	return append(errs, addressParent(a.Spec.ParentRef, root("spec").Child("parentRef"))...)
}

func canonicalIP(name string, _ bool) []string {
	ip, err := netip.ParseAddr(name)
	if err != nil {
		return []string{err.Error()}
	}
	if ip.String() != name {
		return []string{"must be a canonical format IP address"}
	}
	return nil
}

func addressParent(r *networkingv1.ParentReference, at *field.Path) field.ErrorList {
	if r == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	if r.Group != "" {
		errs = append(errs, invalid(at.Child("group"), r.Group, valid.IsDNS1123Subdomain(r.Group))...)
	}
	for _, f := range []struct {
		name, value string
		needed      bool
	}{{"resource", r.Resource, true}, {"name", r.Name, true}, {"namespace", r.Namespace, false}} {
		if f.value == "" {
			if f.needed {
				errs = append(errs, field.Required(at.Child(f.name), ""))
			}
			continue
		}
		errs = append(errs, invalid(at.Child(f.name), f.value, content.IsPathSegmentName(f.value))...)
	}
	return errs
}

// IPAddressUpdate keeps whose it is.
func IPAddressUpdate(new, old *networkingv1.IPAddress) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	return append(errs, immutable(new.Spec.ParentRef, old.Spec.ParentRef, root("spec").Child("parentRef"))...)
}

// ServiceCIDR validates a new ServiceCIDR.
func ServiceCIDR(c *networkingv1.ServiceCIDR) field.ErrorList {
	errs := clusterMetadata(&c.ObjectMeta, validation.NameIsDNSSubdomain)
	at := root("spec").Child("cidrs")
	switch n := len(c.Spec.CIDRs); {
	case n == 0:
		return append(errs, field.Required(at, "at least one CIDR required"))
	case n > 2:
		return append(errs, field.Invalid(at, c.Spec, "may only hold up to 2 values"))
	case n == 2 && strings.Contains(c.Spec.CIDRs[0], ":") == strings.Contains(c.Spec.CIDRs[1], ":"):
		errs = append(errs, field.Invalid(at, c.Spec, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96"))
	}
	for i, r := range c.Spec.CIDRs {
		errs = append(errs, valid.IsValidCIDR(at.Index(i), r)...)
	}
	return errs
}

// ServiceCIDRUpdate keeps the ranges, but for a second one that may be added.
func ServiceCIDRUpdate(new, old *networkingv1.ServiceCIDR) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	at := root("spec").Child("cidrs")
	was, is := old.Spec.CIDRs, new.Spec.CIDRs
	if len(was) == len(is) || len(was) == 1 && len(is) == 2 {
		for i := range was {
			if was[i] != is[i] {
				errs = append(errs, field.Invalid(at.Index(i), is[i], validation.FieldImmutableErrorMsg))
			}
		}
	} else {
		errs = append(errs, field.Invalid(at, is, fmt.Sprintf("%s: only a range of the other family may be added", validation.FieldImmutableErrorMsg)))
	}
	return append(errs, ServiceCIDR(new)...)
}

// ServiceCIDRStatusUpdate validates an update of the status.
func ServiceCIDRStatusUpdate(new, old *networkingv1.ServiceCIDR) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
