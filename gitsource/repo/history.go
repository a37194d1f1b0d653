package repo

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// ErrMissing says that a pack leaves out what its objects refer to, or brings what nothing refers to.
var ErrMissing = errors.New("the pack is not complete")

// IsCommit says whether h is a commit itself, not a tag that names one.
func (r *Reader) IsCommit(h tree.Hash) bool {
	o, err := r.any(h, maxMeta)
	return err == nil && o.kind == plumbing.CommitObject
}

// IsAncestor says whether one can go from the commit new back to the commit old.
func (r *Reader) IsAncestor(old, new tree.Hash) (bool, error) {
	seen := map[tree.Hash]bool{new: true}
	for todo := []tree.Hash{new}; len(todo) > 0; todo = todo[1:] { // breadth first: mostly it is near
		if todo[0] == old {
			return true, nil
		}
		c, err := r.Commit(todo[0])
		if err != nil {
			return false, err
		}
		for _, p := range c.Parents {
			if !seen[p] {
				seen[p] = true
				todo = append(todo, p)
			}
		}
	}
	return false, nil
}

// Connected checks that all that can be reached from tips is there, and that the quarantine has nothing else. What the
// repository has is complete, since everything came in by this check.
func (q *Quarantine) Connected(tips []tree.Hash) error {
	r, err := q.Reader()
	if err != nil {
		return err
	}
	defer r.Close()
	w := walker{Reader: r, seen: map[tree.Hash]bool{}}
	for _, tip := range tips {
		w.want(wanted{hash: tip, kind: plumbing.AnyObject})
	}
	for len(w.todo) > 0 {
		last := len(w.todo) - 1
		next := w.todo[last]
		w.todo = w.todo[:last]
		if err := w.visit(next); err != nil {
			return err
		}
	}
	brought, err := q.objects()
	if err != nil {
		return err
	}
	for _, h := range brought {
		if !w.seen[h] && !r.hasOld(h) {
			return fmt.Errorf("%w: nothing refers to %s", ErrMissing, h.Short())
		}
	}
	return nil
}

// A walker goes through new objects.
type walker struct {
	*Reader
	seen map[tree.Hash]bool
	todo []wanted
}

// wanted is an object of a kind; AnyObject if any will do. For a tree, was is the one in its place in a commit that was
// here before: what it has, need not be looked for.
type wanted struct {
	hash tree.Hash
	kind plumbing.ObjectType
	was  tree.Hash
}

func (w *walker) want(next wanted) {
	if !w.seen[next.hash] {
		w.seen[next.hash] = true
		w.todo = append(w.todo, next)
	}
}

func (w *walker) visit(next wanted) error {
	if !w.isNew(next.hash) {
		if !w.hasOld(next.hash) {
			return fmt.Errorf("%w: %s %s is missing", ErrMissing, next.kind, next.hash.Short())
		}
		return nil
	}
	if next.kind == plumbing.BlobObject {
		return nil
	}
	o, err := w.any(next.hash, maxMeta)
	if err != nil {
		return err
	}
	if next.kind != plumbing.AnyObject && o.kind != next.kind {
		return fmt.Errorf("%w: %s is a %s, not a %s", ErrBadPack, next.hash.Short(), o.kind, next.kind)
	}
	return w.follow(next, o)
}

// follow wants what an object refers to.
func (w *walker) follow(from wanted, o object) error {
	switch o.kind {
	case plumbing.CommitObject:
		return w.followCommit(from.hash, o.data)
	case plumbing.TagObject:
		target, err := parseTag(o.data)
		if err != nil {
			return err
		}
		w.want(wanted{hash: target, kind: plumbing.AnyObject})
	case plumbing.TreeObject:
		return w.followTree(from, o.data)
	}
	return nil
}

func (w *walker) followCommit(h tree.Hash, data []byte) error {
	c, err := parseCommit(h, data)
	if err != nil {
		return err
	}
	root := wanted{hash: c.Tree, kind: plumbing.TreeObject}
	for _, p := range c.Parents {
		w.want(wanted{hash: p, kind: plumbing.CommitObject})
		if w.isNew(p) {
			continue // its tree is not looked through yet
		}
		if parent, err := w.Commit(p); err == nil { // else it is found missing in its turn
			root.was = parent.Tree
		}
	}
	w.want(root)
	return nil
}

func (w *walker) followTree(from wanted, data []byte) error {
	entries, err := tree.Parse(data)
	if err != nil {
		return fmt.Errorf("tree %s: %w", from.hash.Short(), err)
	}
	before := w.entries(from.was)
	for _, e := range entries {
		old := before[e.Name]
		switch {
		case e.Mode == tree.Submodule, e == old: // a submodule's commit is in another repository
		case e.Mode == tree.Folder && old.Mode == tree.Folder:
			w.want(wanted{e.Hash, plumbing.TreeObject, old.Hash})
		case e.Mode == tree.Folder:
			w.want(wanted{hash: e.Hash, kind: plumbing.TreeObject})
		default:
			w.want(wanted{hash: e.Hash, kind: plumbing.BlobObject})
		}
	}
	return nil
}

// entries are those of a tree by name; none of one that is not there.
func (w *walker) entries(h tree.Hash) map[string]tree.Entry {
	byName := map[string]tree.Entry{}
	if h.IsZero() {
		return byName
	}
	entries, err := w.Tree(h)
	if err != nil {
		return byName // nothing is known, so all will be looked for
	}
	for _, e := range entries {
		byName[e.Name] = e
	}
	return byName
}

// objects are the names of all that is in quarantine.
func (q *Quarantine) objects() ([]tree.Hash, error) {
	var all []tree.Hash
	if q.small != nil {
		all = slices.Collect(maps.Keys(q.small.objects))
	}
	if q.big == nil {
		return all, nil
	}
	packs, err := q.big.packs()
	if err != nil {
		return nil, err
	}
	return packedObjects(packs)
}
