package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
)

// Options of a store. The zero value is what a daemon uses.
type Options struct {
	Indexes []Index // beside the built-in ones
	Keep    int     // changes kept at least for those who follow; 0: 20,000
	Guard   bool    // for tests: panic when a stored object was changed by a reader
}

// Memory is the Store: persistent trees for reading, a Backend for keeping.
type Memory struct {
	backend Backend
	feed    *feed
	guard   *guard
	shown   atomic.Pointer[Snapshot]

	mu      sync.Mutex // guards what follows; never held during an Append
	head    *Snapshot  // the newest state, durable or about to be
	waiting *group     // takes deltas until it is its turn; nil if there are none; its head is the head
	writing *group     // being appended; nil if none
	broken  error
}

// A group is what one Append makes durable. While it waits, its head is written to by each transaction that joins it.
type group struct {
	after  Revision
	deltas []Delta
	head   *Snapshot
	done   chan struct{}
	err    error
}

// Open reads what backend keeps.
func Open(backend Backend, kinds Kinds, opts Options) (*Memory, error) {
	if opts.Keep == 0 {
		opts.Keep = 20_000
	}
	m := &Memory{backend: backend}
	if opts.Guard {
		m.guard = newGuard()
	}
	last, objects := backend.Load()
	s := newSnapshot(kinds, append(builtIn(), opts.Indexes...))
	for o, err := range objects {
		if err != nil {
			return nil, fmt.Errorf("load the store: %w", err)
		}
		o.GetObjectKind().SetGroupVersionKind(kinds.Of(o))
		s.apply(s.Key(o), nil, o)
		m.guard.see(o)
	}
	s.revision = last
	s.finish()
	m.head = s
	m.shown.Store(s)
	m.feed = newFeed(kinds, opts.Keep, last)
	return m, nil
}

// Snapshot implements Reader.
func (m *Memory) Snapshot() *Snapshot { return m.shown.Load() }

// Since implements Reader.
func (m *Memory) Since(from Revision, q Query) (Batch, error) { return m.feed.since(from, q) }

// At is the state after revision r, which may be in the middle of a delta. ErrCompacted if the changes since are not all
// kept, ErrFuture if r was never reached.
func (m *Memory) At(r Revision) (*Snapshot, error) {
	now := m.Snapshot()
	if r == now.revision {
		return now, nil
	}
	ds, err := m.feed.between(r, now.revision)
	if err != nil {
		return nil, err
	}
	then := now.writable()
	for _, d := range slices.Backward(ds) {
		for _, c := range slices.Backward(d.Changes) {
			then.apply(then.Key(c.Object()), c.New, c.Old)
		}
	}
	then.revision = r
	then.finish()
	return then, nil
}

// Update implements Store. Transactions that arrive while others are being made durable become durable together.
func (m *Memory) Update(ctx context.Context, why string, fn func(*Tx) error) (Revision, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	g, first, revision, err := m.decide(why, fn)
	switch {
	case err != nil:
		return 0, err
	case g == nil:
		return revision, nil
	case first:
		m.commit(g)
	}
	// The transaction is decided, and others build on it: it cannot be taken back when ctx ends now.
	<-g.done
	if g.err != nil {
		return 0, g.err
	}
	return revision, nil
}

// decide runs fn and puts its delta into the group that must be durable before Update may return: nil if nothing is
// under way. The first of a group must commit it.
func (m *Memory) decide(why string, fn func(*Tx) error) (g *group, first bool, _ Revision, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return nil, false, 0, m.broken
	}
	head := m.head
	if m.waiting == nil {
		head = head.writable()
	}
	d, err := transact(head, why, fn)
	switch {
	case err != nil:
		return nil, false, 0, err
	case d.empty() && m.waiting != nil:
		return m.waiting, false, head.revision, nil
	case d.empty():
		return m.writing, false, head.revision, nil
	}
	if first = m.waiting == nil; first {
		m.waiting = &group{after: head.revision, head: head, done: make(chan struct{})}
		m.head = head
	}
	head.revision = d.Revision
	m.waiting.deltas = append(m.waiting.deltas, d)
	return m.waiting, first, d.Revision, nil
}

// transact runs fn on head, and leaves head as it was if fn fails.
func transact(head *Snapshot, why string, fn func(*Tx) error) (Delta, error) {
	tx := &Tx{Snapshot: head}
	whole := false
	defer func() {
		if !whole {
			tx.undo()
		}
	}()
	if err := fn(tx); err != nil {
		return Delta{}, err
	}
	whole = true
	return tx.close(why), nil
}

// commit makes g durable and visible when it is its turn.
func (m *Memory) commit(g *group) {
	if !m.begin(g) {
		return
	}
	// A context that one of the writers gave must not end what the others wait for.
	err := m.backend.Append(context.Background(), g.after, g.deltas)
	if err == nil {
		m.guard.replace(g.deltas)
		m.feed.publish(withChanges(g.deltas), func() { m.shown.Store(g.head) })
	}
	m.mu.Lock()
	m.writing = nil
	if err != nil {
		m.fail(g, err)
	}
	m.mu.Unlock()
	close(g.done)
}

// empty tells whether nothing is to be kept of d.
func (d Delta) empty() bool { return len(d.Changes) == 0 && len(d.Records) == 0 }

// withChanges are the deltas that somebody may follow.
func withChanges(ds []Delta) []Delta {
	none := func(d Delta) bool { return len(d.Changes) == 0 }
	if !slices.ContainsFunc(ds, none) {
		return ds
	}
	return slices.DeleteFunc(slices.Clone(ds), none)
}

// Record implements Records.
func (m *Memory) Record(key string) ([]byte, error) { return m.backend.Record(key) }

// RecordsUnder implements Records.
func (m *Memory) RecordsUnder(prefix string) iter.Seq2[Record, error] {
	return m.backend.RecordsUnder(prefix)
}

// begin waits until nothing is being written, and closes g to further transactions. It is false if g failed meanwhile,
// with the one that it builds on.
func (m *Memory) begin(g *group) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.writing; w != nil {
		m.mu.Unlock()
		<-w.done
		m.mu.Lock()
	}
	if m.waiting != g {
		return false
	}
	g.head.finish()
	m.waiting, m.writing = nil, g
	return true
}

// fail gives err to g and to the group that was decided on top of it, and takes the head back to what is durable.
func (m *Memory) fail(g *group, err error) {
	if !errors.Is(err, ErrNoRoom) && !errors.Is(err, ErrUnstorable) {
		m.broken = fmt.Errorf("%w: %w", ErrStopped, err)
		err = m.broken
	}
	m.head = m.Snapshot()
	g.err = err
	if w := m.waiting; w != nil {
		m.waiting, w.err = nil, err
		close(w.done)
	}
}

// Close waits for what is under way and closes the backend. No write is taken after it. Call it once.
func (m *Memory) Close() error {
	m.mu.Lock()
	if m.broken == nil {
		m.broken = fmt.Errorf("%w: it is closed", ErrStopped)
	}
	g := m.waiting
	if g == nil {
		g = m.writing
	}
	m.mu.Unlock()
	if g != nil {
		<-g.done
	}
	m.guard.check()
	return m.backend.Close()
}
