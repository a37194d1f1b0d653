package validate

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const hostnameLength = 64 // bytes; the kernel takes no more

// hostname validates a name that a pod's host is to have in place of the one that it would have.
func hostname(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	if s.HostnameOverride == nil {
		return nil
	}
	var errs field.ErrorList
	at, name := path.Child("hostnameOverride"), *s.HostnameOverride
	if s.HostNetwork {
		errs = append(errs, field.Forbidden(at, "may not be specified when hostNetwork is true"))
	}
	if s.SetHostnameAsFQDN != nil && *s.SetHostnameAsFQDN {
		errs = append(errs, field.Forbidden(at, "may not be specified when setHostnameAsFQDN is true"))
	}
	if len(name) > hostnameLength {
		errs = append(errs, field.TooLong(at, "", hostnameLength))
	}
	return append(errs, invalid(at, name, valid.IsDNS1123Subdomain(name))...)
}

// ownUsers validates a pod that is to have a user namespace of its own: it shares no other with the host.
func ownUsers(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	if s.HostUsers == nil || *s.HostUsers {
		return nil
	}
	const why = "when `hostUsers` is false"
	var errs field.ErrorList
	for _, f := range []struct {
		name   string
		shared bool
	}{{"hostNetwork", s.HostNetwork}, {"hostPID", s.HostPID}, {"hostIPC", s.HostIPC}} {
		if f.shared {
			errs = append(errs, field.Forbidden(path.Child(f.name), why))
		}
	}
	for list, all := range map[string][]corev1.Container{"containers": s.Containers, "initContainers": s.InitContainers} {
		for i, c := range all {
			if len(c.VolumeDevices) > 0 {
				errs = append(errs, field.Forbidden(path.Child(list).Index(i).Child("volumeDevices"), why))
			}
		}
	}
	return errs
}

// naps validates how long containers may sleep before they end: no longer than the pod has to end.
func naps(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for list, all := range map[string][]corev1.Container{"containers": s.Containers, "initContainers": s.InitContainers} {
		for i, c := range all {
			l := c.Lifecycle
			if l == nil || l.PreStop == nil || l.PreStop.Sleep == nil || s.TerminationGracePeriodSeconds == nil {
				continue
			}
			if grace, sleep := *s.TerminationGracePeriodSeconds, l.PreStop.Sleep.Seconds; sleep > grace {
				errs = append(errs, field.Invalid(path.Child(list).Index(i).Child("lifecycle", "preStop", "sleep"), sleep,
					fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", grace)))
			}
		}
	}
	return errs
}
