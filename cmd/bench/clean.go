package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/cmd/internal/sandbox"
)

// hold marks the folder of a run as in use, until it is released or this process ends.
func hold(dir string) (release func() error, err error) {
	return lock(dir, unix.LOCK_SH)
}

func lock(dir string, how int) (func() error, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f.Close, nil
}

// sweep removes what runs have left that were killed.
func sweep(ctx context.Context) {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		release, err := lock(dir, unix.LOCK_EX)
		if err != nil {
			continue // it runs
		}
		release()
		fmt.Fprintln(os.Stderr, "removing what an earlier run has left in", dir)
		if err := clean(ctx, dir); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
}

// clean ends each Mainstay of a run, and removes all that the run has made. What cannot be ended stays, to be looked at.
func clean(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	started, err := filepath.Glob(filepath.Join(dir, "data-*", "endpoints.json"))
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range started {
		errs = append(errs, down(ctx, dir, filepath.Dir(file)))
	}
	if err := errors.Join(append(errs, sandbox.Remove(namespaceOf(dir)))...); err != nil {
		return fmt.Errorf("clean up %s: %w", dir, err)
	}
	return os.RemoveAll(dir)
}

// down gives back all that the Mainstay with its data in a folder has taken.
func down(ctx context.Context, dir, data string) error {
	c := exec.CommandContext(ctx, "nsenter", "--net="+namespaceOf(dir), programOf(dir), "--data", data, "down", "--purge")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("mainstay down: %w\n%s", err, out)
	}
	return nil
}
