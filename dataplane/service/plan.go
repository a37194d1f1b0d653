package service

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mainstay-gitops/mainstay/dataplane/target"
)

// A Plan takes the tables from the old rows of a service to its new ones without a moment in which a call goes astray:
// backends first, then the slots of new sets, then one write for each frontend, which leads from the old set to the new.
// Unlinked is what no frontend leads to any more. It is to be deleted when nobody can be on the way through it.
type Plan struct {
	Backends  []target.Step[ID, Backend]
	Slots     []target.Step[Slot, ID]
	Frontends []target.Step[Frontend, Set]
	Unlinked  Rows
}

// PlanRows plans the way from have to want. Unsure: have is what the tables hold at most, and with which values is not
// known; all of want is written then.
func PlanRows(have, want Rows, unsure bool) Plan {
	backends, oldBackends := split(target.Plan(have.Backends, want.Backends))
	slots, oldSlots := split(target.Plan(have.Slots, want.Slots))
	frontends, oldFrontends := split(target.Plan(have.Frontends, want.Frontends))
	if unsure {
		backends = target.Plan(nil, want.Backends)
		slots = target.Plan(nil, want.Slots)
		frontends = target.Plan(nil, want.Frontends)
	}
	return Plan{backends, slots, append(frontends, oldFrontends...), Rows{Slots: entries(oldSlots), Backends: entries(oldBackends)}}
}

// split parts the puts of a plan from its deletes.
func split[K target.Key[K], V comparable](steps []target.Step[K, V]) (puts, deletes []target.Step[K, V]) {
	i := slices.IndexFunc(steps, func(s target.Step[K, V]) bool { return s.Delete })
	if i < 0 {
		return steps, nil
	}
	return steps[:i:i], steps[i:]
}

func entries[K target.Key[K], V comparable](steps []target.Step[K, V]) (rows []target.Entry[K, V]) {
	for _, s := range steps {
		rows = append(rows, s.Entry)
	}
	return rows
}

// Empty: there is nothing to do.
func (p Plan) Empty() bool {
	return len(p.Backends)+len(p.Slots)+len(p.Frontends)+len(p.Unlinked.Slots)+len(p.Unlinked.Backends) == 0
}

// Execute carries out all but the deletion of what is unlinked. It may be carried out again.
func (p Plan) Execute(ctx context.Context, t Tables) error {
	if err := target.Execute(ctx, t.Backends, p.Backends); err != nil {
		return fmt.Errorf("write backends: %w", err)
	}
	if err := target.Execute(ctx, t.Slots, p.Slots); err != nil {
		return fmt.Errorf("write slots: %w", err)
	}
	if err := target.Execute(ctx, t.Frontends, p.Frontends); err != nil {
		return fmt.Errorf("write frontends: %w", err)
	}
	return nil
}

// deleteUnlinked deletes slots and backends that no frontend leads to.
func deleteUnlinked(ctx context.Context, t Tables, r Rows) error {
	_, slots := split(target.Plan(r.Slots, nil))
	if err := target.Execute(ctx, t.Slots, slots); err != nil {
		return fmt.Errorf("delete old slots: %w", err)
	}
	_, backends := split(target.Plan(r.Backends, nil))
	if err := target.Execute(ctx, t.Backends, backends); err != nil {
		return fmt.Errorf("delete old backends: %w", err)
	}
	return nil
}

// String prints the plan as people and golden tests read it: a line for each write, in order.
func (p Plan) String() string {
	var b strings.Builder
	show(&b, "BACKEND", p.Backends)
	show(&b, "SLOT", p.Slots)
	show(&b, "SERVICE", p.Frontends)
	show(&b, "later SLOT", target.Plan(p.Unlinked.Slots, nil))
	show(&b, "later BACKEND", target.Plan(p.Unlinked.Backends, nil))
	return b.String()
}

func show[K target.Key[K], V comparable](b *strings.Builder, table string, steps []target.Step[K, V]) {
	for _, s := range steps {
		if s.Delete {
			fmt.Fprintf(b, "%s delete %v\n", table, s.Key)
		} else {
			fmt.Fprintf(b, "%s put %v = %v\n", table, s.Key, s.Value)
		}
	}
}

// union is all rows of both; b's values where a has the key too.
func union(a, b Rows) Rows {
	return Rows{merge(a.Frontends, b.Frontends), merge(a.Slots, b.Slots), merge(a.Backends, b.Backends)}
}

func merge[K target.Key[K], V comparable](a, b []target.Entry[K, V]) []target.Entry[K, V] {
	return sortedOnce(append(slices.Clone(b), a...))
}
