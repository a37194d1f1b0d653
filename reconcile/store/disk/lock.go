package disk

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
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
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// reserve is more than Badger may still write into files that it has mapped and not filled: memtables and their logs, the
// tables of two compactions, a file of values. A page of a mapped file for which the disk has no room ends the process.
const reserve = 96 << 20

// room is ErrNoRoom if the disk has not bytes beside the reserve.
func (b *Backend) room(bytes int64) error {
	free, err := b.free()
	if err != nil {
		return err
	}
	if missing := b.opts.Reserve + bytes - free; missing > 0 {
		return fmt.Errorf("%w: %s has %d MiB free, %d MiB more are needed (%d MiB are kept in reserve)",
			store.ErrNoRoom, b.dir, free>>20, missing>>20+1, b.opts.Reserve>>20)
	}
	return nil
}

// free is the number of bytes that the disk has left.
func (b *Backend) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(b.dir, &st); err != nil {
		return 0, fmt.Errorf("ask how full the disk of %s is: %w", b.dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}
