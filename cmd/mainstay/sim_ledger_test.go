package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A simLedger is a Backend that keeps what a disk would, in the same encoding, and outlives every daemon. It notes a line
// and a hash for each delta, and checks what must hold of each.
type simLedger struct {
	sim   *sim
	codec *scheme.Codec
	kinds store.Kinds
	last  store.Revision
	live  map[store.Key][]byte
	log   []simEntry

	records map[string][]byte
}

// A simEntry is one delta: what it did, and the hash of what it wrote.
type simEntry struct {
	text string
	sum  uint64
}

func newSimLedger(w *sim) *simLedger {
	return &simLedger{sim: w, codec: w.scheme.Codec(), kinds: w.scheme.Stored, live: map[store.Key][]byte{}, records: map[string][]byte{}}
}

// Append implements store.Backend. By bad luck it writes nothing and may be tried again, or nobody knows what it wrote.
func (l *simLedger) Append(_ context.Context, after store.Revision, ds []store.Delta) error {
	if after != l.last {
		l.sim.t.Errorf("an append after revision %d, when the last is %d", after, l.last)
		return store.ErrFenced
	}
	luck := l.sim.chance() && l.sim.rng.IntN(2) == 0
	stop := luck && l.sim.mortal && l.sim.rng.IntN(8) == 0
	if luck && !stop {
		l.sim.seen["refused append"]++
		return store.ErrNoRoom
	}
	if stop {
		l.sim.seen["stopped append"]++
	}
	if stop && l.sim.rng.IntN(2) == 0 {
		return errLuck
	}
	for _, d := range ds {
		l.add(d)
	}
	if stop {
		return errLuck
	}
	return nil
}

func (l *simLedger) add(d store.Delta) {
	t := l.sim.t
	sum := fnv.New64a()
	var text strings.Builder
	fmt.Fprintf(&text, "%s %d %s:", l.sim.now.Format("15:04:05.000"), d.Revision, d.Why)
	for _, c := range d.Changes {
		k := l.kinds.Key(c.Object())
		if l.last++; c.Revision != l.last {
			t.Errorf("%s has revision %d, after %d", k, c.Revision, l.last-1)
		}
		fmt.Fprintf(sum, "%d %s ", c.Revision, k)
		fmt.Fprintf(&text, " %s%s", map[[2]bool]string{{false, true}: "+", {true, false}: "-"}[[2]bool{c.Old != nil, c.New != nil}], k)
		if c.New == nil {
			if slices.Contains(c.Old.GetFinalizers(), simFinalizer) && d.Why != simHolder {
				t.Errorf("%s is gone although it is held (%s)", k, d.Why)
			}
			delete(l.live, k)
			continue
		}
		if c.New.GetResourceVersion() != c.Revision.String() {
			t.Errorf("%s has resourceVersion %s at revision %d", k, c.New.GetResourceVersion(), c.Revision)
		}
		b, err := l.codec.Encode(c.New)
		l.sim.must(err)
		sum.Write(b)
		l.live[k] = b
	}
	if d.Revision != l.last {
		t.Errorf("a delta with changes up to %d has revision %d", l.last, d.Revision)
	}
	for _, r := range d.Records {
		fmt.Fprintf(sum, "%s %x ", r.Key, r.Value)
		if l.records[r.Key] = r.Value; len(r.Value) == 0 {
			delete(l.records, r.Key)
		}
	}
	l.log = append(l.log, simEntry{text.String(), sum.Sum64()})
}

// Load implements store.Backend.
func (l *simLedger) Load() (store.Revision, iter.Seq2[store.Object, error]) {
	return l.last, func(yield func(store.Object, error) bool) {
		for _, k := range slices.SortedFunc(maps.Keys(l.live), store.Key.Compare) {
			if !yield(l.codec.Decode(l.live[k])) {
				return
			}
		}
	}
}

// Record implements store.Backend.
func (l *simLedger) Record(key string) ([]byte, error) { return slices.Clone(l.records[key]), nil }

// RecordsUnder implements store.Backend.
func (l *simLedger) RecordsUnder(prefix string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for _, k := range slices.Sorted(maps.Keys(l.records)) {
			if strings.HasPrefix(k, prefix) && !yield(store.Record{Key: k, Value: slices.Clone(l.records[k])}, nil) {
				return
			}
		}
	}
}

// Close implements store.Backend.
func (l *simLedger) Close() error { return nil }

// tail are the last n deltas.
func (l *simLedger) tail(n int) string {
	var b strings.Builder
	for _, e := range l.log[max(len(l.log)-n, 0):] {
		fmt.Fprintln(&b, e.text)
	}
	return b.String()
}

// compareLedgers fails at the first delta that two tellings of a story do not have in common.
func compareLedgers(t *testing.T, a, b *simLedger) {
	t.Helper()
	for i := range max(len(a.log), len(b.log)) {
		var x, y simEntry
		if i < len(a.log) {
			x = a.log[i]
		}
		if i < len(b.log) {
			y = b.log[i]
		}
		if x != y {
			t.Fatalf("the same seed tells two stories; they part at delta %d:\n%s (%x)\n%s (%x)", i, x.text, x.sum, y.text, y.sum)
		}
	}
}
