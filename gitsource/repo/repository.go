// Package repo keeps Git repositories on disk and brings them up to date: bare mirrors of remotes, the repositories that
// live in Mainstay and are pushed to, and what lies on this machine. It hands out commits, and readers of trees and blobs.
package repo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

const (
	objectCache = 4 << 20 // bytes of delta bases that an open handle keeps
	keepIdle    = 1       // handles that a repository keeps open between jobs
)

// A Repository is a bare repository on disk. It is safe for concurrent use: each job takes a Reader of its own, since no
// type of go-git may be shared.
type Repository struct {
	dir string

	writes sync.Mutex // held while refs move, or packs are put together

	mu     sync.Mutex
	idle   []*handle
	recent []held // objects of packs that the handles of this epoch do not know
	epoch  int    // handles of older ones do not know all packs
	inUse  int
	doomed bool // remove the folder when the last reader is closed
}

// A handle is an open storage, of one goroutine.
type handle struct {
	*filesystem.Storage
	epoch int
}

// Init makes an empty bare repository whose HEAD is the branch main. A folder that is one already is left as it is.
func Init(dir string) (*Repository, error) {
	for _, sub := range []string{"objects/info", "objects/pack", "refs/heads", "refs/tags"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("make repository: %w", err)
		}
	}
	config := "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"
	for name, content := range map[string]string{"config": config, "HEAD": "ref: refs/heads/main\n"} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := writeDurably(filepath.Join(dir, name), []byte(content)); err != nil {
			return nil, fmt.Errorf("make repository: %w", err)
		}
	}
	return &Repository{dir: dir}, nil
}

// Dir is the folder of the repository.
func (r *Repository) Dir() string { return r.dir }

// Reader opens the repository for reading, for one goroutine. Close it.
func (r *Repository) Reader() (*Reader, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.doomed {
		return nil, fmt.Errorf("open repository %s: %w", r.dir, fs.ErrClosed)
	}
	r.inUse++
	return &Reader{repo: r, handle: r.takeHandle(), recent: r.recent}, nil
}

// takeHandle needs r.mu.
func (r *Repository) takeHandle() *handle {
	if n := len(r.idle); n > 0 {
		h := r.idle[n-1]
		r.idle = r.idle[:n-1]
		return h
	}
	return &handle{openStorage(r.dir), r.epoch}
}

func openStorage(dir string) *filesystem.Storage {
	return filesystem.NewStorageWithOptions(
		osfs.New(dir, osfs.WithBoundOS()), cache.NewObjectLRU(objectCache),
		filesystem.Options{KeepDescriptors: true, LargeObjectThreshold: maxBlob, AlternatesFS: osfs.New("/", osfs.WithBoundOS())})
}

// giveBack returns a handle to the pool, or closes it.
func (r *Repository) giveBack(h *handle) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inUse--
	if h.epoch == r.epoch && len(r.idle) < keepIdle && !r.doomed {
		r.idle = append(r.idle, h)
	} else {
		h.Close()
	}
	r.removeIfDoomed()
}

// changed says that packs came or went: handles that are open do not know.
func (r *Repository) changed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.change()
}

// change needs r.mu.
func (r *Repository) change() {
	r.epoch++
	r.recent = nil
	for _, h := range r.idle {
		h.Close()
	}
	r.idle = nil
}

// isStale says whether packs came or went since h was opened.
func (r *Repository) isStale(h *handle) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return h.epoch != r.epoch
}

// renew trades a handle for one that knows today's packs.
func (r *Repository) renew(h *handle) *handle {
	h.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	return &handle{openStorage(r.dir), r.epoch}
}

// doom removes the repository's folder as soon as nobody reads in it.
func (r *Repository) doom() error {
	r.changed()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doomed = true
	return r.removeIfDoomed()
}

// removeIfDoomed needs r.mu.
func (r *Repository) removeIfDoomed() error {
	if !r.doomed || r.inUse > 0 {
		return nil
	}
	return os.RemoveAll(r.dir)
}

// Close closes what is open and unused. Readers stay good.
func (r *Repository) Close() error {
	r.changed()
	return nil
}

func goHash(h tree.Hash) plumbing.Hash { return plumbing.Hash(h) }
