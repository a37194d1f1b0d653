package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func newDaily(t *testing.T) *daily {
	t.Helper()
	at := place{t.TempDir()}
	s := scheme.New(scheme.Options{})
	st, err := store.Open(store.NewVolatile(s.Stored), s.Stored, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	hosted, err := repo.OpenHosted(at.under("repositories"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hosted.Create("shop"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(st.Close(), hosted.Close()); err != nil {
			t.Error(err)
		}
	})
	room := func(int64) error { return nil }
	return &daily{&backups{at, s.Codec(), st, hosted, "mine"}, room, slog.New(slog.DiscardHandler)}
}

func TestTheLastSevenSnapshotsAreKept(t *testing.T) {
	d := newDaily(t)
	day := time.Date(2026, 2, 1, 4, 0, 0, 0, time.UTC)
	for n := range 10 {
		if err := d.take(day.AddDate(0, 0, n)); err != nil {
			t.Fatal(err)
		}
	}
	all := d.backups.snapshotList()
	if len(all) != snapshotsKept || filepath.Base(all[0]) != "2026-02-04T040000Z.mainstay" {
		t.Error(all)
	}
	newest, taken := d.backups.newestSnapshot()
	if newest != all[len(all)-1] || !taken.Equal(day.AddDate(0, 0, 9)) {
		t.Error(newest, taken)
	}
	entries, err := os.ReadDir(d.backups.snapshots())
	if err != nil || len(entries) != snapshotsKept {
		t.Error("something else is left:", entries, err)
	}
}

func TestNoSnapshotIsTakenWithoutRoom(t *testing.T) {
	d := newDaily(t)
	d.room = func(int64) error { return store.ErrNoRoom }
	if err := d.take(time.Now()); !errors.Is(err, store.ErrNoRoom) {
		t.Error(err)
	}
	if newest, _ := d.backups.newestSnapshot(); newest != "" {
		t.Error(newest)
	}
}

func TestASnapshotIsDueADayAfterTheLastOne(t *testing.T) {
	started := time.Date(2026, 2, 1, 4, 0, 0, 0, time.UTC)
	if got := snapshotDue(time.Time{}, started); !got.Equal(started.Add(time.Hour)) {
		t.Error("the first:", got)
	}
	if got := snapshotDue(started.Add(-30*time.Hour), started); got.After(started) {
		t.Error("one that was missed:", got)
	}
	if got := snapshotDue(started.Add(-time.Hour), started); !got.Equal(started.Add(23 * time.Hour)) {
		t.Error("the next:", got)
	}
}

// A restore that is cut short when it moves things leaves a folder that mainstay up refuses, and that can be restored again.
func TestARestoreThatWasCutShortIsDoneAgain(t *testing.T) {
	d := newDaily(t)
	at := d.backups.place
	if err := os.WriteFile(at.token(), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.take(time.Now()); err != nil {
		t.Fatal(err)
	}
	newest, _ := at.newestSnapshot()
	if err := os.Mkdir(at.under("store"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(at.halfway(), "store"), 0o700); err != nil { // here one was killed
		t.Fatal(err)
	}
	if at.wholeData() == nil {
		t.Error("half a data folder is taken for a whole one")
	}
	r := &restorer{place: at}
	if err := r.restore(newest, false, time.Now()); err == nil {
		t.Error("a store that is there is replaced though nobody said so")
	}
	if err := r.restore(newest, true, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := at.wholeData(); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]os.FileMode{"git-token": 0o600, "store/revision": 0o600, "repositories/shop.git/HEAD": 0o600} {
		info, err := os.Stat(at.under(name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if _, err := os.Stat(filepath.Join(r.moved, "store")); err != nil {
		t.Error("what was there before is gone:", err)
	}
}
