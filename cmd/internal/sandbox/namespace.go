// Package sandbox gives a program that shows or measures Mainstay what keeps it apart from the host: a network namespace of
// its own to run in, and images that need no registry.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Run starts this program again, with args, in the network namespace that is kept at path, and waits for its end. When ctx
// ends the program is told to end, by SIGTERM.
func Run(ctx context.Context, path string, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + path, self}, args...)...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	return c.Run()
}

// Keep makes a network namespace with its loopback up, and keeps it by a mount at path. One that is there already stays.
func Keep(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	f.Close()
	own, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	defer own.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := keepHere(path)
		// Back, rather than let the thread end: processes that were started from it may be meant to end with it (Pdeathsig).
		back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET)
		if back == nil {
			runtime.UnlockOSThread()
		}
		done <- errors.Join(err, back)
	}()
	if err := <-done; err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	return nil
}

// keepHere moves the calling thread into a new namespace, and mounts that at path.
func keepHere(path string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	return unix.Mount(fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid()), path, "", unix.MS_BIND, "")
}

// Remove lets go of the namespace that is kept at path. It ends when nothing is in it any more. One that is not there is no
// error.
func Remove(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove the network namespace %s: %w", path, err)
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
