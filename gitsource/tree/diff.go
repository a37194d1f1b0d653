package tree

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// What Diff is willing to walk. A tree of a few kilobytes can name a folder within a folder ten to the tenth times.
const (
	MaxDepth   = 100
	MaxEntries = 2_000_000
)

// Rules say which entries of a folder count. They may depend on what lies in it, as with an ignore file.
type Rules interface {
	// Enter returns the rules inside of the folder at path ("" is the root), which has these entries.
	Enter(o Objects, path string, entries []Entry) (Rules, error)
	// Keep says whether the entry at path counts. A folder that does not is not entered.
	Keep(path string, e Entry) bool
	// Same says whether other would keep what these rules keep, in this folder and below.
	Same(other Rules) bool
}

// A Side is a tree and the rules that choose from it. The zero Side is empty; without Rules everything counts.
type Side struct {
	Tree  Hash
	Rules Rules
}

// A Change is what differs at a path that is no folder. Old is absent (the zero Entry) if it is new, New if it is gone.
type Change struct {
	Path     string
	Old, New Entry
}

// Diff tells what differs between from and to, by name within each folder. Folders of equal hash and rules are not
// looked into. From the zero Side it lists everything. An error ends the sequence.
func Diff(o Objects, from, to Side) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		d := differ{objects: o, yield: yield}
		if err := d.folder("", from, to, 0); err != nil && !errors.Is(err, errStop) {
			yield(Change{}, err)
		}
	}
}

// errStop says that the caller has seen enough.
var errStop = errors.New("stop")

type differ struct {
	objects Objects
	yield   func(Change, error) bool
	visited int
}

// folder compares two folders at path. A zero Tree is an absent folder.
func (d *differ) folder(path string, from, to Side, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("walk %s: folders are nested deeper than %d: %w", path, MaxDepth, ErrTooBig)
	}
	if from.Tree == to.Tree && same(from.Rules, to.Rules) {
		return nil
	}
	olds, err := d.open(path, &from)
	if err != nil {
		return err
	}
	news, err := d.open(path, &to)
	if err != nil {
		return err
	}
	for old, new := range pairs(olds, news) {
		if err := d.entry(path, from.Rules, to.Rules, old, new, depth); err != nil {
			return err
		}
	}
	return nil
}

func same(a, b Rules) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Same(b)
}

// open reads a folder and turns the rules of side into those inside of it.
func (d *differ) open(path string, side *Side) ([]Entry, error) {
	if side.Tree.IsZero() {
		return nil, nil
	}
	entries, err := d.objects.Tree(side.Tree)
	if err != nil {
		return nil, fmt.Errorf("read folder /%s: %w", path, err)
	}
	if d.visited += len(entries); d.visited > MaxEntries {
		return nil, fmt.Errorf("walk /%s: more than %d entries: %w", path, MaxEntries, ErrTooBig)
	}
	if side.Rules != nil {
		if side.Rules, err = side.Rules.Enter(d.objects, path, entries); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// pairs matches the entries of two folders by name; the absent half of a pair is the zero Entry.
func pairs(olds, news []Entry) iter.Seq2[Entry, Entry] {
	return func(yield func(Entry, Entry) bool) {
		olds, news := sorted(olds), sorted(news)
		for len(olds) > 0 || len(news) > 0 {
			var old, new Entry
			c := 0
			switch {
			case len(olds) == 0:
				c = 1
			case len(news) == 0:
				c = -1
			default:
				c = byName(olds[0], news[0])
			}
			if c <= 0 {
				old, olds = olds[0], olds[1:]
			}
			if c >= 0 {
				new, news = news[0], news[1:]
			}
			if !yield(old, new) {
				return
			}
		}
	}
}

func sorted(entries []Entry) []Entry {
	if slices.IsSortedFunc(entries, byName) {
		return entries
	}
	return slices.SortedFunc(slices.Values(entries), byName)
}

// entry compares what two folders have under one name. Either half may be a folder, the other not.
func (d *differ) entry(dir string, oldRules, newRules Rules, old, new Entry, depth int) error {
	path := Join(dir, max(old.Name, new.Name))
	old, new = keep(oldRules, path, old), keep(newRules, path, new)

	from, to := Side{Rules: oldRules}, Side{Rules: newRules}
	if old.Mode == Folder {
		from.Tree, old = old.Hash, Entry{}
	}
	if new.Mode == Folder {
		to.Tree, new = new.Hash, Entry{}
	}
	if old != new && !d.yield(Change{Path: path, Old: old, New: new}, nil) {
		return errStop
	}
	if from.Tree.IsZero() && to.Tree.IsZero() {
		return nil
	}
	return d.folder(path, from, to, depth+1)
}

func keep(r Rules, path string, e Entry) Entry {
	if e.Mode == 0 || r != nil && !r.Keep(path, e) {
		return Entry{}
	}
	return e
}

// Join is the path of name in the folder dir, which may be "".
func Join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// Find returns what lies at path below the tree root: "" or "." is the root itself. ErrNotFound: nothing does.
func Find(o Objects, root Hash, path string) (Entry, error) {
	at := Entry{Mode: Folder, Hash: root}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." {
			continue
		}
		if at.Mode != Folder {
			return Entry{}, fmt.Errorf("%s: %w", path, ErrNotFound)
		}
		entries, err := o.Tree(at.Hash)
		if err != nil {
			return Entry{}, fmt.Errorf("find %s: %w", path, err)
		}
		i := slices.IndexFunc(entries, func(e Entry) bool { return e.Name == name })
		if i < 0 {
			return Entry{}, fmt.Errorf("%s: %w", path, ErrNotFound)
		}
		at = entries[i]
	}
	return at, nil
}
