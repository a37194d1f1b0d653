package service

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/dataplane/target"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// legacy is what the tables held when the loop was made, from earlier lives. Services claim the rows at the frontends where
// they are called now; the rest goes when all services were written. Nothing else is deleted until then, since frontends
// that nobody has claimed may lead to the same endpoints.
type legacy struct {
	frontends map[Frontend]Set // that nobody has claimed or written
	rows      Rows
	claimed   map[ID]bool // sets and backends
	closed    bool        // nothing can be claimed any more: some of it may be deleted already
}

func newLegacy(rows Rows) *legacy {
	g := &legacy{frontends: make(map[Frontend]Set, len(rows.Frontends)), rows: rows, claimed: map[ID]bool{}}
	for _, e := range rows.Frontends {
		g.frontends[e.Key] = e.Value
	}
	return g
}

// claim returns the rows of a service that is seen for the first time.
func (g *legacy) claim(s *store.Snapshot, key store.Key) (r Rows) {
	svc, ok := store.Get[*corev1.Service](s, key.Namespace, key.Name)
	if g == nil || g.closed || !ok {
		return Rows{}
	}
	addrs, _ := addresses(svc)
	for _, port := range svc.Spec.Ports {
		protocol, _ := ProtocolOf(port.Protocol)
		for _, f := range frontends(addrs, uint16(port.Port), protocol) {
			if set, ok := g.frontends[f]; ok {
				g.touch(f)
				r.Frontends = append(r.Frontends, target.Entry[Frontend, Set]{Key: f, Value: set})
				g.claimSet(set.ID, &r)
			}
		}
	}
	return Rows{sortedOnce(r.Frontends), sortedOnce(r.Slots), sortedOnce(r.Backends)}
}

func (g *legacy) claimSet(set ID, r *Rows) {
	if g.claimed[set] {
		return
	}
	g.claimed[set] = true
	for _, slot := range g.rows.slots(set) {
		r.Slots = append(r.Slots, slot)
		if b, ok := value(g.rows.Backends, slot.Value); ok && !g.claimed[slot.Value] {
			g.claimed[slot.Value] = true
			r.Backends = append(r.Backends, target.Entry[ID, Backend]{Key: slot.Value, Value: b})
		}
	}
}

// touch notes that somebody writes f.
func (g *legacy) touch(f Frontend) {
	if g != nil {
		delete(g.frontends, f)
	}
}

// unclaimed is what no service wants.
func (g *legacy) unclaimed() (r Rows) {
	for f, set := range g.frontends {
		r.Frontends = append(r.Frontends, target.Entry[Frontend, Set]{Key: f, Value: set})
	}
	target.Sort(r.Frontends)
	r.Slots = slices.DeleteFunc(slices.Clone(g.rows.Slots), func(e target.Entry[Slot, ID]) bool { return g.claimed[e.Key.Set] })
	r.Backends = slices.DeleteFunc(slices.Clone(g.rows.Backends), func(e target.Entry[ID, Backend]) bool { return g.claimed[e.Key] })
	return r
}

// errEarly: it is tried again.
var errEarly = errors.New("not all services are written yet")

// prune deletes what the tables held at the start and no service wants, once all services were written.
func (l *Loop) prune(ctx context.Context) error {
	if l.legacy == nil {
		return nil
	}
	for _, st := range l.state {
		if st.unsure {
			return errEarly
		}
	}
	l.legacy.closed = true
	rows := l.legacy.unclaimed()
	plan := PlanRows(rows, Rows{}, false)
	if err := plan.Execute(ctx, l.cfg.Tables); err != nil {
		return err
	}
	l.legacy = nil
	l.unlink(rows.Backends, nil, plan.Unlinked)
	return nil
}
