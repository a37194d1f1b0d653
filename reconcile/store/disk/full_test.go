package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/storetest"
)

// fullRounds writes a small disk full, again and again.
func fullRounds(t *testing.T, rounds int) (v verdict) {
	for range rounds {
		v.judge(t, nil)
		if fullDisk(t); t.Failed() {
			v.lost++
			return v
		}
	}
	v.note("on a tmpfs: full, opened again, full to the last byte, with room again")
	return v
}

func fullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=128m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	resize := func(size string) {
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size="+size); err != nil {
			t.Fatal(err)
		}
	}
	m := storetest.NewModel()
	b := open(t, dir, Options{})
	fillDisk(t, b, m)
	compare(t, b, m)
	resize("192m")
	fillDisk(t, b, m)
	if err := b.collect(t.Context()); err != nil {
		t.Error(err)
	}
	compare(t, b, m)
	shut(t, b)

	// Over a restart it is the same: it opens, goes on reading, and refuses writes.
	leave := func(bytes int64) {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		resize(fmt.Sprint(int64(st.Blocks-st.Bfree)*st.Bsize + bytes))
	}
	leave(Reserve / 2)
	b = open(t, dir, Options{})
	compare(t, b, m)
	refuses(t, b, m)
	shut(t, b)

	// With ballast it opens even on a disk that others have filled to the last byte; without, it says what it lacks.
	leave(ballast + Reserve)
	if err := takeBallast(ballastIn(dir)); err != nil {
		t.Fatal(err)
	}
	greedy := filepath.Join(dir, "others")
	fillUp(t, greedy)
	b = open(t, dir, Options{})
	compare(t, b, m)
	refuses(t, b, m)
	shut(t, b)
	fillUp(t, greedy)
	if _, err := Open(dir, newCodec(), Options{}); !errors.Is(err, store.ErrNoRoom) {
		t.Fatal(err)
	}
	if err := os.Remove(greedy); err != nil {
		t.Fatal(err)
	}

	// When there is room again, it writes again, and takes its ballast again.
	resize("512m")
	b = open(t, dir, Options{})
	if err := b.settle(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(ballastIn(dir)); err != nil {
		t.Error(err)
	}
	compare(t, b, m)
	write(t, b, m, 10, small)
	shut(t, b)
}

// fillUp makes the file path as large as the disk lets it be.
func fillUp(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 1<<20))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// refuses fails if b takes a write.
func refuses(t *testing.T, b *Backend, m *storetest.Model) {
	t.Helper()
	ds := m.Group(storetest.Rand(t), small)
	if err := b.Append(t.Context(), m.Revision, ds); !errors.Is(err, store.ErrNoRoom) {
		t.Errorf("a write on a full disk: %v", err)
	}
}

// fillDisk writes until there is no room, and expects that there was some.
func fillDisk(t *testing.T, b *Backend, m *storetest.Model) {
	t.Helper()
	r, before := storetest.Rand(t), m.Revision
	for {
		ds := m.Group(r, storetest.Sizes{Deltas: 2, Changes: 100, Bytes: 6000, Keys: 4000})
		err := b.Append(context.Background(), m.Revision, ds)
		if errors.Is(err, store.ErrNoRoom) && m.Revision > before {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		apply(t, m, ds)
	}
}
