// Package gitsource turns a repository at a commit into documents: it fetches, finds the manifests below a path, and
// decodes what has changed since another commit.
package gitsource

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"sync"

	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/gitsource/render"
	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// A Commit is a state of a source. The zero Commit is the one before all others.
type Commit = repo.Commit

// A Spec says what to follow.
type Spec struct {
	// URL is http://, https://, ssh://, user@host:path, file:///path (a repository or a plain folder of this machine), or
	// builtin:NAME.
	URL string
	// Folder takes what file:// names as a plain folder even if it is a repository: its files as they are, committed or not.
	Folder bool
	Rev    repo.Rev
	// Path is the folder in the repository to read; "" is all of it.
	Path string
	// Namespace of documents that name none. It counts for finding two documents of one object; documents stay as they are.
	Namespace string
	Auth      repo.Credentials

	Kinds decode.Kinds
	// Cache may be shared among sources that mean the same Kinds; nil: one of 16 MiB.
	Cache *decode.Cache
	// Dir is a folder of this source alone, for the mirror of a remote. It is made if need be.
	Dir string
	// Hosted has the repositories that builtin: means. It may be nil if there are none.
	Hosted *repo.Hosted
}

var (
	// ErrPath says that the source's path is not in the repository.
	ErrPath = errors.New("is not in the repository")
	// ErrSpec says that a source cannot be as it is described.
	ErrSpec = errors.New("bad source")
)

// A Reader reads objects, for one goroutine.
type Reader interface {
	tree.Objects
	Close()
}

// An Opener opens readers. They may be used side by side.
type Opener func() (Reader, error)

// A Source is a repository that is followed. It is safe for concurrent use.
type Source struct {
	spec   Spec
	origin origin

	mu    sync.Mutex
	known []indexed // what the last few loads have found, the latest last
}

// An origin is where the commits of a source come from.
type origin interface {
	fetch(context.Context) (Commit, error)
	open() (Reader, error)
	// forget is called when what was fetched cannot be read.
	forget() error
	close() error
}

// Open opens a source. Nothing is fetched yet.
func Open(spec Spec) (*Source, error) {
	clean, err := cleanPath(spec.Path)
	if err != nil {
		return nil, err
	}
	spec.Path = clean
	if spec.Cache == nil {
		spec.Cache = decode.NewCache(16 << 20)
	}
	o, err := openOrigin(spec)
	if err != nil {
		return nil, err
	}
	return &Source{spec: spec, origin: o}, nil
}

// cleanPath is a path below the root, without slashes around it; "" is the root.
func cleanPath(p string) (string, error) {
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return "", fmt.Errorf("%w: the path %q leads out of the repository", ErrSpec, p)
		}
	}
	return strings.TrimPrefix(path.Clean("/"+p), "/"), nil
}

func openOrigin(spec Spec) (origin, error) {
	if name, ok := strings.CutPrefix(spec.URL, "builtin:"); ok {
		return openHosted(spec, name)
	}
	if strings.HasPrefix(spec.URL, "file:") {
		return openFile(spec)
	}
	m, err := repo.OpenMirror(spec.Dir, repo.Remote{URL: spec.URL, Rev: spec.Rev, Auth: spec.Auth})
	if err != nil {
		return nil, err
	}
	return mirror{m}, nil
}

func openHosted(spec Spec, name string) (origin, error) {
	if spec.Hosted == nil {
		return nil, fmt.Errorf("%w: there are no built-in repositories here", ErrSpec)
	}
	if _, err := spec.Hosted.Open(name); err != nil {
		return nil, err
	}
	return hosted{spec.Hosted, name, spec.Rev}, spec.Rev.Check()
}

func openFile(spec Spec) (origin, error) {
	u, err := url.Parse(spec.URL)
	if err != nil || u.Scheme != "file" || u.Host != "" || !path.IsAbs(u.Path) {
		return nil, fmt.Errorf("%w: write file:///path, with three slashes", ErrSpec)
	}
	if !spec.Folder {
		l, err := repo.FindLocal(u.Path, spec.Rev)
		if err == nil {
			return local{l}, nil
		}
		if !errors.Is(err, tree.ErrNotFound) {
			return nil, err
		}
	}
	if spec.Rev != (repo.Rev{}) {
		return nil, fmt.Errorf("%w: %s is a plain folder, it has no %s", ErrSpec, u.Path, spec.Rev)
	}
	f, err := repo.OpenFolder(u.Path, wanted)
	if err != nil {
		return nil, err
	}
	return folder{f}, nil
}

// wanted says which names of a plain folder matter.
func wanted(name string, folder bool) bool {
	if folder {
		return !strings.HasPrefix(name, ".")
	}
	return render.Candidate(name)
}

// Fetch finds out the commit that the source is at, and brings it here. If nothing is new that costs one question to the
// remote.
func (s *Source) Fetch(ctx context.Context) (Commit, error) { return s.origin.fetch(ctx) }

// Close gives back what the source holds open.
func (s *Source) Close() error { return s.origin.close() }

// Local is the folder of this machine that the source reads, for a trigger to watch: with git set, that of a repository,
// bare or not. ok is false if it is elsewhere, or built in.
func (s *Source) Local() (dir string, git, ok bool) {
	switch o := s.origin.(type) {
	case local:
		return o.Dir(), true, true
	case folder:
		return o.Dir(), false, true
	}
	return "", false, false
}

// Commit looks up a commit that was fetched. tree.ErrNotFound: it is not here any more, or never was.
func (s *Source) Commit(h tree.Hash) (Commit, error) {
	rd, err := s.origin.open()
	if err != nil {
		return Commit{}, err
	}
	defer rd.Close()
	if commits, ok := rd.(interface {
		Commit(tree.Hash) (Commit, error)
	}); ok {
		return commits.Commit(h)
	}
	_, err = rd.Tree(h) // of a plain folder, where a commit is named as its tree
	return Commit{Hash: h, Tree: h}, err
}

type mirror struct{ *repo.Mirror }

func (m mirror) fetch(ctx context.Context) (Commit, error) { return m.Fetch(ctx) }
func (m mirror) open() (Reader, error)                     { return opened(m.Reader()) }
func (m mirror) forget() error                             { return m.Forget() }
func (m mirror) close() error                              { return m.Close() }

type local struct{ *repo.Local }

func (l local) fetch(context.Context) (Commit, error) { return l.Fetch() }
func (l local) open() (Reader, error)                 { return opened(l.Reader()) }
func (l local) forget() error                         { return nil }
func (l local) close() error                          { return l.Close() }

type folder struct{ *repo.Folder }

func (f folder) fetch(ctx context.Context) (Commit, error) { return f.Fetch(ctx) }
func (f folder) open() (Reader, error)                     { return f.Reader() }
func (f folder) forget() error                             { return nil }
func (f folder) close() error                              { return nil }

// hosted opens the repository anew each time: it may have been deleted, or made again.
type hosted struct {
	all  *repo.Hosted
	name string
	rev  repo.Rev
}

func (h hosted) fetch(context.Context) (Commit, error) {
	r, err := h.all.Open(h.name)
	if err != nil {
		return Commit{}, err
	}
	return r.At(h.rev)
}

func (h hosted) open() (Reader, error) {
	r, err := h.all.Open(h.name)
	if err != nil {
		return nil, err
	}
	return opened(r.Reader())
}

func (h hosted) forget() error { return nil }
func (h hosted) close() error  { return nil }

// opened keeps a nil pointer from becoming a Reader that is not nil.
func opened(r *repo.Reader, err error) (Reader, error) {
	if err != nil {
		return nil, err
	}
	return r, nil
}
