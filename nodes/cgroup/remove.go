package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// retry is the pause between two looks at a group that is still busy: a v1 group is for some milliseconds after its last
// process ended, and no event tells of it.
const retry = time.Millisecond

// ErrInside: the group cannot be removed by a process that is in it.
var ErrInside = errors.New("this process is in it")

// Remove ends the processes that are still in a group, removes it and those under it, deepest first, and returns when
// nothing is left, or with an error when ctx ends. A group that is not there is no error.
func (t *Tree) Remove(ctx context.Context, group string) error {
	for {
		err := t.rmdir(group) // mostly nothing runs there any more
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			return fmt.Errorf("remove cgroup %s: %w", group, err)
		}
		if err := t.Kill(ctx, group); err != nil {
			return err
		}
		if !pause(ctx) {
			return fmt.Errorf("remove cgroup %s: %w", group, errors.Join(ctx.Err(), err))
		}
	}
}

// Kill ends the processes in a group and in those under it with SIGKILL, and returns when they are gone.
func (t *Tree) Kill(ctx context.Context, group string) error {
	if t.Has(group, os.Getpid()) {
		return fmt.Errorf("kill cgroup %s: %w", group, ErrInside)
	}
	for {
		pids, err := t.Procs(group)
		if err != nil || len(pids) == 0 {
			return err
		}
		// In the unified hierarchy the kernel kills all at once, also those that are being forked; before Linux 5.14
		// it cannot, and then one by one has to do, which in v1 is the only way.
		if dir := t.Unified(group); dir != "" {
			_ = write(dir+"/cgroup.kill", "1")
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if !pause(ctx) {
			return fmt.Errorf("kill cgroup %s: processes %v: %w", group, pids, ctx.Err())
		}
	}
}

func pause(ctx context.Context) bool {
	timer := time.NewTimer(retry)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (t *Tree) rmdir(group string) error {
	var errs []error
	for _, h := range t.hierarchies {
		errs = append(errs, rmdir(h.path(group)))
	}
	return errors.Join(errs...)
}

func rmdir(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || gone(err) {
		return nil
	}
	for _, child := range children(dir) {
		if err := rmdir(child); err != nil {
			return err
		}
	}
	if err = unix.Rmdir(dir); err == nil || gone(err) {
		return nil
	}
	return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
}

// children are the folders of the groups right under a group: none if it vanishes meanwhile.
func children(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out
}

// tree lists the folder of a group and those under it.
func (h hierarchy) tree(group string) []string {
	dirs := []string{h.path(group)}
	for i := 0; i < len(dirs); i++ {
		dirs = append(dirs, children(dirs[i])...)
	}
	return dirs
}

// gone is how a cgroup that was removed meanwhile answers: no such file on open, no such device on an open file.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}
