package kubelet

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/mainstay-gitops/mainstay/nodes/usage"
)

// podUsage is what the containers of one pod use, by name.
type podUsage struct {
	pod        *corev1.Pod
	containers map[string]usage.Used
}

// together is what a pod's containers use.
func (p podUsage) together() usage.Used {
	var sum usage.Used
	for _, u := range p.containers {
		sum.Cores, sum.CPU, sum.Memory, sum.Window = sum.Cores+u.Cores, sum.CPU+u.CPU, sum.Memory+u.Memory, max(sum.Window, u.Window)
	}
	return sum
}

// names are those of the pod's containers that are measured.
func (p podUsage) names() []string { return slices.Sorted(maps.Keys(p.containers)) }

// byPod is what each pod uses of which a container runs, in the order of their names.
func byPod(pods []*corev1.Pod, m usage.Measurement) []podUsage {
	found := map[types.UID]*podUsage{}
	for _, p := range pods {
		found[p.UID] = &podUsage{pod: p, containers: map[string]usage.Used{}}
	}
	for id, u := range m.Containers {
		if p := found[id.Pod]; p != nil {
			p.containers[id.Name] = u
		}
	}
	var all []podUsage
	for _, p := range found {
		if len(p.containers) > 0 {
			all = append(all, *p)
		}
	}
	slices.SortFunc(all, func(a, b podUsage) int {
		return cmp.Or(cmp.Compare(a.pod.Namespace, b.pod.Namespace), cmp.Compare(a.pod.Name, b.pod.Name), cmp.Compare(a.pod.UID, b.pod.UID))
	})
	return all
}

func (c Config) summary(w http.ResponseWriter, r *http.Request) {
	m, err := c.Usage(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, summaryOf(c.Node, c.Pods(), m))
}

func summaryOf(node string, pods []*corev1.Pod, m usage.Measurement) stats.Summary {
	s := stats.Summary{
		Node: stats.NodeStats{NodeName: node, StartTime: metav1.NewTime(m.At.Add(-m.Node.Window)), CPU: cpuOf(m.At, m.Node), Memory: memoryOf(m.At, m.Node)},
		Pods: []stats.PodStats{},
	}
	for _, p := range byPod(pods, m) {
		all := p.together()
		one := stats.PodStats{
			PodRef: stats.PodReference{Namespace: p.pod.Namespace, Name: p.pod.Name, UID: string(p.pod.UID)},
			CPU:    cpuOf(m.At, all), Memory: memoryOf(m.At, all),
		}
		if t := p.pod.Status.StartTime; t != nil {
			one.StartTime = *t
		}
		for _, name := range p.names() {
			u := p.containers[name]
			one.Containers = append(one.Containers, stats.ContainerStats{Name: name, StartTime: started(p.pod, name), CPU: cpuOf(m.At, u), Memory: memoryOf(m.At, u)})
		}
		s.Pods = append(s.Pods, one)
	}
	return s
}

// started is when a container did, as its status says.
func started(p *corev1.Pod, name string) metav1.Time {
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses) {
		if c.Name == name && c.State.Running != nil {
			return c.State.Running.StartedAt
		}
	}
	return metav1.Time{}
}

func cpuOf(at time.Time, u usage.Used) *stats.CPUStats {
	rate, sum := uint64(u.Cores*1e9), uint64(u.CPU)
	return &stats.CPUStats{Time: metav1.NewTime(at), UsageNanoCores: &rate, UsageCoreNanoSeconds: &sum}
}

func memoryOf(at time.Time, u usage.Used) *stats.MemoryStats {
	set := uint64(u.Memory)
	return &stats.MemoryStats{Time: metav1.NewTime(at), WorkingSetBytes: &set}
}
