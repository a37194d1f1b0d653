package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/disk"
)

const (
	snapshotEvery = 24 * time.Hour
	snapshotFirst = time.Hour // after the first start: then there is something worth keeping
	snapshotAgain = time.Hour // after one that failed
	snapshotsKept = 7

	snapshotEnding = ".mainstay"
	snapshotName   = "2006-01-02T150405Z" + snapshotEnding
)

func (p place) snapshots() string { return p.under("snapshots") }

// snapshotList are the paths of all snapshots, the oldest first.
func (p place) snapshotList() []string {
	all, _ := filepath.Glob(filepath.Join(p.snapshots(), "*"+snapshotEnding)) // the pattern is a good one
	slices.Sort(all)
	return all
}

// newestSnapshot is the path of the newest snapshot and its time; "" if there is none.
func (p place) newestSnapshot() (string, time.Time) {
	for _, path := range slices.Backward(p.snapshotList()) {
		if t, err := time.Parse(snapshotName, filepath.Base(path)); err == nil {
			return path, t
		}
	}
	return "", time.Time{}
}

// snapshotDue is when the next snapshot is to be taken.
func snapshotDue(newest, started time.Time) time.Time {
	if newest.IsZero() {
		return started.Add(snapshotFirst)
	}
	return newest.Add(snapshotEvery)
}

// daily keeps a backup of each day.
type daily struct {
	backups *backups
	room    func(bytes int64) error // beside the store's reserve
	log     *slog.Logger
}

// Run takes a snapshot each day until ctx ends.
func (d *daily) Run(ctx context.Context) error {
	if err := d.sweep(); err != nil {
		d.log.Warn("what a snapshot left cannot be removed", "error", err)
	}
	_, newest := d.backups.newestSnapshot()
	due := snapshotDue(newest, time.Now())
	for {
		timer := time.NewTimer(time.Until(due))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		due = time.Now().Add(snapshotEvery)
		if err := d.take(time.Now()); err != nil {
			d.log.Error("no snapshot is kept of today", "error", err)
			due = time.Now().Add(snapshotAgain)
		}
	}
}

// take takes a snapshot, and removes the oldest ones. It needs as much room as the newest one, and half of that.
func (d *daily) take(now time.Time) error {
	need := int64(16 << 20)
	if newest, _ := d.backups.newestSnapshot(); newest != "" {
		if info, err := os.Stat(newest); err == nil {
			need += info.Size() * 3 / 2
		}
	}
	if err := d.room(need); err != nil {
		return err
	}
	if err := os.MkdirAll(d.backups.snapshots(), 0o700); err != nil {
		return err
	}
	path := filepath.Join(d.backups.snapshots(), now.UTC().Format(snapshotName))
	if _, _, err := writeBackup(path, func(w io.Writer) error { return d.backups.write(w) }); err != nil {
		return err
	}
	var errs []error
	all := d.backups.snapshotList()
	for _, old := range all[:max(len(all)-snapshotsKept, 0)] {
		errs = append(errs, os.Remove(old))
	}
	return errors.Join(errs...)
}

// sweep removes what a daemon that was killed has left.
func (d *daily) sweep() error {
	var errs []error
	for _, pattern := range []string{".links-*", "*.new"} {
		left, _ := filepath.Glob(filepath.Join(d.backups.snapshots(), pattern))
		for _, path := range left {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}

// withSnapshot adds to damage, and to a store that cannot be opened, which snapshot can be restored.
func withSnapshot(at place, err error) error {
	if _, ok := errors.AsType[*disk.Damage](err); !ok || errors.Is(err, store.ErrNoRoom) {
		return err
	}
	newest, taken := at.newestSnapshot()
	if newest == "" {
		return fmt.Errorf("%w\n(no snapshot was kept yet)", err)
	}
	return fmt.Errorf("%w\nthe newest snapshot is of %s: mainstay restore --replace %s", err, taken.Format(time.DateTime), newest)
}
