package workload

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const deletionCost = "controller.kubernetes.io/pod-deletion-cost"

// leastWanted orders pods by how little is lost with each, in the documented order: unassigned before assigned; pending
// before unknown before running; not ready before ready; the cheaper by annotation; those with more siblings on their
// node; the later ready, by order of magnitude; more restarts; the younger.
func leastWanted(pods []*corev1.Pod, now time.Time) []*corev1.Pod {
	siblings := map[string]int{}
	for _, p := range pods {
		siblings[p.Spec.NodeName]++
	}
	out := slices.Clone(pods)
	slices.SortStableFunc(out, func(a, b *corev1.Pod) int {
		_, aReady := readySince(a)
		_, bReady := readySince(b)
		return cmp.Or(
			first(a.Spec.NodeName == "", b.Spec.NodeName == ""),
			cmp.Compare(phaseRank(a), phaseRank(b)),
			first(!aReady, !bReady),
			cmp.Compare(cost(a), cost(b)),
			cmp.Compare(siblings[b.Spec.NodeName], siblings[a.Spec.NodeName]),
			cmp.Compare(readyMagnitude(a, now), readyMagnitude(b, now)),
			cmp.Compare(restarts(b), restarts(a)),
			b.CreationTimestamp.Compare(a.CreationTimestamp.Time),
			strings.Compare(a.Name, b.Name),
		)
	})
	return out
}

// first puts what is so before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func phaseRank(p *corev1.Pod) int {
	return map[corev1.PodPhase]int{corev1.PodPending: 1, corev1.PodUnknown: 2, corev1.PodRunning: 3}[p.Status.Phase]
}

func cost(p *corev1.Pod) int {
	n, _ := strconv.ParseInt(p.Annotations[deletionCost], 10, 32)
	return int(n)
}

// readyMagnitude is the binary order of magnitude of the time that p has been ready: 0 for not at all.
func readyMagnitude(p *corev1.Pod, now time.Time) int {
	since, ok := readySince(p)
	if !ok {
		return 0
	}
	n := 1
	for s := int64(now.Sub(since).Seconds()); s > 0; s >>= 1 {
		n++
	}
	return n
}

func restarts(p *corev1.Pod) int {
	n := 0
	for _, c := range p.Status.ContainerStatuses {
		n = max(n, int(c.RestartCount))
	}
	return n
}
