// Package follow tells what changed in the store among objects of a few kinds, to one who looks now and then.
package follow

import (
	"context"
	"iter"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Follower is where one reader of changes is. It is for one goroutine.
type Follower struct {
	store   store.Reader
	cursors [3]cursor // one for each kind
	kinds   int
}

type cursor struct {
	query store.Query
	from  store.Revision
	more  <-chan struct{}
}

// New follows kinds, three at most, from a snapshot on.
func New(r store.Reader, from *store.Snapshot, kinds ...schema.GroupKind) *Follower {
	f := &Follower{store: r, kinds: len(kinds)}
	for i, k := range kinds {
		f.cursors[i] = cursor{query: store.Select(k), from: from.Revision()}
	}
	return f
}

// Changes are those since the last call. If the follower fell too far behind to know them, lost is called, and everything
// may have changed; the snapshot of after that is the newest.
func (f *Follower) Changes(lost func()) iter.Seq[store.Change] {
	return func(yield func(store.Change) bool) {
		for i := range f.kinds {
			f.cursors[i].more = nil
			for f.cursors[i].more == nil {
				for _, c := range f.next(&f.cursors[i], lost) {
					if !yield(c) {
						return
					}
				}
			}
		}
	}
}

// next moves c on.
func (f *Follower) next(c *cursor, lost func()) (changes []store.Change) {
	b, err := f.store.Since(c.from, c.query)
	if err != nil { // what came after from is forgotten
		c.from = f.store.Snapshot().Revision()
		lost()
		return nil
	}
	c.from, c.more = b.Upto, b.More
	for _, d := range b.Deltas {
		changes = append(changes, d.Changes...)
	}
	return changes
}

// Reached is the revision up to which all changes were handed out.
func (f *Follower) Reached() store.Revision {
	reached := f.cursors[0].from
	for _, c := range f.cursors[1:f.kinds] {
		reached = min(reached, c.from)
	}
	return reached
}

// Wait returns when there may be changes, when poke or due has something, or when ctx ends.
func (f *Follower) Wait(ctx context.Context, poke <-chan struct{}, due <-chan time.Time) {
	select {
	case <-ctx.Done():
	case <-f.cursors[0].more:
	case <-f.cursors[1].more:
	case <-f.cursors[2].more:
	case <-poke:
	case <-due:
	}
}
