package gitsource

import (
	"cmp"
	"fmt"
	"iter"
	"strings"

	"github.com/tidwall/btree"

	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// An index knows which objects the files of a source bring, so that two documents of one object are found when only one
// of the files was changed. It does not change: with makes another one, which shares what is the same.
type index struct {
	places *btree.BTreeG[place]
	files  *btree.BTreeG[fileIDs]
}

// A place is where an object stands.
type place struct {
	id     decode.ID
	origin decode.Origin
}

// fileIDs are the objects of one file.
type fileIDs struct {
	path string
	ids  []decode.ID
}

func newIndex() *index {
	return &index{btree.NewBTreeG(lessPlace), btree.NewBTreeG(lessFile)}
}

func lessPlace(a, b place) bool  { return compareIDs(a.id, b.id) < 0 }
func lessFile(a, b fileIDs) bool { return a.path < b.path }

func compareIDs(a, b decode.ID) int {
	return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name),
		strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Group, b.Group))
}

// with is the index after files are as they are now and gone are no more. Of two documents of one object the later one is
// an error that names both.
func (x *index) with(files []File, gone []string, kinds decode.Kinds, namespace string) (*index, decode.Errors) {
	y := &index{x.places.Copy(), x.files.Copy()}
	for _, path := range gone {
		y.drop(path)
	}
	for _, f := range files {
		y.drop(f.Path)
	}
	var errs decode.Errors
	for _, f := range files {
		ids := make([]decode.ID, 0, len(f.Documents))
		for _, d := range f.Documents {
			id := d.ID(kinds, namespace)
			ids = append(ids, id)
			if first, twice := y.places.Get(place{id: id}); twice {
				errs = append(errs, duplicate(id, first.origin, d.Origin))
				continue
			}
			y.places.Set(place{id, d.Origin})
		}
		y.files.Set(fileIDs{f.Path, ids})
	}
	return y, errs
}

func duplicate(id decode.ID, a, b decode.Origin) decode.Error {
	return decode.Error{Path: b.Path, Line: b.Line, Message: fmt.Sprintf("%s is there already, at %s", id, a)}
}

// drop forgets a file.
func (x *index) drop(path string) {
	old, ok := x.files.Delete(fileIDs{path: path})
	if !ok {
		return
	}
	for _, id := range old.ids {
		if p, ok := x.places.Get(place{id: id}); ok && p.origin.Path == path {
			x.places.Delete(p)
		}
	}
}

// indexed is an index, and the folder that it is of.
type indexed struct {
	tree  tree.Hash
	index *index
}

// keepIndexes is how many: that of the applied commit, and of some that were pushed and not accepted.
const keepIndexes = 4

func (s *Source) remember(folder tree.Hash, x *index) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known = append(s.known, indexed{folder, x}); len(s.known) > keepIndexes {
		s.known = s.known[1:]
	}
}

func (s *Source) recall(folder tree.Hash) *index {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, k := range s.known {
		if k.tree == folder {
			s.known = append(append(s.known[:i:i], s.known[i+1:]...), k)
			return k.index
		}
	}
	return nil
}

// index returns what a folder brings. If nobody has told, all of it is decoded; what has errors was taken as it is before.
func (l load) index(folder tree.Side) (*index, error) {
	if folder.Tree.IsZero() {
		return newIndex(), nil
	}
	if x := l.recall(folder.Tree); x != nil {
		return x, nil
	}
	var all Change
	jobs, _, err := l.compare(tree.Side{}, folder, &all)
	if err != nil {
		return nil, err
	}
	results, err := l.decode(jobs)
	if err != nil {
		return nil, err
	}
	for i, r := range results {
		all.Files = append(all.Files, File{jobs[i].path, jobs[i].blob, r.Documents})
	}
	x, _ := newIndex().with(all.Files, nil, l.spec.Kinds, l.spec.Namespace)
	l.remember(folder.Tree, x)
	return x, nil
}

// Seed tells which objects a commit has brought, and where they stand, as the caller has written it down. Without it the
// first Load after a start decodes all of the older commit, to find two documents of one object.
func (s *Source) Seed(c Commit, objects iter.Seq2[decode.ID, decode.Origin]) error {
	rd, err := s.origin.open()
	if err != nil {
		return fmt.Errorf("seed %s: %w", c.Hash.Short(), err)
	}
	defer rd.Close()
	side, err := load{Source: s, rd: rd}.side(c)
	if err != nil {
		return fmt.Errorf("seed %s: %w", c.Hash.Short(), err)
	}
	x := newIndex()
	for id, origin := range objects {
		x.places.Set(place{id, origin})
		f, _ := x.files.Get(fileIDs{path: origin.Path})
		x.files.Set(fileIDs{origin.Path, append(f.ids, id)})
	}
	s.remember(side.Tree, x)
	return nil
}
