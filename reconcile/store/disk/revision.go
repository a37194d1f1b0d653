package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A revisionFile says how far the store was acknowledged. It has two slots, written in turn: a torn write costs one. It
// tells a shortened end of Badger's logs from a clean one. A kill costs it nothing; after a power cut it may lag by what was
// written since the last sync, but it never leads.
//
// A slot is magic, format, number of the write, revision, checksum. Later formats keep this frame.
type revisionFile struct {
	f        *os.File
	writes   uint64
	revision store.Revision
	dirty    atomic.Bool
}

const (
	slotMagic = "mainstay"
	slotSize  = 8 + 4 + 8 + 8 + 4
	slotSpace = 4096 // slots are on blocks of their own
)

// createRevisionFile makes one that says that nothing was acknowledged. It appears whole or not at all.
func createRevisionFile(path string) error {
	b := make([]byte, 2*slotSpace)
	copy(b, encodeSlot(0, 0))
	copy(b[slotSpace:], encodeSlot(0, 0))
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(path+".new", path), syncFolders(filepath.Dir(path)))
}

// readRevisionFile opens the file. errSpoilt if no slot is whole.
func readRevisionFile(path string) (*revisionFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	a := &revisionFile{f: f}
	err = errSpoilt
	for n := range 2 {
		slot := make([]byte, slotSize)
		_, _ = f.ReadAt(slot, int64(n)*slotSpace) // what is not there is not whole
		writes, revision, e := decodeSlot(slot)
		switch {
		case errors.Is(e, ErrFormat):
			return nil, errors.Join(e, f.Close())
		case e == nil && (err != nil || writes > a.writes):
			a.writes, a.revision, err = writes, revision, nil
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
}

func encodeSlot(writes uint64, r store.Revision) []byte {
	b := append(make([]byte, 0, slotSize), slotMagic...)
	b = binary.BigEndian.AppendUint32(b, format)
	b = binary.BigEndian.AppendUint64(b, writes)
	return seal(nil, binary.BigEndian.AppendUint64(b, uint64(r)))
}

func decodeSlot(sealed []byte) (writes uint64, r store.Revision, err error) {
	v, err := unseal(nil, sealed)
	if err != nil || string(v[:8]) != slotMagic {
		return 0, 0, errSpoilt
	}
	if f := binary.BigEndian.Uint32(v[8:]); f > format {
		return 0, 0, newer(int(f))
	}
	return binary.BigEndian.Uint64(v[12:]), store.Revision(binary.BigEndian.Uint64(v[20:])), nil
}

// write does not wait for the disk.
func (a *revisionFile) write(r store.Revision) error {
	if _, err := a.f.WriteAt(encodeSlot(a.writes+1, r), int64(a.writes%2)*slotSpace); err != nil {
		return fmt.Errorf("write the revision file: %w", err)
	}
	a.writes++
	a.revision = r
	a.dirty.Store(true)
	return nil
}

// sync makes durable what was written before. It may run beside write.
func (a *revisionFile) sync() error {
	if !a.dirty.Swap(false) {
		return nil
	}
	if err := unix.Fdatasync(int(a.f.Fd())); err != nil {
		return fmt.Errorf("sync the revision file: %w", err)
	}
	return nil
}

func (a *revisionFile) close() error { return errors.Join(a.sync(), a.f.Close()) }

func revisionPath(dir string) string { return filepath.Join(dir, "revision") }

// openRevisionFile opens or creates the file. What is wrong with it is found, and no error; then there is a new file.
func (b *Backend) openRevisionFile() (found []string, err error) {
	path := revisionPath(b.dir)
	if b.acked, err = readRevisionFile(path); err == nil {
		return nil, nil
	}
	_, fresh := os.Stat(b.folder())
	switch {
	case errors.Is(err, ErrFormat):
		return nil, fmt.Errorf("open the store in %s: %w", b.dir, err)
	case errors.Is(err, errSpoilt):
		found = []string{"the file revision, which says what was acknowledged, is unreadable"}
	case errors.Is(err, os.ErrNotExist) && fresh == nil:
		found = []string{"the file revision, which says what was acknowledged, is missing"}
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("open the store in %s: %w", b.dir, err)
	}
	if len(found) > 0 && !b.opts.AcceptLoss {
		return nil, &Damage{Dir: b.dir, Found: found}
	}
	if err := createRevisionFile(path); err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", b.dir, err)
	}
	b.acked, err = readRevisionFile(path)
	return found, err
}

func syncFolders(folders ...string) error {
	for _, folder := range folders {
		f, err := os.Open(folder)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("sync %s: %w", folder, err)
		}
	}
	return nil
}
