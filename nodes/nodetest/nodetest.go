// Package nodetest helps tests that need root: folders and cgroups of their own, which a later run clears away if this one
// is killed, and a check that nothing is left behind.
package nodetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
)

// prefix begins the name of each folder and cgroup that tests make; the id of the test process follows.
const prefix = "mainstay-test-"

func own() string { return prefix + strconv.Itoa(os.Getpid()) + "-" }

// Root skips the test when it does not run as root, and fails it instead when MAINSTAY_TEST_ROOT=1.
func Root(tb testing.TB) {
	tb.Helper()
	switch {
	case os.Getuid() == 0:
	case os.Getenv("MAINSTAY_TEST_ROOT") == "1":
		tb.Fatal("needs root, and MAINSTAY_TEST_ROOT=1 forbids to skip: run it as root")
	default:
		tb.Skip("needs root")
	}
}

// Dir makes a folder with a short path (a socket's may have 107 bytes). It is removed, with what is mounted in it, when
// the test ends.
func Dir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", own())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := removeDir(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

// Group names a cgroup for this test alone. It is not made, but removed, with what runs in it, when the test ends.
func Group(tb testing.TB, tree *cgroup.Tree) string {
	tb.Helper()
	name := "/" + own() + strconv.FormatInt(time.Now().UnixNano()%1e9, 36)
	tb.Cleanup(func() {
		if err := removeGroup(tree, name); err != nil {
			tb.Error(err)
		}
	})
	return name
}

// Main is the body of a TestMain: it clears what killed runs left, runs the tests, and fails if they left something. Each
// setup gets a folder for what all tests share. Without root it only runs the tests, which skip what needs it.
func Main(m *testing.M, setup ...func(dir string) error) int {
	if os.Getuid() != 0 {
		return m.Run()
	}
	tree, err := cgroup.Open()
	if err == nil {
		err = sweep(tree)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "clear what an earlier run left:", err)
		return 1
	}
	code := run(m, setup)
	if left := leftovers(tree, own()); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "the tests left behind:\n\t%s\n", strings.Join(left, "\n\t"))
		return max(code, 1)
	}
	return code
}

func run(m *testing.M, setup []func(dir string) error) int {
	for _, do := range setup {
		dir, err := os.MkdirTemp("", own())
		if err == nil {
			defer os.RemoveAll(dir)
			err = do(dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "set up tests:", err)
			return 1
		}
	}
	return m.Run()
}

// sweep removes what belongs to test processes that are no more.
func sweep(tree *cgroup.Tree) error {
	var errs []error
	for _, name := range leftovers(tree, prefix) {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(name), prefix), "-")
		if n, err := strconv.Atoi(pid); err != nil || unix.Kill(n, 0) == nil {
			continue
		}
		if strings.HasPrefix(name, os.TempDir()+"/") {
			errs = append(errs, removeDir(name))
		} else {
			errs = append(errs, removeGroup(tree, name))
		}
	}
	return errors.Join(errs...)
}

// leftovers are the cgroups and folders whose name begins so, cgroups first: their processes hold the folders.
func leftovers(tree *cgroup.Tree, begin string) []string {
	out := tree.Children("/", begin)
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), begin+"*"))
	return append(out, dirs...)
}

func removeGroup(tree *cgroup.Tree, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return tree.Remove(ctx, name)
}

// removeDir unmounts what is mounted under a folder, the last mount first, and removes it.
func removeDir(dir string) error {
	mounts, err := Mounts(dir)
	if err != nil {
		return err
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		if err := unix.Unmount(mounts[i], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", mounts[i], err)
		}
	}
	if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Mounts lists what is mounted at or under a folder, in the order in which it was mounted.
func Mounts(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 4 && (f[4] == dir || strings.HasPrefix(f[4], dir+"/")) {
			out = append(out, f[4])
		}
	}
	return out, nil
}
