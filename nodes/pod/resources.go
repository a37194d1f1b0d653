package pod

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	helper "k8s.io/component-helpers/resource"
	"k8s.io/kubectl/pkg/util/qos"

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
	for name, q := range limits {
		if size, ok := pageSize(name); ok {
			if r.HugePages == nil {
				r.HugePages = map[string]int64{}
			}
			r.HugePages[size] = q.Value()
		}
	}
	return r
}

// pageSize is the size of huge pages that a resource stands for, as cgroups name it: hugepages-2Mi is 2MB.
func pageSize(name corev1.ResourceName) (string, bool) {
	text, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix)
	if !ok {
		return "", false
	}
	size, err := resource.ParseQuantity(text)
	if err != nil {
		return "", false
	}
	n := size.Value()
	for i, unit := range []string{"GB", "MB", "KB"} {
		if each := int64(1) << (30 - 10*i); n >= each {
			return strconv.FormatInt(n/each, 10) + unit, true
		}
	}
	return "", false
}

// podLimits are those of the pod as a whole: what it says itself, and else a limit holds for the pod only if each of its
// containers has one. Of huge pages, of which the machine has some sizes, it has none that it does not ask for.
func podLimits(p *corev1.Pod, machine corev1.ResourceList) runtime.Resources {
	requests := helper.PodRequests(p, helper.PodResourcesOptions{})
	all := helper.PodLimits(p, helper.PodResourcesOptions{})
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if r := p.Spec.Resources; r != nil && !r.Limits.Name(name, resource.DecimalSI).IsZero() {
			continue
		}
		for _, cs := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
			for i := range cs {
				if q := cs[i].Resources.Limits[name]; q.IsZero() {
					delete(all, name)
				}
			}
		}
	}
	for name := range machine {
		if _, asked := all[name]; !asked && strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			all[name] = resource.Quantity{}
		}
	}
	return limits(requests, all)
}

// oomScore says which containers are killed first when memory runs out: those that use the most of what they did not ask
// for. What a pod asks for as a whole beyond its containers is theirs in equal parts.
func oomScore(p *corev1.Pod, c *corev1.Container, capacity int64) int {
	const first, last = 1000, -997
	class := qos.GetPodQOS(p)
	switch {
	case class == corev1.PodQOSGuaranteed:
		return last
	case class == corev1.PodQOSBestEffort || capacity <= 0:
		return first
	}
	requested := c.Resources.Requests.Memory().Value()
	if r := p.Spec.Resources; r != nil {
		together := helper.AggregateContainerRequests(p, helper.PodResourcesOptions{})
		rest := r.Requests.Memory().Value() - together.Memory().Value()
		requested += max(0, rest) / int64(max(1, len(p.Spec.Containers)))
	}
	score := 1000 - 1000*requested/capacity
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

// QoS is how much of what a pod uses it is promised: where its cgroup stands.
func QoS(p *corev1.Pod) corev1.PodQOSClass { return qos.GetPodQOS(p) }
