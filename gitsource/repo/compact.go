package repo

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/idxfile"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// maxPacks is how many packs a repository may have before Compact finds it worth while.
const maxPacks = 20

// Compact puts small packs together, if there are many packs. Nothing is lost, and readers may go on. Pushes wait meanwhile:
// mostly for some milliseconds, since each object is written again only as often as the repository doubles.
func (r *Repository) Compact() error {
	r.writes.Lock()
	defer r.writes.Unlock()
	packs, err := r.packs()
	if small := smallPacks(packs); err == nil && len(packs) > maxPacks && len(small) > 1 {
		err = r.rollUp(small)
	}
	if err != nil {
		return fmt.Errorf("compact %s: %w", r.dir, err)
	}
	return nil
}

// A storedPack is a pack on disk.
type storedPack struct {
	path string // without .pack or .idx
	size int64
}

// packs lists the packs that there are.
func (r *Repository) packs() ([]storedPack, error) {
	names, err := filepath.Glob(filepath.Join(r.dir, "objects", "pack", "pack-*.pack"))
	if err != nil {
		return nil, err
	}
	var packs []storedPack
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		packs = append(packs, storedPack{strings.TrimSuffix(name, ".pack"), info.Size()})
	}
	return packs, nil
}

// smallPacks are those to put together: all but the big ones that outweigh what is left. So each object is written again
// only as often as the repository doubles.
func smallPacks(packs []storedPack) []storedPack {
	slices.SortFunc(packs, func(a, b storedPack) int { return cmp.Compare(a.size, b.size) })
	var sum int64
	for i, p := range packs {
		if i > 0 && p.size > 2*sum {
			return packs[:i]
		}
		sum += p.size
	}
	return packs
}

// rollUp writes one pack of all that is in some, then removes those.
func (r *Repository) rollUp(packs []storedPack) error {
	hashes, err := packedObjects(packs)
	if err != nil {
		return err
	}
	dir := filepath.Join(r.dir, "objects", "pack")
	s := &spool{dir: dir, limit: math.MaxInt64}
	defer s.close()
	rd, err := r.Reader()
	if err != nil {
		return err
	}
	defer rd.Close()
	if err := rd.WritePack(s, unique(hashes)); err != nil {
		return err
	}
	name, err := index(s, dir)
	if err != nil {
		return err
	}
	return r.drop(packs, name)
}

// drop removes packs that another one replaces. Who misses one of them opens the repository anew, which has to wait until
// all are gone.
func (r *Repository) drop(packs []storedPack, replacement string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.change()
	for _, p := range packs {
		if p.path == replacement {
			continue
		}
		for _, ext := range []string{".pack", ".idx"} { // in this order, as in index
			if err := os.Remove(p.path + ext); err != nil {
				return err
			}
		}
	}
	return nil
}

// packedObjects are the names of all that is in packs.
func packedObjects(packs []storedPack) ([]tree.Hash, error) {
	var hashes []tree.Hash
	for _, p := range packs {
		f, err := os.Open(p.path + ".idx")
		if err != nil {
			return nil, err
		}
		idx := idxfile.NewMemoryIndex()
		err = idxfile.NewDecoder(f).Decode(idx)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s.idx: %w", filepath.Base(p.path), err)
		}
		entries, err := idx.Entries()
		if err != nil {
			return nil, err
		}
		for e, err := entries.Next(); err == nil; e, err = entries.Next() {
			hashes = append(hashes, tree.Hash(e.Hash))
		}
	}
	return hashes, nil
}

func unique(hashes []tree.Hash) []tree.Hash {
	slices.SortFunc(hashes, func(a, b tree.Hash) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(hashes)
}
