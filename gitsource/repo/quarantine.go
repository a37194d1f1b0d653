package repo

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// heldBytes is up to how many bytes a pack may grow to be kept in memory, if it came in there.
const heldBytes = 8 << 20

// maxRecent is how many small packs are kept in memory before handles are opened anew to learn of them.
const maxRecent = 32

// A Quarantine is what a push has brought and nobody has accepted yet. Nothing of it is in the repository.
type Quarantine struct {
	repo  *Repository
	small *smallPack
	big   *Repository // of a big pack
}

// A smallPack is a pack in memory.
type smallPack struct {
	name      string // pack-HASH
	pack, idx []byte
	objects   held
}

// Quarantine takes a pack to its end. What is read from pack is checked against the limits before it is looked into; it
// must be whole, without deltas against objects that it does not hold. pack may be empty. Discard the quarantine in the
// end, whatever became of it.
func (r *Repository) Quarantine(pack io.Reader, limits Limits) (*Quarantine, error) {
	q := &Quarantine{repo: r}
	if err := q.take(pack, limits); err != nil {
		q.Discard()
		return nil, err
	}
	return q, nil
}

func (q *Quarantine) take(pack io.Reader, limits Limits) error {
	s := &spool{dir: q.repo.quarantines(), limit: limits.Pack}
	defer s.close()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if _, err := io.Copy(s, pack); err != nil {
		return fmt.Errorf("take in the pack: %w", err)
	}
	if s.size == 0 {
		return nil
	}
	_, expanded, err := prescan(s.reader(), limits)
	if err != nil {
		return err
	}
	if s.file == nil && expanded <= heldBytes {
		q.small, err = hold(s.small.Bytes())
		return err
	}
	return q.takeBig(s)
}

func (q *Quarantine) takeBig(s *spool) error {
	dir, err := os.MkdirTemp(q.repo.quarantines(), "push-")
	if err != nil {
		return err
	}
	q.big = &Repository{dir: dir}
	packs := filepath.Join(dir, "objects", "pack")
	if err := os.MkdirAll(packs, 0o755); err != nil {
		return err
	}
	_, err = index(s, packs)
	return err
}

// quarantines is outside of objects/, where go-git would look into it.
func (r *Repository) quarantines() string { return filepath.Join(r.dir, "quarantine") }

// Reader reads the repository together with what is in quarantine, for one goroutine. After that was moved in it is the
// repository alone. Close it.
func (q *Quarantine) Reader() (*Reader, error) {
	r, err := q.repo.Reader()
	if err != nil {
		return nil, err
	}
	if q.small != nil {
		r.held = q.small.objects
	}
	if q.big == nil {
		return r, nil
	}
	if r.over, err = q.big.Reader(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Discard removes what was not moved in. It may be called again.
func (q *Quarantine) Discard() error {
	big := q.big
	q.small, q.big = nil, nil
	if big == nil {
		return nil
	}
	return big.doom()
}

// moveIn makes the objects part of the repository, durably. The quarantine is empty then.
func (q *Quarantine) moveIn() error {
	if q.small != nil {
		if err := q.repo.add(q.small); err != nil {
			return fmt.Errorf("store pack: %w", err)
		}
	}
	if q.big != nil {
		if err := q.movePacks(); err != nil {
			return fmt.Errorf("store pack: %w", err)
		}
	}
	return q.Discard()
}

// add writes a small pack. Handles that are open need not learn of it: its objects stay in memory until they do.
func (r *Repository) add(p *smallPack) error {
	base := filepath.Join(r.dir, "objects", "pack", p.name)
	if err := replaceFile(base+".idx", p.idx); err != nil {
		return err
	}
	if err := writeDurably(base+".pack", p.pack); err != nil {
		return err
	}
	r.mu.Lock()
	full := len(r.recent) == maxRecent
	if !full {
		r.recent = append(slices.Clip(r.recent), p.objects)
	}
	r.mu.Unlock()
	if full {
		r.changed()
	}
	return nil
}

func (q *Quarantine) movePacks() error {
	from, to := filepath.Join(q.big.dir, "objects", "pack"), filepath.Join(q.repo.dir, "objects", "pack")
	names, err := filepath.Glob(filepath.Join(from, "pack-*"))
	if err != nil {
		return err
	}
	slices.SortFunc(names, func(a, b string) int { // .idx before .pack, as in index
		return strings.Compare(filepath.Ext(a), filepath.Ext(b))
	})
	for _, name := range names {
		if err := os.Rename(name, filepath.Join(to, filepath.Base(name))); err != nil {
			return err
		}
	}
	q.repo.changed()
	return syncDir(to)
}
