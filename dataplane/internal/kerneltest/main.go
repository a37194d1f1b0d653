// Package kerneltest lets tests use the kernel of the machine without touching its network: they run in a network and mount
// namespace and a cgroup of their own, which end with them, however they end.
package kerneltest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	inside = "MAINSTAY_KERNELTEST_CGROUP" // set in the process that runs the tests
	prefix = "mainstay-kerneltest-"
	poll   = 2 * time.Millisecond
)

// Main runs the tests of a package and exits. As root it runs them in a child process with namespaces and a cgroup of its
// own; the child fails if the tests left descriptors, mounts or network devices behind.
func Main(m *testing.M) {
	switch {
	case os.Getuid() != 0:
		os.Exit(m.Run())
	case os.Getenv(inside) == "":
		os.Exit(isolate())
	}
	before := take()
	code := m.Run()
	if code == 0 {
		if left := settle(before); len(left) > 0 {
			fmt.Printf("FAIL: the tests left behind:\n\t%s\n", strings.Join(left, "\n\t"))
			code = 1
		}
	}
	os.Exit(code)
}

// NeedRoot skips a test that needs root where there is none, or fails it if MAINSTAY_TEST_ROOT=1 says that there must be.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Getenv(inside) != "" {
		return
	}
	if os.Getenv("MAINSTAY_TEST_ROOT") == "1" {
		t.Fatal("this test needs root, and MAINSTAY_TEST_ROOT=1 does not let it be skipped")
	}
	t.Skip("needs root")
}

// Cgroup is the folder of a cgroup that the tests are in, one below it, so that it may stand for a node's.
func Cgroup(t testing.TB) string {
	NeedRoot(t)
	return filepath.Join(os.Getenv(inside), "node")
}

// OtherCgroup is the folder of a cgroup beside it.
func OtherCgroup(t testing.TB) string {
	NeedRoot(t)
	return filepath.Join(os.Getenv(inside), "other")
}

func isolate() int {
	runtime.LockOSThread() // the child dies with the thread that made it
	root, err := unified()
	if err == nil {
		sweep(root)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kerneltest:", err)
		return 1
	}
	own := filepath.Join(root, prefix+strconv.Itoa(os.Getpid()))
	defer remove(own)
	code, err := run(own)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kerneltest:", err)
		return 1
	}
	return code
}

// run runs this program again, in the cgroup own/node/tests.
func run(own string) (int, error) {
	tests := filepath.Join(own, "node", "tests")
	for _, folder := range []string{tests, filepath.Join(own, "other")} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return 0, err
		}
	}
	cgroup, err := os.Open(tests)
	if err != nil {
		return 0, err
	}
	defer cgroup.Close()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inside+"="+own)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		UseCgroupFD:  true, CgroupFD: int(cgroup.Fd()),
		Pdeathsig: syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			cmd.Process.Signal(s)
		case err := <-done:
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				return max(exit.ExitCode(), 1), nil
			}
			return 0, err
		}
	}
}

// unified is where the cgroup hierarchy of version 2 is mounted.
func unified() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if i := slices.Index(fields, "-"); i > 4 && i+1 < len(fields) && fields[i+1] == "cgroup2" {
			return fields[4], nil
		}
	}
	return "", errors.New("no cgroup hierarchy of version 2 is mounted")
}

// sweep removes the cgroups of test runs that were killed.
func sweep(root string) {
	left, _ := filepath.Glob(filepath.Join(root, prefix+"*"))
	for _, folder := range left {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(folder), prefix))
		if err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			remove(folder)
		}
	}
}

// remove ends what runs in a cgroup that a test run made, and removes it.
func remove(folder string) {
	os.WriteFile(filepath.Join(folder, "cgroup.kill"), []byte("1"), 0)
	deadline := time.Now().Add(5 * time.Second)
	for removeTree(folder) != nil && time.Now().Before(deadline) {
		<-time.After(poll)
	}
}

func removeTree(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(folder, e.Name())); err != nil {
				return err
			}
		}
	}
	return syscall.Rmdir(folder)
}
