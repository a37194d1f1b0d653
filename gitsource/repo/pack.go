package repo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

const spoolInMemory = 1 << 20 // bytes of a pack that are kept in memory

// A spool takes in a pack whole, a small one in memory, a big one in a file, and refuses more than its limit.
type spool struct {
	dir   string // where the file is made
	limit int64
	small bytes.Buffer
	file  *os.File
	size  int64
}

func (s *spool) Write(b []byte) (int, error) {
	if s.size+int64(len(b)) > s.limit {
		return 0, fmt.Errorf("%w: the pack has more than %d bytes", ErrTooMuch, s.limit)
	}
	s.size += int64(len(b))
	if s.file == nil && s.size <= spoolInMemory {
		return s.small.Write(b)
	}
	if err := s.spill(); err != nil {
		return 0, err
	}
	return s.file.Write(b)
}

// spill moves what is in memory to a file.
func (s *spool) spill() (err error) {
	if s.file != nil {
		return nil
	}
	if s.file, err = os.CreateTemp(s.dir, "tmp_pack_"); err != nil {
		return err
	}
	_, err = s.small.WriteTo(s.file)
	return err
}

// reader reads the pack. There is one at a time.
func (s *spool) reader() io.ReadSeeker {
	if s.file != nil {
		return s.file
	}
	return bytes.NewReader(s.small.Bytes())
}

// close removes the file, if it was not moved away.
func (s *spool) close() {
	if s.file != nil {
		s.file.Close()
		os.Remove(s.file.Name())
	}
}

// explode hands each object of a pack to store, in which deltas may find their bases.
func explode(pack io.ReadSeeker, store storer.EncodedObjectStorer) error {
	_, _, err := parse(pack, store)
	return err
}

// parse reads a pack and makes its index. It hands each object to store, unless that is nil.
func parse(pack io.ReadSeeker, store storer.EncodedObjectStorer) (idx []byte, sum plumbing.Hash, err error) {
	if _, err := pack.Seek(0, io.SeekStart); err != nil {
		return nil, sum, err
	}
	var w idxfile.Writer
	p, err := packfile.NewParserWithStorage(packfile.NewScanner(pack), store, &w)
	if err != nil {
		return nil, sum, err
	}
	if sum, err = p.Parse(); err != nil {
		return nil, sum, packError(err)
	}
	entries, err := w.Index()
	if err != nil {
		return nil, sum, err
	}
	var b bytes.Buffer
	_, err = idxfile.NewEncoder(&b).Encode(entries)
	return b.Bytes(), sum, err
}

func packError(err error) error {
	if errors.Is(err, packfile.ErrReferenceDeltaNotFound) || errors.Is(err, plumbing.ErrObjectNotFound) {
		return fmt.Errorf("%w: a delta whose base is not in the pack", ErrBadPack)
	}
	return fmt.Errorf("%w: %w", ErrBadPack, err)
}

// hold reads the objects of a pack into memory.
func hold(pack []byte) (*smallPack, error) {
	store := memory.NewStorage()
	idx, sum, err := parse(bytes.NewReader(pack), store)
	if err != nil {
		return nil, err
	}
	objects := make(held, len(store.Objects))
	for hash, enc := range store.Objects {
		data, err := content(enc)
		if err != nil {
			return nil, err
		}
		objects[tree.Hash(hash)] = object{enc.Type(), data}
	}
	return &smallPack{"pack-" + sum.String(), pack, idx, objects}, nil
}

// index moves a spooled pack into the folder dir (objects/pack), durably, with its index. The pack comes last: go-git
// wants an index for each pack that it sees. It returns the path without .pack and .idx.
func index(s *spool, dir string) (string, error) {
	if err := s.spill(); err != nil {
		return "", err
	}
	idx, sum, err := parse(s.file, nil)
	if err != nil {
		return "", err
	}
	if err := s.file.Sync(); err != nil {
		return "", err
	}
	base := filepath.Join(dir, "pack-"+sum.String())
	if err := replaceFile(base+".idx", idx); err != nil {
		return "", err
	}
	if err := os.Rename(s.file.Name(), base+".pack"); err != nil {
		return "", err
	}
	return base, syncDir(dir)
}
