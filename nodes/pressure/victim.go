package pressure

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	helper "k8s.io/component-helpers/resource"
)

// Usage is what a pod or a container uses.
type Usage struct {
	Memory int64 // bytes that cannot be taken back from it: its working set
	Disk   int64 // bytes
	Inodes int64
	PIDs   int64
}

func (u Usage) of(name corev1.ResourceName) int64 {
	switch name {
	case corev1.ResourceMemory:
		return u.Memory
	case corev1.ResourceEphemeralStorage:
		return u.Disk
	case "inodes":
		return u.Inodes
	}
	return u.PIDs
}

// A Pod is one that runs.
type Pod struct {
	Pod        *corev1.Pod
	Static     bool // it is this node's own
	Usage      Usage
	Containers map[string]Usage
}

// systemCritical is the least priority of pods without which there is no cluster.
const systemCritical = 2_000_000_000

// Critical tells whether a pod is never to be driven away by its own node.
func (p *Pod) Critical() bool { return p.Static || priority(p.Pod) >= systemCritical }

func priority(p *corev1.Pod) int32 {
	if p.Spec.Priority == nil {
		return 0
	}
	return *p.Spec.Priority
}

// A Victim is a pod that has to go.
type Victim struct {
	UID     types.UID
	Message string
	Grace   time.Duration // no longer than this, and than its own
}

const hardGrace = time.Second // what a pod gets when there is no time to lose

// Choose says which pod has to go for the sake of j.Act: first those that use more than they asked for, among them those of
// the lowest priority, among them that which exceeds its request the most. False: none may.
func Choose(j Judgement, pods []Pod, maxGrace time.Duration) (Victim, bool) {
	name := j.Act.Signal.resource()
	ranked := slices.DeleteFunc(slices.Clone(pods), func(p Pod) bool { return p.Critical() })
	slices.SortStableFunc(ranked, func(a, b Pod) int {
		if name == "pids" {
			return cmp.Or(cmp.Compare(priority(a.Pod), priority(b.Pod)), cmp.Compare(b.Usage.PIDs, a.Usage.PIDs))
		}
		over, other := excess(&a, name), excess(&b, name)
		return cmp.Or(yesFirst(over > 0, other > 0), cmp.Compare(priority(a.Pod), priority(b.Pod)), cmp.Compare(other, over))
	})
	if len(ranked) == 0 {
		return Victim{}, false
	}
	v := Victim{UID: ranked[0].Pod.UID, Message: message(j, &ranked[0], name), Grace: maxGrace}
	if j.Act.Hard {
		v.Grace = hardGrace
	}
	return v, true
}

func yesFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// excess is how much more a pod uses than it asked for. Nobody asks for inodes.
func excess(p *Pod, name corev1.ResourceName) int64 {
	request := helper.PodRequests(p.Pod, helper.PodResourcesOptions{})[name]
	return p.Usage.of(name) - request.Value()
}

// message says why, as kubelet does.
func message(j Judgement, p *Pod, name corev1.ResourceName) string {
	var b strings.Builder
	fmt.Fprintf(&b, "The node was low on resource: %s. ", name)
	fmt.Fprintf(&b, "Threshold quantity: %s, available: %s. ", quantity(name, j.Act.Value.Of(j.Level.Capacity)), available(name, j.Level.Available))
	for i := range p.Pod.Spec.Containers {
		c := &p.Pod.Spec.Containers[i]
		used, ok := p.Containers[c.Name]
		request := c.Resources.Requests[name]
		if n := used.of(name); ok && n > request.Value() {
			fmt.Fprintf(&b, "Container %s was using %s, request is %s, has larger consumption of %s. ", c.Name, available(name, n), request.String(), name)
		}
	}
	return b.String()
}

func quantity(name corev1.ResourceName, n int64) string {
	format := resource.DecimalSI
	if name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage {
		format = resource.BinarySI
	}
	return resource.NewQuantity(n, format).String()
}

// available is an amount that was measured: bytes in Ki, which people can read.
func available(name corev1.ResourceName, n int64) string {
	if name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage {
		n = n >> 10 << 10
	}
	return quantity(name, n)
}
