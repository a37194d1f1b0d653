package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// openPins mounts the file system of the pins, takes its lock, and makes the folders of this format.
func openPins(cfg Config) (lock *os.File, err error) {
	if err := os.MkdirAll(cfg.mount(), 0o700); err != nil {
		return nil, err
	}
	if ours, err := mounted(cfg.mount()); err != nil {
		return nil, err
	} else if !ours {
		if err := unix.Mount("bpf", cfg.mount(), "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
			return nil, fmt.Errorf("mount a bpf file system: %w", err)
		}
	}
	if lock, err = lockFolder(cfg.mount()); err != nil {
		return nil, err
	}
	err = refuseNewer(cfg.mount())
	for _, folder := range []string{cfg.mapPins(), cfg.linkPins()} {
		if err == nil {
			err = os.MkdirAll(folder, 0o700)
		}
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// mounted tells whether a bpf file system is mounted at path.
func mounted(path string) (bool, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return false, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return s.Type == unix.BPF_FS_MAGIC, nil
}

func lockFolder(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another process has the dataplane of this node open: %w", err)
		}
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	return f, nil
}

// Compatible returns an error if what is pinned was made by a version that is newer than this one. It may be asked while
// another process has the dataplane open.
func Compatible(cfg Config) error {
	err := refuseNewer(cfg.mount())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// refuseNewer returns an error if something was pinned by a version that is newer than this one.
func refuseNewer(mount string) error {
	entries, err := os.ReadDir(mount)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if v, err := strconv.Atoi(strings.TrimPrefix(e.Name(), "v")); err == nil && v > format {
			return fmt.Errorf("it was made by a newer Mainstay: its format is %d, and this version knows formats up to %d. "+
				"Run that version, or remove the dataplane with `mainstay down`", v, format)
		}
	}
	return nil
}

// Remove detaches the programs of a node and removes all that is pinned, whichever version has pinned it. It is no error
// if nothing is there. The dataplane must not be open.
func Remove(cfg Config) error {
	ours, err := mounted(cfg.mount())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if ours {
		err = removePins(cfg.mount())
	}
	if err == nil {
		err = os.Remove(cfg.mount())
	}
	if err != nil {
		return fmt.Errorf("remove the dataplane at %s: %w", cfg.mount(), err)
	}
	return nil
}

func removePins(mount string) error {
	lock, err := lockFolder(mount)
	if err != nil {
		return err
	}
	defer lock.Close()
	pins, err := filepath.Glob(filepath.Join(mount, "v*", "links", "*"))
	if err != nil {
		return err
	}
	for _, pin := range pins {
		if err := detach(pin); err != nil {
			return err
		}
	}
	// What is left are maps, which the mount alone holds.
	if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
		return &fs.PathError{Op: "unmount", Path: mount, Err: err}
	}
	return nil
}

// detach ends a pinned link, even if others hold it too.
func detach(pin string) error {
	l, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return fmt.Errorf("open the link %s: %w", pin, err)
	}
	defer l.Close()
	if err := l.Detach(); err != nil && !errors.Is(err, unix.ENOLINK) {
		return fmt.Errorf("detach %s: %w", pin, err)
	}
	return l.Unpin()
}
