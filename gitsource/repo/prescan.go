package repo

import (
	"bufio"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// Limits bound what a pack may bring. go-git trusts the numbers in a pack: 12 bytes can ask it for 34 GB.
type Limits struct {
	Pack     int64 // bytes on the wire
	Objects  int
	Object   int64 // bytes of one object
	Expanded int64 // bytes of all
}

// DefaultLimits are far above what manifests need.
func DefaultLimits() Limits {
	return Limits{Pack: 256 << 20, Objects: 500_000, Object: 64 << 20, Expanded: 1 << 30}
}

var (
	// ErrBadPack says that a pack is not what Git would write.
	ErrBadPack = errors.New("bad pack")
	// ErrTooMuch says that a pack is over a limit.
	ErrTooMuch = errors.New("over the limit")
)

const packHeader = 12

// prescan reads a whole pack and checks it against the limits, before the indexer sees it. It returns how many objects
// the pack has, and how many bytes they are.
func prescan(pack io.ReadSeeker, limits Limits) (objects int, expanded int64, err error) {
	n, err := packCount(pack)
	if err != nil {
		return 0, 0, err
	}
	if n > limits.Objects {
		return 0, 0, fmt.Errorf("%w: the pack claims %d objects, the limit is %d", ErrTooMuch, n, limits.Objects)
	}
	if err := checkSum(pack); err != nil {
		return 0, 0, err
	}
	if _, err := pack.Seek(0, io.SeekStart); err != nil {
		return 0, 0, err
	}
	s := packfile.NewScanner(struct{ io.Reader }{bufio.NewReaderSize(pack, 64<<10)})
	if _, _, err := s.Header(); err != nil {
		return 0, 0, fmt.Errorf("%w: %w", ErrBadPack, err)
	}
	expanded, err = scanObjects(s, n, limits)
	return n, expanded, err
}

// packCount reads the number of objects that the header claims.
func packCount(pack io.ReadSeeker) (int, error) {
	if _, err := pack.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	var h [packHeader]byte
	if _, err := io.ReadFull(pack, h[:]); err != nil || string(h[:4]) != "PACK" {
		return 0, fmt.Errorf("%w: it has no header", ErrBadPack)
	}
	return int(binary.BigEndian.Uint32(h[8:])), nil
}

// checkSum compares the last 20 bytes of a pack with the SHA-1 of those before.
func checkSum(pack io.ReadSeeker) error {
	end, err := pack.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if end < packHeader+sha1.Size {
		return fmt.Errorf("%w: it is cut short", ErrBadPack)
	}
	if _, err := pack.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := sha1.New()
	if _, err := io.CopyN(sum, pack, end-sha1.Size); err != nil {
		return err
	}
	var trailer [sha1.Size]byte
	if _, err := io.ReadFull(pack, trailer[:]); err != nil {
		return err
	}
	if trailer != [sha1.Size]byte(sum.Sum(nil)) {
		return fmt.Errorf("%w: its checksum does not fit: it is damaged or cut short", ErrBadPack)
	}
	return nil
}

func scanObjects(s *packfile.Scanner, n int, limits Limits) (total int64, err error) {
	for range n {
		size, err := scanObject(s, limits.Object)
		if err != nil {
			return 0, err
		}
		if total += size; total > limits.Expanded {
			return 0, fmt.Errorf("%w: the pack expands beyond %d bytes", ErrTooMuch, limits.Expanded)
		}
	}
	return total, nil
}

// scanObject returns the size of the next object, of the result for a delta.
func scanObject(s *packfile.Scanner, limit int64) (int64, error) {
	h, err := s.NextObjectHeader()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrBadPack, err)
	}
	if h.Length > limit {
		return 0, fmt.Errorf("%w: an object of %d bytes, the limit is %d", ErrTooMuch, h.Length, limit)
	}
	var start prefix
	n, _, err := s.NextObject(&start)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrBadPack, err)
	}
	if n != h.Length {
		return 0, fmt.Errorf("%w: an object of %d bytes says that it has %d", ErrBadPack, n, h.Length)
	}
	if h.Type != plumbing.OFSDeltaObject && h.Type != plumbing.REFDeltaObject {
		return h.Length, nil
	}
	b := start.bytes[:start.n]
	_, k := binary.Uvarint(b) // size of the base
	if k <= 0 {
		return 0, fmt.Errorf("%w: a malformed delta", ErrBadPack)
	}
	target, k := binary.Uvarint(b[k:])
	if k <= 0 {
		return 0, fmt.Errorf("%w: a malformed delta", ErrBadPack)
	}
	if target > uint64(limit) {
		return 0, fmt.Errorf("%w: a delta makes an object of %d bytes, the limit is %d", ErrTooMuch, target, limit)
	}
	return int64(target), nil
}

// A prefix keeps the first bytes of what is written to it.
type prefix struct {
	bytes [20]byte
	n     int
}

func (p *prefix) Write(b []byte) (int, error) {
	p.n += copy(p.bytes[p.n:], b)
	return len(b), nil
}
