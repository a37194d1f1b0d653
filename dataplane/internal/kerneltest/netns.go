package kerneltest

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Netns is a network namespace, with its loopback device up.
type Netns struct {
	file   *os.File
	cookie uint64
}

// NewNetns makes a network namespace that ends with the test.
func NewNetns(t testing.TB) *Netns {
	t.Helper()
	NeedRoot(t)
	n := &Netns{}
	if err := onThread(func() error { return n.make() }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.file.Close() })
	return n
}

// make makes the namespace of the thread a new one.
func (n *Netns) make() (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	if n.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	n.cookie, err = unix.GetsockoptUint64(s, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return err
}

// Cookie is the number of the namespace.
func (n *Netns) Cookie() uint64 { return n.cookie }

// Path opens the namespace, as long as the test runs.
func (n *Netns) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// Do runs f in the namespace, on a thread that ends with it. Sockets that f makes stay there.
func (n *Netns) Do(t testing.TB, f func() error) {
	t.Helper()
	if err := n.Try(f); err != nil {
		t.Fatal(err)
	}
}

// Try is Do for those who want the error.
func (n *Netns) Try(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network namespace: %w", err)
		}
		return f()
	})
}

// onThread runs f on a thread that ends with it.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		var err error
		defer func() { done <- err }()
		err = f()
	}()
	return <-done
}

// Eventually polls ok until it says yes, and fails the test if it does not within ten seconds.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to pass within ten seconds that %s", what)
		}
		<-time.After(poll)
	}
}
