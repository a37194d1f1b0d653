package service

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/mainstay-gitops/mainstay/dataplane/target"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Synced returns when everything up to revision r is in the tables, or with an error when ctx ends.
func (l *Loop) Synced(ctx context.Context, r store.Revision) error {
	if err := l.wait(ctx, func() bool { return l.done >= r }); err != nil {
		return fmt.Errorf("wait for revision %d in the dataplane: %w", r, err)
	}
	return nil
}

// Withdrawn returns when no slot in the tables leads to addr any more, and no call can be on its way there; or with an
// error when ctx ends. What is known to the store when it is called is taken into account. A service all of whose endpoints
// are terminating goes on leading to them, since it has no others; that is not waited for.
func (l *Loop) Withdrawn(ctx context.Context, addr netip.Addr) error {
	if err := l.Synced(ctx, l.cfg.Store.Snapshot().Revision()); err != nil {
		return err
	}
	if err := l.wait(ctx, func() bool { return l.leads[addr] == 0 }); err != nil {
		return fmt.Errorf("wait until no service leads to %s: %w", addr, err)
	}
	return nil
}

// wait returns when is says yes. It is asked under the lock.
func (l *Loop) wait(ctx context.Context, is func() bool) error {
	for {
		l.mu.Lock()
		if is() {
			l.mu.Unlock()
			return nil
		}
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed := l.changed
		l.mu.Unlock()
		select {
		case l.poke <- struct{}{}: // the store may have moved on without a change to a service
		default:
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// tell wakes those who wait. The lock is held.
func (l *Loop) tell() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// reach notes that everything up to r is in the tables.
func (l *Loop) reach(r store.Revision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r > l.done {
		l.done = r
		l.tell()
	}
}

// count notes that backends of the tables, was, are now is.
func (l *Loop) count(was, is []target.Entry[ID, Backend]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(is, 1)
	l.add(was, -1)
}

// add counts rows in or out. The lock is held.
func (l *Loop) add(rows []target.Entry[ID, Backend], n int) {
	for _, e := range rows {
		if e.Value.Terminating {
			continue
		}
		if l.leads[e.Value.Addr()] += n; l.leads[e.Value.Addr()] == 0 {
			delete(l.leads, e.Value.Addr())
			l.tell()
		}
	}
}

// unlink notes that of the backends in the tables, was, only is are still led to, and has the rest deleted. What waits for
// its deletion still counts.
func (l *Loop) unlink(was, is []target.Entry[ID, Backend], rest Rows) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(is, 1)
	l.add(rest.Backends, 1)
	l.add(was, -1)
	if len(rest.Slots)+len(rest.Backends) > 0 {
		l.unlinked = append(l.unlinked, rest)
	}
	if l.legacy == nil {
		l.reaper.Wake(struct{}{})
	}
}

// reap deletes what is unlinked, after a grace.
func (l *Loop) reap(ctx context.Context, _ struct{}) (time.Duration, error) {
	l.mu.Lock()
	old := l.unlinked
	l.unlinked = nil
	l.mu.Unlock()
	if len(old) == 0 {
		return 0, nil
	}
	err := l.cfg.Grace(ctx)
	for err == nil && len(old) > 0 {
		if err = deleteUnlinked(ctx, l.cfg.Tables, old[0]); err == nil {
			l.count(old[0].Backends, nil)
			old = old[1:]
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unlinked = append(old, l.unlinked...)
	return 0, err
}
