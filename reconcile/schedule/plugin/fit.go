package plugin

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/schedule"
)

// Fit refuses nodes that have not enough left of what the pod requests.
type Fit struct{}

func (Fit) Name() string { return "NodeResourcesFit" }

func (Fit) Prepare(pod *corev1.Pod, _ *schedule.View) func(*schedule.NodeInfo) *schedule.Reject {
	want := schedule.Requests(pod)
	return func(n *schedule.NodeInfo) *schedule.Reject {
		var short []string
		final := false
		if int64(len(n.Pods))+1 > n.Allocatable[corev1.ResourcePods] {
			short = append(short, "Too many pods")
		}
		for name, amount := range want {
			if amount > 0 && amount > n.Allocatable[name]-n.Requested[name] {
				short = append(short, "Insufficient "+string(name))
				final = final || amount > n.Allocatable[name]
			}
		}
		if short == nil {
			return nil
		}
		slices.Sort(short)
		return reject(final, short...)
	}
}

// LeastAllocated prefers nodes of which less is requested, CPU and memory alike.
type LeastAllocated struct{}

func (LeastAllocated) Name() string { return "NodeResourcesLeastAllocated" }

func (LeastAllocated) Prepare(pod *corev1.Pod, _ *schedule.View, _ []*schedule.NodeInfo) func(*schedule.NodeInfo) int64 {
	want := scoringRequests(pod)
	return func(n *schedule.NodeInfo) int64 {
		return int64((1 - (share(n, want, corev1.ResourceCPU)+share(n, want, corev1.ResourceMemory))/2) * schedule.MaxScore)
	}
}

// BalancedAllocation prefers nodes of which CPU and memory would be used to the same degree.
type BalancedAllocation struct{}

func (BalancedAllocation) Name() string { return "NodeResourcesBalancedAllocation" }

func (BalancedAllocation) Prepare(pod *corev1.Pod, _ *schedule.View, _ []*schedule.NodeInfo) func(*schedule.NodeInfo) int64 {
	want := scoringRequests(pod)
	return func(n *schedule.NodeInfo) int64 {
		cpu, memory := share(n, want, corev1.ResourceCPU), share(n, want, corev1.ResourceMemory)
		return int64((1 - max(cpu-memory, memory-cpu)/2) * schedule.MaxScore)
	}
}

// scoringRequests counts a container that requests nothing as a small one, so that such pods spread too. The amounts are
// those of Kubernetes.
func scoringRequests(pod *corev1.Pod) schedule.Resources {
	const milliCPU, memory = 100, 200 << 20
	r := schedule.Requests(pod)
	for _, c := range pod.Spec.Containers {
		if c.Resources.Requests.Cpu().IsZero() {
			r[corev1.ResourceCPU] += milliCPU
		}
		if c.Resources.Requests.Memory().IsZero() {
			r[corev1.ResourceMemory] += memory
		}
	}
	return r
}

// share is the part of a resource that is requested when want is added: 0 to 1.
func share(n *schedule.NodeInfo, want schedule.Resources, name corev1.ResourceName) float64 {
	have := n.Allocatable[name]
	if have == 0 {
		return 1
	}
	return min(float64(n.Requested[name]+want[name])/float64(have), 1)
}
