package schedule

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// A Filter rules nodes out. It is asked once per pod, and answers with a function to ask of each node; nil: it has no
// opinion on this pod. The function returns nil for a node that will do.
type Filter interface {
	Name() string
	Prepare(pod *corev1.Pod, v *View) func(*NodeInfo) *Reject
}

// A Scorer prefers some of the nodes that are left over others. Scores are from 0 to MaxScore; nil: no opinion.
type Scorer interface {
	Name() string
	Prepare(pod *corev1.Pod, v *View, feasible []*NodeInfo) func(*NodeInfo) int64
}

// MaxScore is the best that a Scorer gives.
const MaxScore = 100

// A Reject is why a node will not do. Reasons are worded so that they can be counted: "Insufficient cpu".
type Reject struct {
	Reasons []string
	Final   bool // removing pods from the node would not help
}

// Weighted is a Scorer and how much it counts.
type Weighted struct {
	Scorer
	Weight int64
}

// A Profile is a set of rules.
type Profile struct {
	Filters []Filter
	Scorers []Weighted
}

// A Decision is a node, or why there is none.
type Decision struct {
	Node     string
	Score    int64
	Nodes    int                 // looked at
	Rejected map[string][]string // by node name
}

// Decide picks the best node for pod. Chance decides between equals.
func Decide(v *View, pod *corev1.Pod, p Profile, rng *rand.Rand) Decision {
	d := Decision{Nodes: len(v.Nodes()), Rejected: map[string][]string{}}
	feasible := d.filter(v, pod, p.Filters)
	if len(feasible) == 0 {
		return d
	}
	best := score(v, pod, p.Scorers, feasible)
	d.Score = slices.Max(best)
	ties := 0
	for i, n := range feasible {
		if best[i] == d.Score {
			if ties++; rng.IntN(ties) == 0 {
				d.Node = n.Node.Name
			}
		}
	}
	return d
}

// filter asks each node until the first filter that refuses it.
func (d *Decision) filter(v *View, pod *corev1.Pod, filters []Filter) []*NodeInfo {
	var ask []func(*NodeInfo) *Reject
	for _, f := range filters {
		if fn := f.Prepare(pod, v); fn != nil {
			ask = append(ask, fn)
		}
	}
	var feasible []*NodeInfo
nodes:
	for _, n := range v.Nodes() {
		for _, fn := range ask {
			if r := fn(n); r != nil {
				d.Rejected[n.Node.Name] = r.Reasons
				continue nodes
			}
		}
		feasible = append(feasible, n)
	}
	return feasible
}

func score(v *View, pod *corev1.Pod, scorers []Weighted, feasible []*NodeInfo) []int64 {
	total := make([]int64, len(feasible))
	if len(feasible) == 1 {
		return total
	}
	for _, s := range scorers {
		fn := s.Prepare(pod, v, feasible)
		if fn == nil {
			continue
		}
		for i, n := range feasible {
			total[i] += s.Weight * fn(n)
		}
	}
	return total
}

// Explain is one sentence about why there is no node, in the field's own form: "0/3 nodes are available: 1 Insufficient
// cpu, 2 node(s) had untolerated taint(s)."
func (d Decision) Explain() string {
	if d.Node != "" {
		return fmt.Sprintf("%s fits best of %d nodes", d.Node, d.Nodes)
	}
	if d.Nodes == 0 {
		return "no nodes available to schedule pods"
	}
	count := map[string]int{}
	for _, reasons := range d.Rejected {
		for _, r := range reasons {
			count[r]++
		}
	}
	reasons := slices.SortedFunc(maps.Keys(count), func(a, b string) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), strings.Compare(a, b))
	})
	for i, r := range reasons {
		reasons[i] = fmt.Sprintf("%d %s", count[r], r)
	}
	return fmt.Sprintf("0/%d nodes are available: %s.", d.Nodes, strings.Join(reasons, ", "))
}
