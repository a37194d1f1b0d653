package plugin

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/schedule"
)

// NodePorts refuses nodes on which a host port that the pod wants is taken.
type NodePorts struct{}

func (NodePorts) Name() string { return "NodePorts" }

func (NodePorts) Prepare(pod *corev1.Pod, _ *schedule.View) func(*schedule.NodeInfo) *schedule.Reject {
	want := hostPorts(pod)
	if len(want) == 0 {
		return nil
	}
	return func(n *schedule.NodeInfo) *schedule.Reject {
		for _, p := range n.Pods {
			for _, taken := range hostPorts(p) {
				for _, w := range want {
					if clash(w, taken) {
						return reject(false, "node(s) didn't have free ports for the requested pod ports")
					}
				}
			}
		}
		return nil
	}
}

// hostPorts are the ports of the machine that the pod takes as long as it runs. On the machine's network that is every port
// it names.
func hostPorts(pod *corev1.Pod) []corev1.ContainerPort {
	var out []corev1.ContainerPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort == 0 && pod.Spec.HostNetwork {
				p.HostPort = p.ContainerPort
			}
			if p.Protocol == "" {
				p.Protocol = corev1.ProtocolTCP
			}
			if p.HostPort != 0 {
				out = append(out, p)
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
	return out
}

// clash tells whether two host ports are the same: an empty host address is every address.
func clash(a, b corev1.ContainerPort) bool {
	const all = "0.0.0.0"
	ipA, ipB := a.HostIP, b.HostIP
	if ipA == "" {
		ipA = all
	}
	if ipB == "" {
		ipB = all
	}
	return a.HostPort == b.HostPort && a.Protocol == b.Protocol && (ipA == ipB || ipA == all || ipB == all)
}
