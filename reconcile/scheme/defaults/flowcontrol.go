package defaults

import flowcontrolv1 "k8s.io/api/flowcontrol/v1"

// What Kubernetes fills in.
const (
	matchingPrecedence = 1000
	shares             = 30
	queues             = 64
	handSize           = 8
	queueLength        = 50
)

// FlowSchema is one among equals.
func FlowSchema(f *flowcontrolv1.FlowSchema) { unset(&f.Spec.MatchingPrecedence, matchingPrecedence) }

// PriorityLevelConfiguration has thirty shares, lends none, and queues of a usual size.
func PriorityLevelConfiguration(p *flowcontrolv1.PriorityLevelConfiguration) {
	if p.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt {
		missing(&p.Spec.Exempt, flowcontrolv1.ExemptPriorityLevelConfiguration{})
		missing(&p.Spec.Exempt.NominalConcurrencyShares, 0)
		missing(&p.Spec.Exempt.LendablePercent, 0)
	}
	l := p.Spec.Limited
	if l == nil {
		return
	}
	missing(&l.NominalConcurrencyShares, shares)
	missing(&l.LendablePercent, 0)
	if q := l.LimitResponse.Queuing; q != nil {
		unset(&q.Queues, queues)
		unset(&q.HandSize, handSize)
		unset(&q.QueueLengthLimit, queueLength)
	}
}
