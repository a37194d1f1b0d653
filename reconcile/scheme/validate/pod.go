package validate

import (
	"fmt"
	"math"
	"net"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Pod validates a new pod.
func (v Rules) Pod(p *corev1.Pod) field.ErrorList {
	path := root("spec")
	errs := metadata(&p.ObjectMeta, validation.NameIsDNSSubdomain)
	errs = append(errs, v.podSpec(&p.Spec, path)...)
	if len(p.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("ephemeralContainers"), "cannot be set on create"))
	}
	if len(p.Spec.SchedulingGates) > 0 && p.Spec.NodeName != "" {
		errs = append(errs, field.Forbidden(path.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	return append(errs, v.unsupported(&p.Spec, path)...)
}

// unsupported is what the nodes cannot do yet of s.
func (v Rules) unsupported(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	if v.Unsupported == nil {
		return nil
	}
	return within(path, v.Unsupported(s))
}

// podTemplate validates a template of pods that are always restarted.
func (v Rules) podTemplate(t *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	meta, spec := path.Child("metadata"), path.Child("spec")
	errs := metavalidation.ValidateLabels(t.Labels, meta.Child("labels"))
	errs = append(errs, validation.ValidateAnnotations(t.Annotations, meta.Child("annotations"))...)
	errs = append(errs, v.podSpec(&t.Spec, spec)...)
	if len(t.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(spec.Child("ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return append(errs, v.unsupported(&t.Spec, spec)...)
}

func (v Rules) podSpec(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	names, errs := volumes(s.Volumes, path.Child("volumes"))
	errs = append(errs, containers(s, names, path)...)
	errs = append(errs, oneOf(s.RestartPolicy, path.Child("restartPolicy"), corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	errs = append(errs, dns(s, path)...)
	errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, path.Child("nodeSelector"))...)
	errs = append(errs, podSecurity(s, path)...)
	errs = append(errs, scheduling(s, path)...)
	errs = append(errs, podNames(s, path)...)
	errs = append(errs, hostname(s, path)...)
	errs = append(errs, ownUsers(s, path)...)
	errs = append(errs, naps(s, path)...)
	for i, g := range s.ReadinessGates {
		errs = append(errs, labelKey(string(g.ConditionType), path.Child("readinessGates").Index(i).Child("conditionType"))...)
	}
	if d := s.ActiveDeadlineSeconds; d != nil && (*d < 1 || *d > math.MaxInt32) {
		errs = append(errs, field.Invalid(path.Child("activeDeadlineSeconds"), *d, valid.InclusiveRangeError(1, math.MaxInt32)))
	}
	for i, h := range s.HostAliases {
		p := path.Child("hostAliases").Index(i)
		errs = append(errs, valid.IsValidIPForLegacyField(p.Child("ip"), h.IP, true, nil)...)
		for j, name := range h.Hostnames {
			errs = append(errs, invalid(p.Child("hostnames").Index(j), name, valid.IsDNS1123Subdomain(name))...)
		}
	}
	errs = append(errs, podResources(s, path)...)
	return append(errs, podOS(s, path)...)
}

// podNames validates the names of other things.
func podNames(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, n := range []struct {
		field, name string
		check       func(string) []string
	}{
		{"serviceAccountName", s.ServiceAccountName, valid.IsDNS1123Subdomain},
		{"nodeName", s.NodeName, valid.IsDNS1123Subdomain},
		{"hostname", s.Hostname, valid.IsDNS1123Label},
		{"subdomain", s.Subdomain, valid.IsDNS1123Label},
		{"priorityClassName", s.PriorityClassName, valid.IsDNS1123Subdomain},
	} {
		if n.name != "" {
			errs = append(errs, invalid(path.Child(n.field), n.name, n.check(n.name))...)
		}
	}
	if s.RuntimeClassName != nil {
		errs = append(errs, invalid(path.Child("runtimeClassName"), *s.RuntimeClassName, valid.IsDNS1123Subdomain(*s.RuntimeClassName))...)
	}
	return errs
}

const (
	nameserversAtMost = 3
	searchesAtMost    = 32
	searchesLength    = 2048
)

func dns(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs := oneOf(s.DNSPolicy, path.Child("dnsPolicy"), corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)
	c, path := s.DNSConfig, path.Child("dnsConfig")
	if s.DNSPolicy == corev1.DNSNone {
		switch {
		case c == nil:
			return append(errs, field.Required(path, fmt.Sprintf("must provide `dnsConfig` when `dnsPolicy` is %s", corev1.DNSNone)))
		case len(c.Nameservers) == 0:
			errs = append(errs, field.Required(path.Child("nameservers"), fmt.Sprintf("must provide at least one DNS nameserver when `dnsPolicy` is %s", corev1.DNSNone)))
		}
	}
	if c == nil {
		return errs
	}
	if len(c.Nameservers) > nameserversAtMost {
		errs = append(errs, field.Invalid(path.Child("nameservers"), c.Nameservers, fmt.Sprintf("must not have more than %v nameservers", nameserversAtMost)))
	}
	for i, n := range c.Nameservers {
		errs = append(errs, valid.IsValidIPForLegacyField(path.Child("nameservers").Index(i), n, true, nil)...)
	}
	if len(c.Searches) > searchesAtMost {
		errs = append(errs, field.Invalid(path.Child("searches"), c.Searches, fmt.Sprintf("must not have more than %v search paths", searchesAtMost)))
	}
	if len(strings.Join(c.Searches, " ")) > searchesLength {
		errs = append(errs, field.Invalid(path.Child("searches"), c.Searches, fmt.Sprintf("must not have more than %v characters (including spaces) in the search list", searchesLength)))
	}
	for i, n := range c.Searches {
		if n != "." {
			n = strings.TrimSuffix(n, ".")
			errs = append(errs, invalid(path.Child("searches").Index(i), n, valid.IsDNS1123SubdomainWithUnderscore(n))...)
		}
	}
	for i, o := range c.Options {
		if o.Name == "" {
			errs = append(errs, field.Required(path.Child("options").Index(i), "must not be empty"))
		}
	}
	return errs
}

func podOS(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	if s.OS == nil {
		return nil
	}
	return oneOf(s.OS.Name, path.Child("os", "name"), corev1.Linux, corev1.Windows)
}

func podSecurity(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.ShareProcessNamespace != nil && *s.ShareProcessNamespace && s.HostPID {
		errs = append(errs, field.Invalid(path.Child("shareProcessNamespace"), *s.ShareProcessNamespace, "ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	c, path := s.SecurityContext, path.Child("securityContext")
	if c == nil {
		return errs
	}
	errs = append(errs, userID(c.RunAsUser, path.Child("runAsUser"))...)
	errs = append(errs, groupID(c.RunAsGroup, path.Child("runAsGroup"))...)
	errs = append(errs, groupID(c.FSGroup, path.Child("fsGroup"))...)
	for i, g := range c.SupplementalGroups {
		errs = append(errs, groupID(&g, path.Child("supplementalGroups").Index(i))...)
	}
	errs = append(errs, maybe(c.FSGroupChangePolicy, path.Child("fsGroupChangePolicy"), corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)...)
	errs = append(errs, maybe(c.SupplementalGroupsPolicy, path.Child("supplementalGroupsPolicy"), corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)...)
	seen := map[string]bool{}
	for i, k := range c.Sysctls {
		p := path.Child("sysctls").Index(i)
		switch {
		case k.Name == "":
			errs = append(errs, field.Required(p.Child("name"), ""))
		case !isSysctl(k.Name):
			errs = append(errs, field.Invalid(p.Child("name"), k.Name, "must have at most 253 characters and match regex "+sysctlPattern))
		case seen[k.Name]:
			errs = append(errs, field.Duplicate(p.Child("name"), k.Name))
		}
		seen[k.Name] = true
	}
	errs = append(errs, seccomp(c.SeccompProfile, path.Child("seccompProfile"))...)
	return append(errs, appArmor(c.AppArmorProfile, path.Child("appArmorProfile"))...)
}

func userID(id *int64, path *field.Path) field.ErrorList {
	if id == nil {
		return nil
	}
	return invalid(path, *id, valid.IsValidUserID(*id))
}

func groupID(id *int64, path *field.Path) field.ErrorList {
	if id == nil {
		return nil
	}
	return invalid(path, *id, valid.IsValidGroupID(*id))
}

// labelKey validates a name of the form of a label's: example.com/name.
func labelKey(name string, path *field.Path) field.ErrorList {
	return invalid(path, name, valid.IsQualifiedName(name))
}

// selector validates a selector that may be missing.
func selector(s *metav1.LabelSelector, path *field.Path) field.ErrorList {
	return metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, path)
}

// PodStatusUpdate validates what a node says of a pod.
func (v Rules) PodStatusUpdate(new, old *corev1.Pod) field.ErrorList {
	path := root("status")
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	if n := new.Status.NominatedNodeName; n != "" {
		errs = append(errs, invalid(path.Child("nominatedNodeName"), n, valid.IsDNS1123Subdomain(n))...)
	}
	if new.Status.QOSClass != old.Status.QOSClass {
		errs = append(errs, immutable(new.Status.QOSClass, old.Status.QOSClass, path.Child("qosClass"))...)
	}
	for i, c := range new.Status.Conditions {
		errs = append(errs, labelKey(string(c.Type), path.Child("conditions").Index(i).Child("type"))...)
	}
	seen := map[string]bool{}
	for i, ip := range new.Status.PodIPs {
		p := path.Child("podIPs").Index(i)
		if net.ParseIP(ip.IP) == nil {
			errs = append(errs, field.Invalid(p, ip.IP, "must be a valid IP address"))
		}
		if seen[ip.IP] {
			errs = append(errs, field.Duplicate(p, ip))
		}
		seen[ip.IP] = true
	}
	return errs
}
