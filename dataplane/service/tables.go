// Package service turns Services and EndpointSlices into what the kernel needs to lead sockets to endpoints: three tables,
// a pure function that compiles one service to rows of them, a pure plan from old rows to new ones, and a loop that
// follows the store and carries the plans out.
package service

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/mainstay-gitops/mainstay/dataplane/target"
)

// A Protocol is an IP protocol number.
type Protocol uint8

// The protocols that can be led.
const (
	TCP Protocol = 6
	UDP Protocol = 17
)

func (p Protocol) String() string {
	switch p {
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

// An ID names a set or a backend. It is never given out twice while its tables live; 0 is none.
type ID uint64

// Compare orders IDs by their age.
func (a ID) Compare(b ID) int { return cmp.Compare(a, b) }

// A Frontend is where a service is called.
type Frontend struct {
	netip.AddrPort
	Protocol Protocol
}

func (f Frontend) String() string { return f.AddrPort.String() + "/" + f.Protocol.String() }

// Compare orders frontends by address, port and protocol.
func (f Frontend) Compare(o Frontend) int {
	return cmp.Or(f.AddrPort.Compare(o.AddrPort), cmp.Compare(f.Protocol, o.Protocol))
}

// A Set is who answers at a frontend: the slots 0 to Count-1 of ID. Without any, who connects is refused. Its members
// never change: other members are another set.
type Set struct {
	ID    ID
	Count uint32
}

func (s Set) String() string { return fmt.Sprintf("set %d slots %d", s.ID, s.Count) }

// A Slot is one member of a set.
type Slot struct {
	Set   ID
	Index uint32
}

func (s Slot) String() string { return fmt.Sprintf("%d/%d", s.Set, s.Index) }

// Compare orders slots by set and index.
func (s Slot) Compare(o Slot) int {
	return cmp.Or(cmp.Compare(s.Set, o.Set), cmp.Compare(s.Index, o.Index))
}

// A Backend is where a member of a set is. Terminating: it is about to end, and is only led to where nobody else is left.
type Backend struct {
	netip.AddrPort
	Terminating bool
}

func (b Backend) String() string {
	if b.Terminating {
		return b.AddrPort.String() + " terminating"
	}
	return b.AddrPort.String()
}

// Tables are the three tables, wherever they are.
type Tables struct {
	Frontends target.Target[Frontend, Set]
	Slots     target.Target[Slot, ID]
	Backends  target.Target[ID, Backend]
}

// Rows are rows of the three tables: those of one service, or all. Each slice is sorted.
type Rows struct {
	Frontends []target.Entry[Frontend, Set]
	Slots     []target.Entry[Slot, ID]
	Backends  []target.Entry[ID, Backend]
}

// Read is what t holds.
func Read(ctx context.Context, t Tables) (r Rows, err error) {
	if r.Frontends, err = target.Read(ctx, t.Frontends); err != nil {
		return Rows{}, fmt.Errorf("frontends: %w", err)
	}
	if r.Slots, err = target.Read(ctx, t.Slots); err != nil {
		return Rows{}, fmt.Errorf("slots: %w", err)
	}
	if r.Backends, err = target.Read(ctx, t.Backends); err != nil {
		return Rows{}, fmt.Errorf("backends: %w", err)
	}
	return r, nil
}

// set is the set at f, and the backends in its slots, in order.
func (r Rows) set(f Frontend) (s Set, members []ID) {
	s, ok := value(r.Frontends, f)
	if !ok {
		return Set{}, nil
	}
	for _, e := range r.slots(s.ID) {
		members = append(members, e.Value)
	}
	return s, members
}

// slots are the rows of one set.
func (r Rows) slots(set ID) []target.Entry[Slot, ID] {
	from, _ := find(r.Slots, Slot{Set: set})
	to, _ := find(r.Slots, Slot{Set: set + 1})
	return r.Slots[from:to]
}

// find is where k is in sorted rows, or would be.
func find[K target.Key[K], V comparable](rows []target.Entry[K, V], k K) (int, bool) {
	return slices.BinarySearchFunc(rows, k, func(e target.Entry[K, V], k K) int { return e.Key.Compare(k) })
}

// value is what sorted rows have for k.
func value[K target.Key[K], V comparable](rows []target.Entry[K, V], k K) (v V, ok bool) {
	i, ok := find(rows, k)
	if ok {
		v = rows[i].Value
	}
	return v, ok
}

// last is the greatest ID in r.
func (r Rows) last() (last ID) {
	for _, e := range r.Frontends {
		last = max(last, e.Value.ID)
	}
	for _, e := range r.Slots {
		last = max(last, e.Key.Set, e.Value)
	}
	for _, e := range r.Backends {
		last = max(last, e.Key)
	}
	return last
}

// String prints a line for each row, as people and golden tests read them.
func (r Rows) String() string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	for _, e := range r.Frontends {
		fmt.Fprintf(w, "SERVICE\t%s\t%s\n", e.Key, e.Value)
	}
	for _, e := range r.Slots {
		fmt.Fprintf(w, "SLOT\t%s\tbackend %d\n", e.Key, e.Value)
	}
	for _, e := range r.Backends {
		fmt.Fprintf(w, "BACKEND\t%d\t%s\n", e.Key, e.Value)
	}
	w.Flush()
	return b.String()
}

// Resolved prints where each frontend leads, without IDs, which depend on history.
func (r Rows) Resolved() string {
	var b strings.Builder
	for _, e := range r.Frontends {
		fmt.Fprintf(&b, "%s:", e.Key)
		_, members := r.set(e.Key)
		for _, id := range members {
			if backend, ok := value(r.Backends, id); ok {
				fmt.Fprintf(&b, " %s", backend)
			} else {
				fmt.Fprintf(&b, " no backend %d", id)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
