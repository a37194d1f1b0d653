package store

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// feed keeps the recent deltas for those who follow. Followers hold a revision, never a place in a queue: a slow one
// costs nothing, and is told when what it wants is gone.
type feed struct {
	kinds Kinds
	keep  int // changes, at least
	begin Revision

	mu   sync.Mutex
	last Revision
	size int                           // changes in all
	all  *history                      // of every kind
	of   map[schema.GroupKind]*history // a delta of several kinds is in several, each with its part
}

// A history is the recent deltas of one kind. Followers share what is in it.
type history struct {
	deltas []Delta
	before Revision      // what happened up to here is forgotten
	more   chan struct{} // closed when a delta is added; nil if nobody asked
}

// batch is the number of deltas that Since returns at most: it copies them while writers wait.
const batch = 256

func newFeed(kinds Kinds, keep int, last Revision) *feed {
	f := &feed{kinds: kinds, keep: keep, begin: last, last: last, of: map[schema.GroupKind]*history{}}
	f.all = f.history(schema.GroupKind{})
	return f
}

// history is that of a kind; of the empty kind, it is all.
func (f *feed) history(kind schema.GroupKind) *history {
	h, ok := f.of[kind]
	if !ok {
		h = &history{before: f.begin}
		f.of[kind] = h
	}
	return h
}

// publish adds ds and wakes those who wait for a kind in them. It forgets the oldest deltas, but never one of ds. It
// calls show before anybody can read ds: so who hears of a change sees it in the next snapshot, and who holds that
// snapshot can follow from it.
func (f *feed) publish(ds []Delta, show func()) {
	var parts []part
	for _, d := range ds {
		parts = append(append(parts, part{delta: d}), split(f.kinds, d)...)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	show()
	f.forget(ds)
	for _, p := range parts {
		f.last = p.delta.Revision
		f.history(p.kind).add(p.delta)
	}
	for _, p := range parts {
		f.history(p.kind).wake()
	}
}

// A part is what a delta did to one kind; to all of them, if kind is empty.
type part struct {
	kind  schema.GroupKind
	delta Delta
}

// split takes d apart by kind. The changes are shared when all are of one kind.
func split(kinds Kinds, d Delta) []part {
	var parts []part
	for i, c := range d.Changes {
		kind := kinds.Of(c.Object()).GroupKind()
		n := slices.IndexFunc(parts, func(p part) bool { return p.kind == kind })
		if n < 0 {
			n = len(parts)
			parts = append(parts, part{kind, Delta{Revision: d.Revision, Why: d.Why}})
		}
		if p := &parts[n].delta; len(p.Changes) == i {
			p.Changes = d.Changes[: i+1 : i+1]
		} else {
			p.Changes = append(p.Changes, c)
		}
	}
	return parts
}

// forget drops the oldest deltas when there are too many with ds: a quarter at a time, because what is kept is moved.
func (f *feed) forget(ds []Delta) {
	for _, d := range ds {
		f.size += len(d.Changes)
	}
	if f.size <= f.keep+f.keep/4 {
		return
	}
	var upto Revision
	for _, d := range f.all.deltas {
		if f.size <= f.keep {
			break
		}
		f.size -= len(d.Changes)
		upto = d.Revision
	}
	for _, h := range f.of {
		h.forget(upto)
	}
}

func (h *history) add(d Delta) { h.deltas = append(h.deltas, d) }

// next is closed when a delta is added.
func (h *history) next() <-chan struct{} {
	if h.more == nil {
		h.more = make(chan struct{})
	}
	return h.more
}

func (h *history) wake() {
	if h.more != nil {
		close(h.more)
		h.more = nil
	}
}

func (h *history) forget(upto Revision) {
	if n := h.after(upto); n > 0 {
		h.before = h.deltas[n-1].Revision
		h.deltas = slices.Delete(h.deltas, 0, n)
	}
}

// after is the place of the first delta that has changes after r.
func (h *history) after(r Revision) int {
	n, _ := slices.BinarySearchFunc(h.deltas, r+1, func(d Delta, r Revision) int { return cmp.Compare(d.Revision, r) })
	return n
}

// known tells why what happened in h after from cannot be told.
func (f *feed) known(h *history, from Revision) error {
	switch {
	case from < h.before:
		return fmt.Errorf("read changes since %d: %w (the oldest is %d)", from, ErrCompacted, h.before)
	case from > f.last:
		return fmt.Errorf("read changes since %d: %w (the newest is %d)", from, ErrFuture, f.last)
	}
	return nil
}

// since is Reader.Since.
func (f *feed) since(from Revision, q Query) (Batch, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.history(q.Kind)
	if err := f.known(h, from); err != nil {
		return Batch{}, err
	}
	ds := h.deltas[h.after(from):]
	b := Batch{Upto: f.last}
	if len(ds) <= batch {
		b.More = h.next()
	} else {
		ds, b.Upto, b.More = ds[:batch], ds[batch-1].Revision, closed()
	}
	b.Deltas = restrict(ds, from, q.Namespace)
	return b, nil
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// between returns what happened after from up to to.
func (f *feed) between(from, to Revision) ([]Delta, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.known(f.all, from)
	if err == nil && from > to {
		err = fmt.Errorf("read changes since %d: %w", from, ErrFuture)
	}
	if err != nil {
		return nil, err
	}
	return restrict(f.all.deltas[f.all.after(from):f.all.after(to)], from, ""), nil
}

// restrict copies ds, which begin with the first that has changes after from. It leaves out changes up to from, those of
// other namespaces, and deltas of which nothing is left.
func restrict(ds []Delta, from Revision, namespace string) []Delta {
	var left []Delta
	for _, d := range ds {
		if d.Changes = tail(d.Changes, from); namespace != "" {
			d.Changes = within(d.Changes, namespace)
		}
		if len(d.Changes) > 0 {
			left = append(left, d)
		}
	}
	return left
}

// tail is cs without the changes up to from.
func tail(cs []Change, from Revision) []Change {
	if cs[0].Revision > from {
		return cs
	}
	n, _ := slices.BinarySearchFunc(cs, from+1, func(c Change, r Revision) int { return cmp.Compare(c.Revision, r) })
	return cs[n:]
}

// within returns the changes in a namespace: cs itself if they are all.
func within(cs []Change, namespace string) []Change {
	elsewhere := func(c Change) bool { return c.Object().GetNamespace() != namespace }
	if !slices.ContainsFunc(cs, elsewhere) {
		return cs
	}
	return slices.DeleteFunc(slices.Clone(cs), elsewhere)
}

// Watch follows r after from: each delta in turn, restricted to what q selects by Kind and Namespace. It ends with an
// error: ErrCompacted (take a new snapshot), ErrFuture, or ctx's.
func Watch(ctx context.Context, r Reader, from Revision, q Query) iter.Seq2[Delta, error] {
	return func(yield func(Delta, error) bool) {
		for {
			b, err := r.Since(from, q)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Delta{}, err)
				return
			}
			for _, d := range b.Deltas {
				if !yield(d, nil) {
					return
				}
			}
			from = b.Upto
			select {
			case <-ctx.Done():
			case <-b.More:
			}
		}
	}
}
