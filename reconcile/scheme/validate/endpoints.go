//lint:file-ignore SA1019 Endpoints are old, and kept for those who still use them

package validate

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Endpoints validates new Endpoints.
func Endpoints(e *corev1.Endpoints) field.ErrorList {
	errs := metadata(&e.ObjectMeta, validation.NameIsDNSSubdomain)
	for i := range e.Subsets {
		errs = append(errs, endpointSubset(&e.Subsets[i], root("subsets").Index(i))...)
	}
	return errs
}

// EndpointsUpdate validates an update. All may change.
func EndpointsUpdate(new, old *corev1.Endpoints) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	if !same(new.Subsets, old.Subsets) {
		for i := range new.Subsets {
			errs = append(errs, endpointSubset(&new.Subsets[i], root("subsets").Index(i))...)
		}
	}
	return errs
}

func endpointSubset(s *corev1.EndpointSubset, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(s.Addresses) == 0 && len(s.NotReadyAddresses) == 0 {
		errs = append(errs, field.Required(at, "must specify `addresses` or `notReadyAddresses`"))
	}
	for i := range s.Addresses {
		errs = append(errs, subsetAddress(&s.Addresses[i], at.Child("addresses").Index(i))...)
	}
	for i := range s.NotReadyAddresses {
		errs = append(errs, subsetAddress(&s.NotReadyAddresses[i], at.Child("notReadyAddresses").Index(i))...)
	}
	for i, p := range s.Ports {
		path := at.Child("ports").Index(i)
		errs = append(errs, portName(p.Name, len(s.Ports) > 1, map[string]bool{}, path.Child("name"))...)
		errs = append(errs, port(p.Port, path.Child("port"))...)
		errs = append(errs, protocol(p.Protocol, path.Child("protocol"))...)
		if p.AppProtocol != nil {
			errs = append(errs, labelKey(*p.AppProtocol, path.Child("appProtocol"))...)
		}
	}
	return errs
}

func subsetAddress(a *corev1.EndpointAddress, at *field.Path) field.ErrorList {
	errs := valid.IsValidIPForLegacyField(at.Child("ip"), a.IP, true, nil)
	if a.Hostname != "" {
		errs = append(errs, invalid(at.Child("hostname"), a.Hostname, valid.IsDNS1123Label(a.Hostname))...)
	}
	if a.NodeName != nil {
		errs = append(errs, invalid(at.Child("nodeName"), *a.NodeName, valid.IsDNS1123Subdomain(*a.NodeName))...)
	}
	return append(errs, noSpecialIP(a.IP, at.Child("ip"))...)
}
