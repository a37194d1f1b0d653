package columns

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Nodes shows whether they are ready, and what they run.
func Nodes() Table[*corev1.Node] {
	return Table[*corev1.Node]{
		header("Name,Status,Roles,Age,Version,Internal-IP*,External-IP*,OS-Image*,Kernel-Version*,Container-Runtime*"),
		func(n *corev1.Node, now time.Time) []any {
			i := n.Status.NodeInfo
			return []any{
				n.Name, nodeStatus(n), or(strings.Join(roles(n), ","), none), created(n, now), i.KubeletVersion,
				nodeAddress(n, corev1.NodeInternalIP), nodeAddress(n, corev1.NodeExternalIP),
				or(i.OSImage, "<unknown>"), or(i.KernelVersion, "<unknown>"), or(i.ContainerRuntimeVersion, "<unknown>"),
			}
		},
	}
}

func nodeStatus(n *corev1.Node) string {
	text := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			text = "NotReady"
			if c.Status == corev1.ConditionTrue {
				text = "Ready"
			}
		}
	}
	if n.Spec.Unschedulable {
		text += ",SchedulingDisabled"
	}
	return text
}

func roles(n *corev1.Node) []string {
	var all []string
	for label, value := range n.Labels {
		if role, ok := strings.CutPrefix(label, "node-role.kubernetes.io/"); ok && role != "" {
			all = append(all, role)
		}
		if label == "kubernetes.io/role" && value != "" {
			all = append(all, value)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func nodeAddress(n *corev1.Node, kind corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == kind {
			return a.Address
		}
	}
	return none
}
