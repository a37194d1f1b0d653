package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const (
	// Reserve is the least Options.Reserve: more than Badger may still write into files that it has mapped and not filled: memtables and their logs,
	// the tables of two compactions, a file of values. A page of a mapped file for which the disk has no room ends the
	// process.
	Reserve = 96 << 20

	// opening is what must be free to open a store: it finishes what a crash cut short, and Badger puts its logs into tables.
	opening = 32 << 20

	// ballast is room that is taken while there is plenty, and given back when there is none, so that a store can be opened
	// on a disk that others have filled. It is less than the reserve: it lets nobody write.
	ballast = 48 << 20
)

// room is ErrNoRoom if the disk has not bytes beside the reserve.
func (b *Backend) room(bytes int64) error {
	return roomFor(b.dir, b.opts.Reserve+bytes, b.opts.Reserve)
}

// roomFor is ErrNoRoom if fewer than bytes are free, of which some are kept in reserve.
func roomFor(dir string, bytes, reserve int64) error {
	free, err := freeIn(dir)
	if err != nil {
		return err
	}
	if missing := bytes - free; missing > 0 {
		return fmt.Errorf("%w: %s has %d MiB free, %d MiB more are needed (%d MiB are kept in reserve)",
			store.ErrNoRoom, dir, free>>20, missing>>20+1, reserve>>20)
	}
	return nil
}

// freeIn is the number of bytes that the disk of dir has left.
func freeIn(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("ask how full the disk of %s is: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// MakeRoom gives back the ballast of the store in dir if the disk is so full that the store, and what starts beside it, may
// not open. A store that is not there needs none.
func MakeRoom(dir string) error {
	free, err := freeIn(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || free >= opening {
		return err
	}
	return dropBallast(dir)
}

func ballastIn(dir string) string { return filepath.Join(dir, "ballast") }

func dropBallast(dir string) error {
	if err := os.Remove(ballastIn(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("give back the ballast: %w", err)
	}
	return nil
}

// trimBallast takes the ballast when there is plenty of room, and gives it back when there is none: a compaction that is
// under way may need it.
func (b *Backend) trimBallast() error {
	free, err := freeIn(b.dir)
	if err != nil {
		return err
	}
	_, err = os.Stat(ballastIn(b.dir))
	switch missing := errors.Is(err, fs.ErrNotExist); {
	case err != nil && !missing:
		return err
	case missing && free >= b.opts.Reserve+2*ballast:
		return takeBallast(ballastIn(b.dir))
	case !missing && free < opening/4:
		b.opts.Log.Warn("the disk is full: the store gives back its ballast", "free", free)
		return dropBallast(b.dir)
	}
	return nil
}

// takeBallast makes a file of the size of the ballast, with room for all of it.
func takeBallast(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("take ballast: %w", err)
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, ballast)
	if errors.Is(err, unix.EOPNOTSUPP) {
		_, err = f.Write(make([]byte, ballast))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("take ballast: %w", err), dropBallast(filepath.Dir(path)))
	}
	return nil
}
