// Package plugin holds the scheduler's rules, a file each.
package plugin

import "github.com/mainstay-gitops/mainstay/reconcile/schedule"

// Default are the rules of the built-in scheduler, the cheapest filters first.
func Default() schedule.Profile {
	return schedule.Profile{
		Filters: []schedule.Filter{Unschedulable{}, NodeName{}, TaintToleration{}, NodeAffinity{}, NodePorts{}, Fit{}, VolumeBinding{}},
		Scorers: []schedule.Weighted{
			{Scorer: PreferredTaints{}, Weight: 3},
			{Scorer: PreferredNodeAffinity{}, Weight: 2},
			{Scorer: LeastAllocated{}, Weight: 1},
			{Scorer: BalancedAllocation{}, Weight: 1},
		},
	}
}

func reject(final bool, reasons ...string) *schedule.Reject {
	return &schedule.Reject{Reasons: reasons, Final: final}
}

// normal scales scores so that the best is MaxScore, or with inverse the worst becomes 0 and nothing MaxScore.
func normal(score func(*schedule.NodeInfo) int64, nodes []*schedule.NodeInfo, inverse bool) func(*schedule.NodeInfo) int64 {
	var highest int64
	for _, n := range nodes {
		highest = max(highest, score(n))
	}
	return func(n *schedule.NodeInfo) int64 {
		var s int64
		if highest > 0 {
			s = score(n) * schedule.MaxScore / highest
		}
		if inverse {
			return schedule.MaxScore - s
		}
		return s
	}
}
