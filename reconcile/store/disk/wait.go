package disk

import (
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

var errHung = errors.New("the disk did not answer in time")

// within runs f and waits for it, no longer than the deadline. After that Badger is left alone: it tries for ever to write
// what it cannot write.
func (b *Backend) within(deadline time.Duration, what string, f func() error) error {
	return b.await(deadline, what, func(done chan<- error) { go func() { done <- f() }() })
}

// finish commits txn.
func (b *Backend) finish(txn *badger.Txn) error {
	err := b.await(b.opts.Deadline, "commit", func(done chan<- error) { b.commit(txn, func(err error) { done <- err }) })
	if err != nil {
		return err
	}
	return b.stopped() // a sync may have failed that Badger only logs
}

func (b *Backend) await(deadline time.Duration, what string, start func(done chan<- error)) error {
	done := make(chan error, 1)
	start(done)
	timer := time.NewTimer(deadline)
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	case <-timer.C:
		b.hung.Store(true)
		return b.stop(fmt.Errorf("%s: %w (%s)", what, errHung, deadline))
	}
}
