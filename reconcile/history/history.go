// Package history remembers the commits that were applied, and what each of them was: for each source the last 500, or those
// of 90 days, whichever are fewer.
//
// It is records beside the objects, written in the transaction that applies a commit, and read when somebody asks. What the
// newest commit is, stands file by file; each commit before is found by taking back what those after it did:
//
//	history/head/<source>                    the first and the last number
//	history/at/<source>/commit/<number>      a commit
//	history/at/<source>/result/<number>      what came of it
//	history/at/<source>/undo/<number>/<n>    files as they were before it
//	history/at/<source>/file/<path>          a file as it is now: its objects, and the hashes of what they say
//	history/at/<source>/object/<hash>        what an object says
//	history/at/<source>/uses/<hash>          how often it is named, if more than once
//
// So a commit costs what it changes, and forgetting the oldest one costs what the next one changed. <source> is a UID.
package history

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Result is what came of a commit.
type Result string

const (
	Progressing Result = "Progressing" // it is being rolled out
	Healthy     Result = "Healthy"     // all of it was healthy once
	Failed      Result = "Failed"      // something of it was not well when it was last looked at
	Superseded  Result = "Superseded"  // the next one came before it was healthy
)

// A Commit is one that was applied.
type Commit struct {
	Number  uint64    `json:"number"` // of the source, each one more than the one before
	Hash    string    `json:"commit"`
	Parent  string    `json:"parent,omitempty"` // that was applied before it; empty for the first
	Author  string    `json:"author,omitempty"`
	Subject string    `json:"subject,omitempty"`
	Applied time.Time `json:"applied"`
	Objects int       `json:"objects"` // in the files that it changed
	Result  Result    `json:"result"`
	Since   time.Time `json:"since"` // of the result
}

// An Object is one that a commit has. Hash is that of its content.
type Object struct {
	Key  store.Key
	Path string // of its file
	Line int
	Hash string
}

// A File is a manifest of a commit, with its objects; without any it is gone.
type File struct {
	Path    string
	Objects []Content
}

// A Content is an object as its file has it.
type Content struct {
	Key  store.Key
	Line int
	JSON []byte // of the same object always the same
}

// ErrUnknown says that no such commit is remembered.
var ErrUnknown = errors.New("no such commit is remembered")

// head is what is remembered of a source.
type head struct{ First, Last uint64 }

// entry is an object in a record of a file.
type entry struct {
	Key  store.Key
	Line int `json:",omitempty"`
	Hash string
}

// undo is a file as it was. Without entries it was not there.
type undo struct {
	Path    string
	Entries []entry `json:",omitempty"`
}

const root = "history/"

// keys are those of one source.
type keys string

func keysOf(source types.UID) keys { return keys(source) }

func (k keys) head() string              { return root + "head/" + string(k) }
func (k keys) all() string               { return root + "at/" + string(k) + "/" }
func (k keys) commit(n uint64) string    { return fmt.Sprintf("%scommit/%016x", k.all(), n) }
func (k keys) commits() string           { return k.all() + "commit/" }
func (k keys) result(n uint64) string    { return fmt.Sprintf("%sresult/%016x", k.all(), n) }
func (k keys) results() string           { return k.all() + "result/" }
func (k keys) undo(n uint64) string      { return fmt.Sprintf("%sundo/%016x/", k.all(), n) }
func (k keys) file(path string) string   { return k.files() + path }
func (k keys) files() string             { return k.all() + "file/" }
func (k keys) object(hash string) string { return k.all() + "object/" + hash }
func (k keys) uses(hash string) string   { return k.all() + "uses/" + hash }

// hashOf names a content, together with whose it is: no two objects share one.
func hashOf(c Content) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00%s\x00%s\x00%s\x00", c.Key.Kind.Group, c.Key.Kind.Kind, c.Key.Namespace, c.Key.Name)
	h.Write(c.JSON)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// List are the commits of a source that are remembered, the newest first.
