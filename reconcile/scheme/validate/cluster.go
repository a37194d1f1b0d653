package validate

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Namespace validates a Namespace.
func Namespace(n *corev1.Namespace) field.ErrorList {
	errs := clusterMetadata(&n.ObjectMeta, validation.NameIsDNSLabel)
	return append(errs, namespaceFinalizers(n)...)
}

// NamespaceUpdate validates an update, also that of the finalizers.
func NamespaceUpdate(new, old *corev1.Namespace) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	return append(errs, namespaceFinalizers(new)...)
}

func namespaceFinalizers(n *corev1.Namespace) field.ErrorList {
	var errs field.ErrorList
	for i, f := range n.Spec.Finalizers {
		p := root("spec").Child("finalizers").Index(i)
		errs = append(errs, labelKey(string(f), p)...)
		if !strings.Contains(string(f), "/") && f != corev1.FinalizerKubernetes {
			errs = append(errs, field.Invalid(p, f, "name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}

// NamespaceStatusUpdate keeps phase and deletion together.
func NamespaceStatusUpdate(new, old *corev1.Namespace) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	phase := root("status").Child("phase")
	switch {
	case new.DeletionTimestamp == nil && new.Status.Phase != corev1.NamespaceActive:
		errs = append(errs, field.Invalid(phase, new.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty"))
	case new.DeletionTimestamp != nil && new.Status.Phase != corev1.NamespaceTerminating:
		errs = append(errs, field.Invalid(phase, new.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty"))
	}
	return errs
}

// Node validates a new Node.
func Node(n *corev1.Node) field.ErrorList {
	errs := clusterMetadata(&n.ObjectMeta, validation.NameIsDNSSubdomain)
	errs = append(errs, nodeSpec(n)...)
	return append(errs, nodeAmounts(n)...)
}

// nodeAmounts validates what a node has and gives away.
func nodeAmounts(n *corev1.Node) field.ErrorList {
	path := root("status")
	errs := quantities(n.Status.Capacity, path.Child("capacity"), nodeResource)
	return append(errs, quantities(n.Status.Allocatable, path.Child("allocatable"), nodeResource)...)
}

// NodeUpdate keeps what a node is known by.
func NodeUpdate(new, old *corev1.Node) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, nodeSpec(new)...)
	path := root("spec")
	if old.Spec.PodCIDR != "" {
		errs = append(errs, changedTo(new.Spec.PodCIDR, old.Spec.PodCIDR, path.Child("podCIDR"), "node updates may not change podCIDR except from \"\" to valid")...)
	}
	errs = append(errs, changedTo(new.Spec.DoNotUseExternalID, old.Spec.DoNotUseExternalID, path.Child("externalID"), "may not be updated")...)
	if old.Spec.ProviderID != "" {
		errs = append(errs, changedTo(new.Spec.ProviderID, old.Spec.ProviderID, path.Child("providerID"), "node updates may not change providerID except from \"\" to valid")...)
	}
	return errs
}

func changedTo(new, old string, path *field.Path, message string) field.ErrorList {
	if new == old {
		return nil
	}
	return field.ErrorList{field.Forbidden(path, message)}
}

// NodeStatusUpdate validates what a node says of itself.
func NodeStatusUpdate(new, old *corev1.Node) field.ErrorList {
	path := root("status")
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	seen := map[corev1.NodeAddress]bool{}
	for i, a := range new.Status.Addresses {
		if seen[a] {
			errs = append(errs, field.Duplicate(path.Child("addresses").Index(i), a))
		}
		seen[a] = true
	}
	return append(errs, nodeAmounts(new)...)
}

func nodeResource(name corev1.ResourceName, path *field.Path) field.ErrorList {
	return labelKey(string(name), path)
}

func nodeSpec(n *corev1.Node) field.ErrorList {
	path := root("spec")
	errs := taints(n.Spec.Taints, path.Child("taints"))
	for i, c := range n.Spec.PodCIDRs {
		errs = append(errs, valid.IsValidCIDRForLegacyField(path.Child("podCIDRs").Index(i), c, true, nil)...)
	}
	if all := n.Spec.PodCIDRs; len(all) > 2 || len(all) == 2 && isIPv6(all[0]) == isIPv6(all[1]) {
		errs = append(errs, field.Invalid(path.Child("podCIDRs"), all, "may specify no more than one CIDR for each IP family"))
	}
	return errs
}

func taints(all []corev1.Taint, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, t := range all {
		p := path.Index(i)
		errs = append(errs, metavalidation.ValidateLabelName(t.Key, p.Child("key"))...)
		errs = append(errs, invalid(p.Child("value"), t.Value, valid.IsValidLabelValue(t.Value))...)
		errs = append(errs, taintEffect(t.Effect, p.Child("effect"))...)
		id := t.Key + ":" + string(t.Effect)
		if seen[id] {
			d := field.Duplicate(p, t)
			d.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, d)
		}
		seen[id] = true
	}
	return errs
}

// noSpecialIP refuses addresses that lead to no other machine.
func noSpecialIP(ip string, path *field.Path) field.ErrorList {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return nil // refused elsewhere
	}
	a = a.Unmap()
	switch {
	case a.IsUnspecified():
		return field.ErrorList{field.Invalid(path, ip, fmt.Sprintf("may not be unspecified (%v)", ip))}
	case a.IsLoopback():
		return field.ErrorList{field.Invalid(path, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)")}
	case a.IsLinkLocalUnicast():
		return field.ErrorList{field.Invalid(path, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")}
	case a.IsLinkLocalMulticast():
		return field.ErrorList{field.Invalid(path, ip, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")}
	}
	return nil
}

// How long the texts of an event may be, in bytes.
const (
	messageLength = 1024
	reasonLength  = 128
)

// Event validates an Event of the core group.
func Event(e *corev1.Event) field.ErrorList {
	// Their names begin with those of the objects that they are about, of any kind.
	errs := metadata(&e.ObjectMeta, pathSegment)
	path := root("involvedObject").Child("namespace")
	switch ns := e.InvolvedObject.Namespace; {
	case ns == "" && e.Namespace != "default" && e.Namespace != "kube-system":
		errs = append(errs, field.Invalid(path, ns, "does not match event.namespace"))
	case ns != "" && ns != e.Namespace:
		errs = append(errs, field.Invalid(path, ns, "does not match event.namespace"))
	}
	if e.EventTime.IsZero() {
		return errs
	}
	errs = append(errs, required(e.ReportingController, root("reportingComponent"))...)
	if e.ReportingController != "" {
		errs = append(errs, labelKey(e.ReportingController, root("reportingComponent"))...)
	}
	errs = append(errs, required(e.ReportingInstance, root("reportingInstance"))...)
	errs = append(errs, required(e.Action, root("action"))...)
	errs = append(errs, required(e.Reason, root("reason"))...)
	for _, t := range []struct {
		field, text string
		length      int
	}{
		{"message", e.Message, messageLength}, {"reason", e.Reason, reasonLength}, {"action", e.Action, reasonLength},
		{"reportingInstance", e.ReportingInstance, reasonLength},
	} {
		if len(t.text) > t.length {
			errs = append(errs, field.Invalid(root(t.field), "", fmt.Sprintf("can have at most %v characters", t.length)))
		}
	}
	return errs
}

func pathSegment(name string, _ bool) []string { return content.IsPathSegmentName(name) }

// EventUpdate validates an update.
func EventUpdate(new, old *corev1.Event) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	if !new.EventTime.IsZero() {
		errs = append(errs, immutable(new.InvolvedObject, old.InvolvedObject, root("involvedObject"))...)
		errs = append(errs, immutable(new.Reason, old.Reason, root("reason"))...)
	}
	return append(errs, Event(new)...)
}
