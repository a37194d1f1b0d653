package kubestore

import (
	"slices"
	"sync"
	"time"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Pins keep the snapshots that continue tokens refer to, so that a list read in pages can be read to its end. A snapshot
// holds on to objects that the store has forgotten: so each is kept for a time only, and only the newest few. A nil *Pins
// keeps nothing. All resources may share one.
type Pins struct {
	For   time.Duration
	Limit int
	Now   func() time.Time

	mu   sync.Mutex
	kept []pin
}

type pin struct {
	*store.Snapshot
	since time.Time
}

// keep pins s, or begins its time anew.
func (p *Pins) keep(s *store.Snapshot) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Now()
	p.kept = slices.DeleteFunc(p.kept, func(k pin) bool {
		return now.Sub(k.since) > p.For || k.Revision() == s.Revision()
	})
	p.kept = append(p.kept, pin{s, now})
	if n := len(p.kept) - p.Limit; n > 0 {
		p.kept = slices.Delete(p.kept, 0, n)
	}
}

// find is the pinned snapshot of revision r, nil if there is none.
func (p *Pins) find(r store.Revision) *store.Snapshot {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.kept {
		if k.Revision() == r && p.Now().Sub(k.since) <= p.For {
			return k.Snapshot
		}
	}
	return nil
}

// Drop lets go of what has had its time. Call it now and then: nothing else does when nobody lists.
func (p *Pins) Drop() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Now()
	p.kept = slices.DeleteFunc(p.kept, func(k pin) bool { return now.Sub(k.since) > p.For })
}
