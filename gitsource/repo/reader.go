package repo

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

const (
	maxBlob = 16 << 20 // bytes of a file that is read whole
	maxMeta = 32 << 20 // bytes of a tree, commit or tag
)

// A Reader reads one repository, and over it what a push has brought that is not accepted yet. It is for one goroutine.
// It implements tree.Objects.
type Reader struct {
	repo   *Repository
	handle *handle
	recent []held  // objects that the handle does not know
	held   held    // objects of a small push
	over   *Reader // of the quarantine of a big push
	fresh  bool    // the handle was opened by this reader
}

// An object as it lies in the repository.
type object struct {
	kind plumbing.ObjectType
	data []byte
}

// held are objects in memory. They do not change.
type held map[tree.Hash]object

var _ tree.Objects = (*Reader)(nil)

// Close gives back what the reader holds. It may be called again.
func (r *Reader) Close() {
	if r.handle != nil {
		r.repo.giveBack(r.handle)
		r.handle = nil
	}
	if r.over != nil {
		r.over.Close()
	}
}

// Tree returns the entries of a tree.
func (r *Reader) Tree(h tree.Hash) ([]tree.Entry, error) {
	data, err := r.read(h, plumbing.TreeObject, maxMeta)
	if err != nil {
		return nil, err
	}
	return tree.Parse(data)
}

// Blob returns the content of a file of at most 16 MiB.
func (r *Reader) Blob(h tree.Hash) ([]byte, error) {
	return r.read(h, plumbing.BlobObject, maxBlob)
}

// Commit returns a commit, or the one that an annotated tag names.
func (r *Reader) Commit(h tree.Hash) (Commit, error) {
	for range 10 { // a tag may name a tag
		o, err := r.any(h, maxMeta)
		if err != nil {
			return Commit{}, fmt.Errorf("commit %s: %w", h.Short(), err)
		}
		switch o.kind {
		case plumbing.CommitObject:
			return parseCommit(h, o.data)
		case plumbing.TagObject:
			if h, err = parseTag(o.data); err != nil {
				return Commit{}, err
			}
		default:
			return Commit{}, fmt.Errorf("%s is a %s, not a commit: %w", h.Short(), o.kind, ErrNotCommit)
		}
	}
	return Commit{}, fmt.Errorf("tag %s names a tag that names a tag, and so on: %w", h.Short(), ErrNotCommit)
}

// Has says whether the object is there, without reading it.
func (r *Reader) Has(h tree.Hash) bool { return r.isNew(h) || r.hasOld(h) }

// isNew says whether the object is one that the push has brought.
func (r *Reader) isNew(h tree.Hash) bool {
	if _, ok := r.held[h]; ok {
		return true
	}
	return r.over != nil && r.over.hasOld(h)
}

// hasOld says whether the object is in the repository itself.
func (r *Reader) hasOld(h tree.Hash) bool {
	if _, recent := inMemory(r.recent, h); recent {
		return true
	}
	for {
		err := r.handle.HasEncodedObject(goHash(h))
		if err == nil || errors.Is(err, plumbing.ErrObjectNotFound) || !r.renew() {
			return err == nil
		}
	}
}

func inMemory(all []held, h tree.Hash) (object, bool) {
	for _, some := range all {
		if o, ok := some[h]; ok {
			return o, true
		}
	}
	return object{}, false
}

func (r *Reader) read(h tree.Hash, want plumbing.ObjectType, limit int64) ([]byte, error) {
	o, err := r.any(h, limit)
	if err == nil && o.kind != want {
		err = fmt.Errorf("is a %s: %w", o.kind, tree.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", want, h.Short(), err)
	}
	return o.data, nil
}

// any reads an object of any kind.
func (r *Reader) any(h tree.Hash, limit int64) (object, error) {
	o, ok := r.held[h]
	if !ok {
		o, ok = inMemory(r.recent, h)
	}
	if ok {
		return o, nil // none of them is big
	}
	if r.over != nil {
		if o, err := r.over.stored(h, limit); err == nil || errors.Is(err, tree.ErrTooBig) {
			return o, err
		}
	}
	for {
		o, err := r.stored(h, limit)
		if err == nil || errors.Is(err, tree.ErrTooBig) || !r.renew() {
			return o, err
		}
	}
}

// renew opens the repository anew if its packs are others by now. Where somebody else may pack it, that is tried once.
func (r *Reader) renew() bool {
	stale := r.repo.isStale(r.handle)
	if r.fresh && !stale {
		return false
	}
	r.fresh = true
	r.handle = r.repo.renew(r.handle)
	return true
}

// stored reads an object from disk.
func (r *Reader) stored(h tree.Hash, limit int64) (object, error) {
	enc, err := r.handle.EncodedObject(plumbing.AnyObject, goHash(h))
	switch {
	case errors.Is(err, plumbing.ErrObjectNotFound):
		return object{}, tree.ErrNotFound
	case err != nil:
		return object{}, err
	case enc.Size() > limit:
		return object{}, fmt.Errorf("%d bytes, the limit is %d: %w", enc.Size(), limit, tree.ErrTooBig)
	}
	data, err := content(enc)
	if err != nil {
		return object{}, err
	}
	if tree.HashOf(enc.Type().String(), data) != h {
		return object{}, ErrDamaged
	}
	return object{enc.Type(), data}, nil
}

func content(enc plumbing.EncodedObject) ([]byte, error) {
	rd, err := enc.Reader()
	if err != nil {
		return nil, err
	}
	defer rd.Close()
	data := make([]byte, enc.Size())
	_, err = io.ReadFull(rd, data)
	return data, err
}
