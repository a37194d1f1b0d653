package repo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

var (
	// ErrName says that a name is none for a repository.
	ErrName = errors.New("a repository is named by up to 63 small letters, digits and dashes, with a letter or digit first and last")
	// ErrExists says that there is a repository of that name already.
	ErrExists = errors.New("the repository is there already")
)

// Hosted are the repositories that live in Mainstay and are pushed to. They have their whole history. It is safe for
// concurrent use; one process at a time has the folder.
type Hosted struct {
	dir  string
	mu   sync.Mutex
	open map[string]*Repository
}

// OpenHosted opens the folder in which the repositories are, and makes it if need be. What a killed process has left in
// them is removed.
func OpenHosted(dir string) (*Hosted, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open repositories: %w", err)
	}
	h := &Hosted{dir: dir, open: map[string]*Repository{}}
	names, err := h.List()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := sweep(h.path(name)); err != nil {
			return nil, fmt.Errorf("open repository %s: %w", name, err)
		}
	}
	return h, nil
}

// sweep removes what is not finished, and never will be.
func sweep(dir string) error {
	if err := os.RemoveAll(filepath.Join(dir, "quarantine")); err != nil {
		return err
	}
	for _, pattern := range []string{"objects/tmp_obj_*", "objects/pack/tmp_*", "objects/pack/.tmp-*", ".tmp-*"} {
		left, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, name := range left {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	if err := dropOrphans(filepath.Join(dir, "objects", "pack")); err != nil {
		return err
	}
	return filepath.WalkDir(filepath.Join(dir, "refs"), func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.HasSuffix(p, ".lock") {
			err = os.Remove(p)
		}
		return err
	})
}

// dropOrphans removes an index without its pack.
func dropOrphans(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "pack-*.idx"))
	for _, name := range names {
		if _, e := os.Stat(strings.TrimSuffix(name, ".idx") + ".pack"); errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, os.Remove(name))
		}
	}
	return err
}

// CheckName returns ErrName for what is no name for a repository. A good one is safe as a path, and in a URL.
func CheckName(name string) error {
	if len(name) == 0 || len(name) > 63 || name[0] == '-' || name[len(name)-1] == '-' {
		return ErrName
	}
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return ErrName
		}
	}
	return nil
}

func (h *Hosted) path(name string) string { return filepath.Join(h.dir, name+".git") }

// Create makes an empty repository. ErrExists: it is there; ErrName: it cannot be named so.
func (h *Hosted) Create(name string) (*Repository, error) {
	if err := CheckName(name); err != nil {
		return nil, fmt.Errorf("create repository %q: %w", name, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := os.Stat(h.path(name)); err == nil {
		return nil, fmt.Errorf("create repository %s: %w", name, ErrExists)
	}
	if _, err := Init(h.path(name)); err != nil {
		return nil, err
	}
	if err := syncDir(h.dir); err != nil {
		return nil, err
	}
	return h.get(name), nil
}

// Open returns the repository of that name, the same to all. tree.ErrNotFound: there is none.
func (h *Hosted) Open(name string) (*Repository, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if CheckName(name) == nil {
		if _, err := os.Stat(filepath.Join(h.path(name), "HEAD")); err == nil {
			return h.get(name), nil
		}
	}
	return nil, fmt.Errorf("repository %q: %w", name, tree.ErrNotFound)
}

// get needs h.mu.
func (h *Hosted) get(name string) *Repository {
	r, ok := h.open[name]
	if !ok {
		r = &Repository{dir: h.path(name)}
		h.open[name] = r
	}
	return r
}

// List returns the names of all repositories, sorted.
func (h *Hosted) List() ([]string, error) {
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".git"); ok && e.IsDir() && CheckName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Delete removes a repository with all its history. Who reads in it gets errors. tree.ErrNotFound: there is none.
func (h *Hosted) Delete(name string) error {
	if _, err := h.Open(name); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.get(name)
	delete(h.open, name)
	r.writes.Lock() // a push that is moving refs ends first
	defer r.writes.Unlock()
	gone := filepath.Join(h.dir, fmt.Sprintf(".deleted-%s-%d", name, os.Getpid()))
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("delete repository %s: %w", name, err)
	}
	if err := os.Rename(r.dir, gone); err != nil {
		return fmt.Errorf("delete repository %s: %w", name, err)
	}
	return os.RemoveAll(gone)
}

// Link makes the folder dir, which has all repositories as they are now, each as a whole: its files are links to theirs,
// which never change but are replaced. The caller removes it.
func (h *Hosted) Link(dir string) error {
	names, err := h.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		r, err := h.Open(name)
		if errors.Is(err, tree.ErrNotFound) {
			continue // deleted meanwhile
		}
		if err == nil {
			err = r.link(filepath.Join(dir, name+".git"))
		}
		if err != nil {
			return fmt.Errorf("link repository %s: %w", name, err)
		}
	}
	return os.MkdirAll(dir, 0o700)
}

// link is Link of one repository. Pushes wait meanwhile; what they have not finished is left out.
func (r *Repository) link(to string) error {
	r.writes.Lock()
	defer r.writes.Unlock()
	return filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		local, err := filepath.Rel(r.dir, path)
		switch {
		case err != nil:
			return err
		case local == "quarantine":
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, local), 0o700)
		}
		return os.Link(path, filepath.Join(to, local))
	})
}

// Close closes all repositories.
func (h *Hosted) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.open {
		r.Close()
	}
	clear(h.open)
	return nil
}
