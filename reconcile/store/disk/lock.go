package disk

import (
	"errors"
	"fmt"
	"os"
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
