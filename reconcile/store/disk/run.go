package disk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const (
	settleEvery = time.Second
	checkEvery  = time.Hour
)

// Run keeps the store in order until ctx ends: each second it syncs the revision file and gives back the room of values that
// were replaced, each hour it checks what is kept. What it finds wrong is logged. Its error is always nil. It must have ended
// before Close.
func (b *Backend) Run(ctx context.Context) error {
	settle, check := time.NewTicker(settleEvery), time.NewTicker(checkEvery)
	defer settle.Stop()
	defer check.Stop()
	said := ""
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-settle.C:
			err = b.settle(ctx)
		case <-check.C:
			err = b.Check(ctx)
		}
		if err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			b.opts.Log.Error("the store on disk is not well", "error", err)
		}
	}
}

// settle is what there is to do each second.
func (b *Backend) settle(ctx context.Context) error {
	if err := b.stopped(); err != nil {
		return err
	}
	sync := func() error { return errors.Join(b.acked.sync(), b.roster.sync()) }
	if err := b.within(b.opts.Deadline, "sync", sync); err != nil {
		return b.stop(err)
	}
	return errors.Join(b.purge(ctx), b.collect(ctx), b.trimRoster(), b.trimBallast())
}

// collect removes files of values that are mostly replaced.
func (b *Backend) collect(ctx context.Context) error {
	for ctx.Err() == nil {
		switch err := b.collectOne(); {
		case errors.Is(err, badger.ErrNoRewrite), errors.Is(err, store.ErrNoRoom):
			return nil
		case err != nil:
			return err
		}
	}
	return nil
}

// collectOne writes again what is left in one file, for some milliseconds: less than the reserve, unless something else has
// filled the disk. No append runs beside it: Badger reads what an append writes.
func (b *Backend) collectOne() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if free, err := freeIn(b.dir); err != nil || free < b.opts.Reserve/2 {
		return errors.Join(err, store.ErrNoRoom)
	}
	return b.within(b.opts.Deadline, "collect values", func() error { return b.db.RunValueLogGC(0.5) })
}

// Check reads all that is kept, and compares it with what was written. The error is a *Damage if they differ: then memory is
// right and the disk is not, which would otherwise show at the next start.
func (b *Backend) Check(ctx context.Context) error {
	if err := b.stopped(); err != nil {
		return err
	}
	st, txn := b.view()
	defer txn.Discard()
	var t tally
	err := scan(txn, objects, func(key, value []byte) error {
		_, _, _ = t.check(record{key, value}) // t remembers
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("check the store: %w", err)
	}
	if found := t.against(st); len(found) > 0 {
		return &Damage{Dir: b.dir, Found: found}
	}
	return nil
}
