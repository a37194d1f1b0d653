package gitsource

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/gitsource/render"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// A Change is what happened to the manifests of a source between two commits.
type Change struct {
	Commit Commit // the newer one
	// All says that Files is everything that there is: the older commit was the zero one, or is not here any more. What
	// is not in Files then is gone.
	All       bool
	Files     []File   // new, or with other content; by path
	Gone      []string // paths of files that are no manifests any more; sorted
	Notes     []decode.Note
	Manifests int // files in the newer commit
}

// A File is a manifest.
type File struct {
	Path      string // in the repository
	Blob      tree.Hash
	Documents []decode.Document
}

// Invalid says that a commit cannot be applied, with all that is wrong in what has changed.
type Invalid struct {
	Errors    decode.Errors
	Manifests int    // files that were looked at
	Decoded   Change // what of the change is not wrong so far: for who looks for more
}

// Error has a first line that sums up, and a line for each error.
func (e *Invalid) Error() string {
	return fmt.Sprintf("%s in %s\n%s", count(len(e.Errors), "error"),
		fmt.Sprintf("%d of %s", e.Errors.Paths(), count(e.Manifests, "manifest")), e.Errors)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Load tells what changed in the manifests from one commit to another, and decodes what is new. It walks only folders that
// differ. If the manifests cannot be used the error is an *Invalid; if they cannot be read it may help to Fetch again.
func (s *Source) Load(ctx context.Context, from, to Commit) (Change, error) {
	c, err := s.LoadFrom(ctx, s.origin.open, from, to)
	if err == nil || ctx.Err() != nil || errors.Is(err, ErrPath) {
		return c, err
	}
	if _, ok := errors.AsType[*Invalid](err); ok {
		return c, err
	}
	if _, missing := s.Commit(to.Hash); errors.Is(missing, tree.ErrNotFound) {
		return c, err // a newer commit was fetched meanwhile
	}
	return c, errors.Join(err, s.origin.forget())
}

// LoadFrom is Load with other readers: those of a push that is not accepted yet.
func (s *Source) LoadFrom(ctx context.Context, open Opener, from, to Commit) (Change, error) {
	rd, err := open()
	if err != nil {
		return Change{}, fmt.Errorf("load %s: %w", to.Hash.Short(), err)
	}
	defer rd.Close()
	l := load{Source: s, ctx: ctx, open: open, rd: rd}
	change, err := l.between(from, to)
	if errors.Is(err, tree.ErrNotFound) && !from.IsZero() && !errors.Is(err, ErrPath) {
		change, err = l.between(Commit{}, to) // the mirror has forgotten the older commit
	}
	if err != nil {
		if _, ok := errors.AsType[*Invalid](err); ok {
			return Change{}, err
		}
		return Change{}, fmt.Errorf("load %s: %w", to.Hash.Short(), err)
	}
	return change, nil
}

// Read decodes one file of a commit. tree.ErrNotFound: it is not there.
func (s *Source) Read(ctx context.Context, c Commit, path string) ([]decode.Document, error) {
	rd, err := s.origin.open()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	defer rd.Close()
	e, err := tree.Find(rd, c.Tree, path)
	if err == nil && !e.Mode.IsFile() {
		err = fmt.Errorf("it is no file: %w", tree.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s at %s: %w", path, c.Hash.Short(), err)
	}
	l := load{Source: s, ctx: ctx, rd: rd}
	r, err := l.file(rd, job{path, e.Hash})
	if err == nil && len(r.Errors) > 0 {
		err = &Invalid{Errors: r.Errors, Manifests: 1}
	}
	return r.Documents, err
}

// A load is one run of LoadFrom.
type load struct {
	*Source
	ctx  context.Context
	open Opener
	rd   Reader
}

// A job is a file to decode.
type job struct {
	path string
	blob tree.Hash
}

func (l load) between(from, to Commit) (Change, error) {
	newer, err := l.side(to)
	if err != nil {
		return Change{}, err
	}
	older, err := l.side(from)
	if err != nil && !errors.Is(err, ErrPath) {
		return Change{}, err
	}
	change := Change{Commit: to, All: from.IsZero()}
	jobs, errs, err := l.compare(older, newer, &change)
	if err != nil {
		return Change{}, err
	}
	looked := len(jobs) + len(errs)
	results, err := l.decode(jobs)
	if err != nil {
		return Change{}, err
	}
	for i, r := range results {
		errs = append(errs, r.Errors...)
		change.Notes = append(change.Notes, r.Notes...)
		change.Files = append(change.Files, File{jobs[i].path, jobs[i].blob, r.Documents})
	}
	before, err := l.index(older)
	if err != nil {
		return Change{}, err
	}
	after, twice := before.with(change.Files, change.Gone, l.spec.Kinds, l.spec.Namespace)
	if errs = append(errs, twice...).Sort(); len(errs) > 0 {
		return Change{}, &Invalid{errs, looked, change}
	}
	l.remember(newer.Tree, after)
	change.Manifests = after.files.Len()
	return change, nil
}

// side is the source's folder in a commit. ErrPath: it is not there.
func (l load) side(c Commit) (tree.Side, error) {
	if c.IsZero() {
		return tree.Side{}, nil
	}
	if _, err := l.rd.Tree(c.Tree); err != nil {
		return tree.Side{}, fmt.Errorf("commit %s: %w", c.Hash.Short(), err)
	}
	e, err := tree.Find(l.rd, c.Tree, l.spec.Path)
	if errors.Is(err, tree.ErrNotFound) || err == nil && e.Mode != tree.Folder {
		return tree.Side{}, fmt.Errorf("the folder %s %w at %s", l.spec.Path, ErrPath, c.Hash.Short())
	}
	return tree.Side{Tree: e.Hash, Rules: render.Rules()}, err
}

// compare sorts what differs: files to decode, files that are gone, notes, and what cannot be rendered.
func (l load) compare(older, newer tree.Side, change *Change) (jobs []job, errs decode.Errors, err error) {
	for c, err := range tree.Diff(l.rd, older, newer) {
		if err != nil {
			return nil, nil, err
		}
		path := tree.Join(l.spec.Path, c.Path)
		was, _ := render.Classify(c.Path, c.Old)
		is, why := render.Classify(c.Path, c.New)
		switch {
		case is == render.Manifest && was == render.Manifest && c.Old.Hash == c.New.Hash:
			// it may be executable now, or not any more
		case is == render.Manifest:
			jobs = append(jobs, job{path, c.New.Hash})
		case was == render.Manifest:
			change.Gone = append(change.Gone, path)
		}
		switch is {
		case render.Unsupported:
			errs = append(errs, decode.Error{Path: path, Message: why})
		case render.Link:
			change.Notes = append(change.Notes, decode.Note{Path: path, Message: why})
		}
	}
	slices.SortFunc(jobs, func(a, b job) int { return strings.Compare(a.path, b.path) })
	slices.Sort(change.Gone)
	return jobs, errs, l.ctx.Err()
}

// decode decodes files on as many cores as it is worth.
func (l load) decode(jobs []job) ([]decode.Result, error) {
	results := make([]decode.Result, len(jobs))
	workers := min(1+len(jobs)/16, runtime.GOMAXPROCS(0))
	var next atomic.Int64
	work := func(rd Reader) error {
		for i := int(next.Add(1)) - 1; i < len(jobs); i = int(next.Add(1)) - 1 {
			var err error
			if results[i], err = l.file(rd, jobs[i]); err != nil {
				next.Store(int64(len(jobs))) // the others need not go on
				return err
			}
		}
		return nil
	}
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := 1; w < workers; w++ {
		wg.Go(func() {
			rd, err := l.open()
			if err != nil {
				errs[w] = err
				return
			}
			defer rd.Close()
			errs[w] = work(rd)
		})
	}
	errs[0] = work(l.rd)
	wg.Wait()
	return results, errors.Join(errs...)
}

func (l load) file(rd Reader, j job) (decode.Result, error) {
	if err := l.ctx.Err(); err != nil {
		return decode.Result{}, err
	}
	r, err := l.spec.Cache.File(j.path, j.blob, l.spec.Kinds, func() ([]byte, error) { return rd.Blob(j.blob) })
	if errors.Is(err, tree.ErrTooBig) {
		return decode.Result{Errors: decode.Errors{{Path: j.path, Message: err.Error()}}}, nil
	}
	if err != nil {
		return decode.Result{}, fmt.Errorf("read %s: %w", j.path, err)
	}
	return r, nil
}
