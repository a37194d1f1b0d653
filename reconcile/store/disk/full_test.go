package disk

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/storetest"
)

const insideNamespace = "MAINSTAY_STORE_INSIDE"

// inMountNamespace runs the test in a process with mounts of its own, which end with it in any case, and tells whether it is
// that process.
func inMountNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideNamespace) != "" {
		return true
	}
	if os.Getuid() != 0 {
		if os.Getenv("MAINSTAY_TEST_ROOT") == "1" {
			t.Fatal("needs root: mounts a tmpfs")
		}
		t.Skip("needs root: mounts a tmpfs")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

func TestAFullDiskRefusesWritesAndGoesOnReading(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=128m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
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
	resize("100m") // opening writes, so there must be room for that too
	if _, err := Open(dir, newCodec(), Options{}); !errors.Is(err, store.ErrNoRoom) {
		t.Fatal(err)
	}
	resize("256m")
	b = open(t, dir, Options{})
	compare(t, b, m)
	write(t, b, m, 10, small)
	shut(t, b)
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
