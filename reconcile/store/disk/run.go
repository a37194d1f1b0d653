package disk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	settleEvery = time.Second
	checkEvery  = time.Hour
)

// Run keeps the store in order until ctx ends: each second it syncs the revision file and gives back the room of values that
// were replaced, each hour it checks what is kept. What it finds wrong is logged; if that was in writing, the store takes no
// more writes. Its error is always nil. It must have ended before Close.
func (b *Backend) Run(ctx context.Context) error {
	settle, check := time.NewTicker(settleEvery), time.NewTicker(checkEvery)
	defer settle.Stop()
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-settle.C:
			b.settle(ctx)
		case <-check.C:
			if err := b.Check(ctx); err != nil {
				b.opts.Log.Error("the store on disk is not what is in memory", "error", err)
			}
		}
	}
}

func (b *Backend) settle(ctx context.Context) {
	if b.stopped() != nil {
		return
	}
	err := b.within(b.opts.Deadline, "sync the revision file", b.acked.sync)
	if err == nil {
		err = b.collect(ctx)
	}
	if err != nil {
		b.opts.Log.Error("the store takes no more writes", "error", b.stop(err))
	}
}

// collect removes files of values that are mostly replaced. It writes what is left of them, so it needs room: less than the
// reserve, unless something else has filled the disk.
func (b *Backend) collect(ctx context.Context) error {
	for ctx.Err() == nil {
		if free, err := b.free(); err != nil || free < b.opts.Reserve/2 {
			return err
		}
		err := b.within(b.opts.Deadline, "collect values", func() error { return b.db.RunValueLogGC(0.5) })
		if errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
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