func List(r store.Records, source types.UID) ([]Commit, error) {
	k := keysOf(source)
	results := map[string]judgement{}
	for rec, err := range r.RecordsUnder(k.results()) {
		var j judgement
		if err := parse(rec, err, &j); err != nil {
			return nil, fmt.Errorf("list the history: %w", err)
		}
		results[strings.TrimPrefix(rec.Key, k.results())] = j
	}
	var all []Commit
	for rec, err := range r.RecordsUnder(k.commits()) {
		var c Commit
		if err := parse(rec, err, &c); err != nil {
			return nil, fmt.Errorf("list the history: %w", err)
		}
		j := results[strings.TrimPrefix(rec.Key, k.commits())]
		c.Result, c.Since = j.Result, j.Since
		all = append(all, c)
	}
	slices.Reverse(all)
	return all, nil
}

// Last is the newest commit of a source, without its result; false if none is remembered.
func Last(r store.Records, source types.UID) (c Commit, ok bool, err error) {
	k := keysOf(source)
	h, err := readHead(r, k)
	if err != nil || h.Last == 0 {
		return c, false, err
	}
	b, err := r.Record(k.commit(h.Last))
	err = parse(store.Record{Key: k.commit(h.Last), Value: b}, err, &c)
	return c, err == nil, err
}

// Find is the newest application of a commit: by its whole hash, or the beginning of it if that is of only one commit.
func Find(r store.Records, source types.UID, hash string) (Commit, error) {
	all, err := List(r, source)
	if err != nil {
		return Commit{}, err
	}
	var found []Commit
	for _, c := range all {
		if hash != "" && strings.HasPrefix(c.Hash, hash) && !slices.ContainsFunc(found, func(f Commit) bool { return f.Hash == c.Hash }) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Commit{}, fmt.Errorf("%q: %w", hash, ErrUnknown)
	}
	return Commit{}, fmt.Errorf("%q is the beginning of %d commits: write more of it", hash, len(found))
}

// At are the objects of a commit, by number, in the order of their files and lines.
func At(r store.Records, source types.UID, number uint64) ([]Object, error) {
	k := keysOf(source)
	h, err := readHead(r, k)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	if number < h.First || number > h.Last || number == 0 {
		return nil, fmt.Errorf("commit number %d: %w", number, ErrUnknown)
	}
	files := map[string][]entry{}
	for rec, err := range r.RecordsUnder(k.files()) {
		var es []entry
		if err := parse(rec, err, &es); err != nil {
			return nil, fmt.Errorf("read the history: %w", err)
		}
		files[strings.TrimPrefix(rec.Key, k.files())] = es
	}
	for n := h.Last; n > number; n-- {
		us, _, err := readUndo(r, k, n)
		if err != nil {
			return nil, err
		}
		for _, u := range us {
			files[u.Path] = u.Entries
		}
	}
	var all []Object
	for path, es := range files {
		for _, e := range es {
			all = append(all, Object{e.Key, path, e.Line, e.Hash})
		}
	}
	slices.SortFunc(all, compareObjects)
	return all, nil
}

func compareObjects(a, b Object) int {
	if c := strings.Compare(a.Path, b.Path); c != 0 {
		return c
	}
	if a.Line != b.Line {
		return a.Line - b.Line
	}
	return a.Key.Compare(b.Key)
}

// Text is the content of an object that At returned, as JSON.
func Text(r store.Records, source types.UID, o Object) ([]byte, error) {
	b, err := r.Record(keysOf(source).object(o.Hash))
	if err == nil && b == nil {
		err = ErrUnknown
	}
	if err != nil {
		return nil, fmt.Errorf("read what %s was: %w", o.Key, err)
	}
	return b, nil
}

func readHead(r store.Records, k keys) (h head, err error) {
	b, err := r.Record(k.head())
	if err != nil || b == nil {
		return h, err
	}
	return h, json.Unmarshal(b, &h)
}

// readUndo is what takes commit n back, and the keys of its records.
func readUndo(r store.Records, k keys, n uint64) (all []undo, at []string, err error) {
	for rec, err := range r.RecordsUnder(k.undo(n)) {
		var us []undo
		if err := parse(rec, err, &us); err != nil {
			return nil, nil, fmt.Errorf("read the history: %w", err)
		}
		all, at = append(all, us...), append(at, rec.Key)
	}
	return all, at, nil
}

// parse reads a record that a sequence has yielded.
func parse(rec store.Record, err error, into any) error {
	if err == nil {
		if err = json.Unmarshal(rec.Value, into); err != nil {
			err = fmt.Errorf("record %s: %w", rec.Key, err)
		}
	}
	return err
}
