package disk

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A roster lists which objects there are, and at which revision, in a file apart from Badger's. Nobody needs it while the
// store is well: it tells what is missing when the store is damaged. Each batch is written before Badger gets it, and cut off
// again by Open if Badger never did. Like the revision file it is synced once a second, so after a power cut it may lag; then
// Load writes it anew.
//
// It is magic and format, then batches: length, state, entries, checksum. A batch has what one append changed.
type roster struct {
	path  string
	f     *os.File
	size  int64 // where the next batch goes
	least int64 // the size after it was last written anew
	state state // of the last batch
	dirty atomic.Bool
}

const (
	rosterMagic = "mainstay roster "
	rosterHead  = len(rosterMagic) + 4
	rosterGrows = 4 << 20 // it is written anew when it has grown by this, and fourfold

	// flag in an entry's revision: the object is gone.
	goneFlag = 1 << 63
)

// entries are the objects that a roster lists, by key: revision, with goneFlag if the object is gone.
type entries map[string]uint64

// openRoster opens or creates the file. What is not readable in it counts as not there: state tells how far it goes. The
// error may wrap ErrFormat.
func openRoster(path string) (*roster, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	a := &roster{path: path, f: f}
	if err := a.cut(math.MaxUint64); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
}

// cut removes what is not readable, or beyond upto.
func (a *roster) cut(upto store.Revision) (err error) {
	if a.size, a.state, err = readRoster(a.f, upto, func(entries) {}); err != nil {
		return err
	}
	a.least = a.size
	if a.size == 0 {
		a.size = int64(rosterHead)
		_, err = a.f.WriteAt(rosterHeader(), 0)
	}
	if err = errors.Join(err, a.f.Truncate(a.size)); err != nil {
		return fmt.Errorf("write the roster: %w", err)
	}
	return nil
}

func rosterHeader() []byte { return binary.BigEndian.AppendUint32([]byte(rosterMagic), format) }

// readRoster calls fn with each batch up to a revision, and returns where the last whole one ends, and its state. A file that
// is none is empty.
func readRoster(f io.ReaderAt, upto store.Revision, fn func(entries)) (end int64, last state, err error) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, 1<<62), 1<<20)
	head := make([]byte, rosterHead)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:len(rosterMagic)]) != rosterMagic {
		return 0, last, nil
	}
	if v := binary.BigEndian.Uint32(head[len(rosterMagic):]); v > format {
		return 0, last, newer(int(v))
	}
	end = int64(rosterHead)
	for {
		batch, n := readBatch(r)
		st, es, err := parseBatch(batch)
		if err != nil || st.revision > upto {
			return end, last, nil
		}
		fn(es)
		end, last = end+n, st
	}
}

// readBatch returns the next batch, nil if it is not whole, and how much of the file it is.
func readBatch(r io.Reader) ([]byte, int64) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, 0
	}
	n := binary.BigEndian.Uint32(length[:])
	if n < stateSize+4 || n > 1<<30 {
		return nil, 0
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(n))) // grows as it reads: a flipped length costs nothing
	if err != nil || len(b) < int(n) {
		return nil, 0
	}
	return b, int64(n) + 4
}

func parseBatch(sealed []byte) (state, entries, error) {
	v, err := unseal(nil, sealed)
	if err != nil {
		return state{}, nil, err
	}
	st, err := parseState(v)
	if err != nil {
		return state{}, nil, err
	}
	es := entries{}
	for v = v[stateSize:]; len(v) >= 10; {
		n := int(binary.BigEndian.Uint16(v[8:]))
		if len(v) < 10+n {
			return state{}, nil, errSpoilt
		}
		es[string(v[10:10+n])] = binary.BigEndian.Uint64(v)
		v = v[10+n:]
	}
	return st, es, nil
}

func encodeBatch(st state, es entries) []byte {
	n := 4 + stateSize + 4
	for key := range es {
		n += 10 + len(key)
	}
	b := st.append(make([]byte, 4, n))
	binary.BigEndian.PutUint32(b, uint32(n-4))
	for _, key := range slices.Sorted(maps.Keys(es)) {
		b = binary.BigEndian.AppendUint64(b, es[key])
		b = binary.BigEndian.AppendUint16(b, uint16(len(key)))
		b = append(b, key...)
	}
	return binary.BigEndian.AppendUint32(b, checksum(nil, b[4:]))
}

