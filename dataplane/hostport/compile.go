// Package hostport leads ports of the machine to pods that ask for them: a pure function that says which, and a loop that
// follows the store and has the kernel do it.
package hostport

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/dataplane/target"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Row is a port of the machine, at one of its addresses or at 0.0.0.0 for all of them, and the end of a pod where it leads.
type Row = target.Entry[service.Frontend, netip.AddrPort]

// A Claim is a row that a pod asks for.
type Claim struct {
	Row
	Pod *corev1.Pod
}

// Compile returns what the pods of a node ask for, sorted by port, each port once. Of two pods that ask for one port, the
// older has it. A pod asks from when it has an address until it has ended: while it terminates, it still answers.
func Compile(s *store.Snapshot, node string) []Claim {
	var all []Claim
	for pod := range store.List[*corev1.Pod](s, store.OnNode(node)) {
		all = append(all, claims(pod)...)
	}
	slices.SortStableFunc(all, func(a, b Claim) int {
		return cmp.Or(a.Key.Compare(b.Key), a.Pod.CreationTimestamp.Compare(b.Pod.CreationTimestamp.Time), cmp.Compare(a.Pod.UID, b.Pod.UID))
	})
	return slices.CompactFunc(all, func(a, b Claim) bool { return a.Key == b.Key })
}

func claims(pod *corev1.Pod) (all []Claim) {
	addr, err := netip.ParseAddr(pod.Status.PodIP)
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	if err != nil || !addr.Is4() || ended {
		return nil
	}
	for _, p := range asked(pod) {
		from, ok := frontend(p)
		if ok {
			all = append(all, Claim{Row{Key: from, Value: netip.AddrPortFrom(addr, uint16(p.ContainerPort))}, pod})
		}
	}
	return all
}

// asked are the host ports of the containers that run as long as the pod. Those of a pod in the machine's network are the
// ports of its processes already.
func asked(pod *corev1.Pod) (ports []corev1.ContainerPort) {
	if pod.Spec.HostNetwork {
		return nil
	}
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				ports = append(ports, p)
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return ports
}

// frontend is where the machine is to be called for p; false if that cannot be led.
func frontend(p corev1.ContainerPort) (service.Frontend, bool) {
	addr := netip.IPv4Unspecified()
	if p.HostIP != "" {
		parsed, err := netip.ParseAddr(p.HostIP)
		if err != nil || !parsed.Is4() {
			return service.Frontend{}, false
		}
		addr = parsed
	}
	protocol, ok := service.ProtocolOf(p.Protocol)
	return service.Frontend{AddrPort: netip.AddrPortFrom(addr, uint16(p.HostPort)), Protocol: protocol}, ok
}
