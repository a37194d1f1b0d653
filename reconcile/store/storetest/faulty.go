package storetest

import (
	"context"
	"sync"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Faulty is a Backend whose appends fail when told so.
type Faulty struct {
	store.Backend

	mu     sync.Mutex
	before func([]store.Delta) error
	after  func([]store.Delta) error
}

// Before has appends fail with f's error before anything is written. nil: no more.
func (b *Faulty) Before(f func([]store.Delta) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.before = f
}

// After has appends fail with f's error when all is written.
func (b *Faulty) After(f func([]store.Delta) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.after = f
}

// Append implements store.Backend.
func (b *Faulty) Append(ctx context.Context, after store.Revision, ds []store.Delta) error {
	b.mu.Lock()
	first, last := b.before, b.after
	b.mu.Unlock()
	if first != nil {
		if err := first(ds); err != nil {
			return err
		}
	}
	if err := b.Backend.Append(ctx, after, ds); err != nil || last == nil {
		return err
	}
	return last(ds)
}
