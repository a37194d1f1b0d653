package columns

import (
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
)

// FlowSchemas shows which requests go first, and where to.
func FlowSchemas() Table[*flowcontrolv1.FlowSchema] {
	return Table[*flowcontrolv1.FlowSchema]{
		header("Name,PriorityLevel,MatchingPrecedence,DistinguisherMethod,Age,MissingPL"),
		func(f *flowcontrolv1.FlowSchema, now time.Time) []any {
			by, dangling := none, "?"
			if d := f.Spec.DistinguisherMethod; d != nil {
				by = string(d.Type)
			}
			for _, c := range f.Status.Conditions {
				if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
					dangling = string(c.Status)
				}
			}
			return []any{f.Name, f.Spec.PriorityLevelConfiguration.Name, int64(f.Spec.MatchingPrecedence), by, created(f, now), dangling}
		},
	}
}

// PriorityLevels shows how much of the server they have.
func PriorityLevels() Table[*flowcontrolv1.PriorityLevelConfiguration] {
	return Table[*flowcontrolv1.PriorityLevelConfiguration]{
		header("Name,Type,NominalConcurrencyShares,Queues,HandSize,QueueLengthLimit,Age"),
		func(p *flowcontrolv1.PriorityLevelConfiguration, now time.Time) []any {
			var shares, queues, hand, length any = none, none, none, none
			if l := p.Spec.Limited; l != nil {
				if l.NominalConcurrencyShares != nil {
					shares = int64(*l.NominalConcurrencyShares)
				}
				if q := l.LimitResponse.Queuing; q != nil {
					queues, hand, length = int64(q.Queues), int64(q.HandSize), int64(q.QueueLengthLimit)
				}
			}
			return []any{p.Name, string(p.Spec.Type), shares, queues, hand, length, created(p, now)}
		},
	}
}
