package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lock takes the file at path for this process. It is given back when the file is closed, or the process ends in any way.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		pid := make([]byte, 20)
		n, _ := f.ReadAt(pid, 0)
		err = fmt.Errorf("%w: process %s", ErrInUse, strings.TrimSpace(string(pid[:n])))
	}
	if err == nil {
		_, err = f.WriteAt(fmt.Appendf(nil, "%-19d\n", os.Getpid()), 0) // of one length: it needs no more room on a full disk
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Holder is the process that has the store in dir open; false if none has. It takes no lock, so it disturbs nobody.
func Holder(dir string) (pid int, ok bool) {
	path := filepath.Join(dir, "lock")
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil || pid <= 0 {
		return 0, false
	}
	lock, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return 0, false
	}
	for _, fd := range open {
		if fi, err := os.Stat(fd); err == nil && os.SameFile(fi, lock) {
			return pid, true
		}
	}
	return 0, false
}

// Compatible returns ErrFormat if the store in dir was written by a newer Mainstay. It may be asked while another process has
// the store open.
func Compatible(dir string) error {
	f, err := readRevisionFile(filepath.Join(dir, "revision"))
	if errors.Is(err, ErrFormat) {
		return fmt.Errorf("open the store in %s: %w", dir, err)
	}
	if err == nil {
		_ = f.f.Close()
	}
	return nil
}