// write adds what an append has changed. It does not wait for the disk.
func (a *roster) write(st state, rs []record) error {
	es := make(entries, len(rs))
	for _, r := range rs {
		revision := binary.BigEndian.Uint64(r.value)
		if isGone(r.value) {
			revision |= goneFlag
		}
		es[string(r.key)] = revision
	}
	b := encodeBatch(st, es)
	if _, err := a.f.WriteAt(b, a.size); err != nil {
		return fmt.Errorf("write the roster: %w", err)
	}
	a.size += int64(len(b))
	a.state = st
	a.dirty.Store(true)
	return nil
}

// sync makes durable what was written before. It may run beside write.
func (a *roster) sync() error {
	if !a.dirty.Swap(false) {
		return nil
	}
	if err := unix.Fdatasync(int(a.f.Fd())); err != nil {
		return fmt.Errorf("sync the roster: %w", err)
	}
	return nil
}

func (a *roster) close() error { return errors.Join(a.sync(), a.f.Close()) }

// large tells whether most of it is of objects that were written again since.
func (a *roster) large() bool { return a.size > 4*a.least+rosterGrows }

// live are the objects that the first size bytes list, without those that are gone, and the state after them.
func (a *roster) live(size int64) (entries, state, error) {
	all := entries{}
	_, st, err := readRoster(io.NewSectionReader(a.f, 0, size), math.MaxUint64, func(es entries) { maps.Copy(all, es) })
	maps.DeleteFunc(all, func(_ string, revision uint64) bool { return revision&goneFlag != 0 })
	return all, st, err
}

// rewrite returns a roster of its own for es, to be put in a's place by replace.
func (a *roster) rewrite(es entries, st state) (*roster, error) {
	f, err := os.OpenFile(a.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write the roster anew: %w", err)
	}
	b := append(rosterHeader(), encodeBatch(st, es)...)
	fresh := &roster{path: a.path, f: f, size: int64(len(b)), least: int64(len(b)), state: st}
	if _, err := f.Write(b); err != nil {
		return nil, errors.Join(fmt.Errorf("write the roster anew: %w", err), f.Close())
	}
	return fresh, nil
}

// replace puts fresh in a's place, with what was written to a after its first size bytes.
func (a *roster) replace(fresh *roster, size int64) error {
	n, err := io.Copy(io.NewOffsetWriter(fresh.f, fresh.size), io.NewSectionReader(a.f, size, a.size-size))
	if n > 0 {
		fresh.state = a.state
	}
	fresh.size += n
	if err := errors.Join(err, fresh.f.Sync(), os.Rename(a.path+".new", a.path)); err != nil {
		return errors.Join(fmt.Errorf("replace the roster: %w", err), fresh.f.Close())
	}
	old := a.f
	a.f, a.size, a.least, a.state = fresh.f, fresh.size, fresh.least, fresh.state
	return errors.Join(old.Close(), syncFolders(filepath.Dir(a.path)))
}

// trimRoster writes the roster anew when it has grown large. Appends wait only for the end of it.
func (b *Backend) trimRoster() error {
	b.mu.Lock()
	large, size := b.roster.large() && b.room(0) == nil, b.roster.size
	b.mu.Unlock()
	if !large {
		return nil
	}
	es, st, err := b.roster.live(size) // only this goroutine puts another file in its place
	if err != nil {
		return err
	}
	fresh, err := b.roster.rewrite(es, st)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.roster.replace(fresh, size)
}

// relist writes the roster anew after a Load that found all well, if it does not end where the store does.
func (b *Backend) relist(es entries) error {
	fresh, err := b.roster.rewrite(es, b.state)
	if err != nil {
		return err
	}
	return b.roster.replace(fresh, b.roster.size)
}

// revisionIn is the revision in an entry.
func revisionIn(entry uint64) store.Revision { return store.Revision(entry &^ goneFlag) }
