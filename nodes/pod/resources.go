package pod

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	helper "k8s.io/component-helpers/resource"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

const (
	minShares   = 2
	minQuota    = 1000    // microseconds
	quotaPeriod = 100_000 // microseconds
)

// limits are what requests and limits come to in a cgroup.
func limits(requests, limits corev1.ResourceList) runtime.Resources {
	r := runtime.Resources{CPUShares: minShares}
	cpu := requests.Cpu()
	if _, ok := requests[corev1.ResourceCPU]; !ok {
		cpu = limits.Cpu()
	}
	r.CPUShares = max(minShares, cpu.MilliValue()*1024/1000)
	if q := limits.Cpu(); !q.IsZero() {
		r.CPUPeriod = quotaPeriod
		r.CPUQuota = max(minQuota, q.MilliValue()*quotaPeriod/1000)
	}
	r.MemoryLimit = limits.Memory().Value()
	return r
}

// podLimits are those of the pod as a whole: a limit holds for the pod only if each of its containers has one.
func podLimits(p *corev1.Pod) runtime.Resources {
	requests := helper.PodRequests(p, helper.PodResourcesOptions{})
	all := helper.PodLimits(p, helper.PodResourcesOptions{})
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		for _, cs := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
			for i := range cs {
				if q := cs[i].Resources.Limits[name]; q.IsZero() {
					delete(all, name)
				}
			}
		}
	}
	return limits(requests, all)
}

// oomScore says which containers are killed first when memory runs out: those that use the most of what they did not ask for.
func oomScore(c *corev1.Container, class corev1.PodQOSClass, capacity int64) int {
	const first, last = 1000, -997
	switch {
	case class == corev1.PodQOSGuaranteed:
		return last
	case class == corev1.PodQOSBestEffort || capacity <= 0:
		return first
	}
	score := 1000 - 1000*c.Resources.Requests.Memory().Value()/capacity
	return int(min(max(score, 1000+last), first-1))
}

// resourceValue is what a resourceFieldRef stands for: a request or limit of a container, in units of the divisor, rounded
// up. A limit that is not set is what the machine has.
func resourceValue(c *corev1.Container, name string, divisor resource.Quantity, have corev1.ResourceList) (int64, bool) {
	var list corev1.ResourceList
	kind, res, _ := strings.Cut(name, ".")
	switch kind {
	case "limits":
		list = c.Resources.Limits
	case "requests":
		list = c.Resources.Requests
	default:
		return 0, false
	}
	key := corev1.ResourceName(res)
	if key != corev1.ResourceCPU && key != corev1.ResourceMemory && key != corev1.ResourceEphemeralStorage && !strings.HasPrefix(res, corev1.ResourceHugePagesPrefix) {
		return 0, false
	}
	q, ok := list[key]
	if (!ok || q.IsZero()) && kind == "limits" {
		q = have[key]
	}
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if key == corev1.ResourceCPU {
		return ceil(q.MilliValue(), divisor.MilliValue()), true
	}
	return ceil(q.Value(), divisor.Value()), true
}

func ceil(a, b int64) int64 {
	if b == 0 {
		b = 1
	}
	return (a + b - 1) / b
}
