package history

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Limits are how much is remembered of a source. What is applied always is, and the commit before it.
type Limits struct {
	Commits int
	Age     time.Duration
}

// Default is what Mainstay remembers.
func Default() Limits { return Limits{Commits: 500, Age: 90 * 24 * time.Hour} }

// step is how many commits are forgotten at a time, so that no transaction is long.
const step = 4

// chunk is how many files are in one record of what a commit undoes.
const chunk = 256

// judgement is what came of a commit.
type judgement struct {
	Result Result
	Since  time.Time
}

// Apply returns the records to be written in the transaction that applies a commit with these files changed. all: what is not
// among them is gone. c says which commit it is; its number, parent and result are set here. Commits of one source are
// applied one after the other.
func Apply(r store.Records, source types.UID, c Commit, files []File, all bool, l Limits) ([]store.Record, error) {
	w, err := begin(r, source)
	if err != nil {
		return nil, fmt.Errorf("remember commit %s: %w", c.Hash, err)
	}
	l.Commits-- // there will be one more
	if err := w.forget(l, 1, c.Applied); err != nil {
		return nil, fmt.Errorf("remember commit %s: %w", c.Hash, err)
	}
	if err := w.commit(c, files, all); err != nil {
		return nil, fmt.Errorf("remember commit %s: %w", c.Hash, err)
	}
	return w.end(), nil
}

// Trim returns the records that forget some of what is over the limits; none if nothing is.
func Trim(r store.Records, source types.UID, l Limits, now time.Time) ([]store.Record, error) {
	w, err := begin(r, source)
	if err == nil {
		err = w.forget(l, 2, now)
	}
	if err != nil {
		return nil, fmt.Errorf("forget old commits: %w", err)
	}
	if w.h == w.was {
		return nil, nil
	}
	return w.end(), nil
}

// Judge returns the records that note what has come of the newest commit of a source, if it is hash; none if that is known.
func Judge(r store.Records, source types.UID, hash string, result Result, now time.Time) ([]store.Record, error) {
	w, err := begin(r, source)
	if err != nil || w.h.Last == 0 {
		return nil, err
	}
	var c Commit
	b, err := r.Record(w.k.commit(w.h.Last))
	if err = parse(store.Record{Value: b}, err, &c); err != nil || c.Hash != hash {
		return nil, err
	}
	was, err := w.judgement(w.h.Last)
	if err != nil || was.Result == result || was.Result == Healthy {
		return nil, err // healthy once is what counts
	}
	w.write(w.k.result(w.h.Last), judgement{result, now})
	return w.out, w.err
}

// Forget returns records that remove a part of what is remembered of a source; none if nothing is left.
func Forget(r store.Records, source types.UID) ([]store.Record, error) {
	const most = 1000
	k := keysOf(source)
	var gone []store.Record
	for rec, err := range r.RecordsUnder(k.all()) {
		if err != nil {
			return nil, fmt.Errorf("forget a source: %w", err)
		}
		if gone = append(gone, store.Record{Key: rec.Key}); len(gone) == most {
			return gone, nil
		}
	}
	b, err := r.Record(k.head())
	if b != nil {
		gone = append(gone, store.Record{Key: k.head()})
	}
	return gone, err
}

// Sources are those of which something is remembered.
func Sources(r store.Records) (all []types.UID, err error) {
	prefix := keys("").head()
	for rec, err := range r.RecordsUnder(prefix) {
		if err != nil {
			return nil, fmt.Errorf("list the histories: %w", err)
		}
		all = append(all, types.UID(rec.Key[len(prefix):]))
	}
	return all, nil
}

// A writer gathers the records of one transaction.
type writer struct {
	r   store.Records
	k   keys
	h   head
	was head
	use map[string]int    // contents whose count changes, and what it becomes
	new map[string][]byte // contents that come
	old map[string]int    // what was counted before
	out []store.Record
	err error
}

func begin(r store.Records, source types.UID) (*writer, error) {
	w := &writer{r: r, k: keysOf(source), use: map[string]int{}, new: map[string][]byte{}, old: map[string]int{}}
	h, err := readHead(r, w.k)
	w.h, w.was = h, h
	return w, err
}

func (w *writer) write(key string, v any) {
	b, err := json.Marshal(v)
	if err != nil && w.err == nil {
		w.err = err
	}
	w.out = append(w.out, store.Record{Key: key, Value: b})
}

func (w *writer) remove(key string) { w.out = append(w.out, store.Record{Key: key}) }

func (w *writer) judgement(n uint64) (j judgement, err error) {
	b, err := w.r.Record(w.k.result(n))
	if err != nil || b == nil {
		return j, err
	}
	return j, json.Unmarshal(b, &j)
}

// commit adds one.
func (w *writer) commit(c Commit, files []File, all bool) error {
	before := w.h.Last
	w.h.Last++
	w.h.First = max(w.h.First, 1)
	c.Number, c.Parent, c.Result, c.Since = w.h.Last, "", "", time.Time{}
	if before > 0 {
		var parent Commit
		b, err := w.r.Record(w.k.commit(before))
		if err = parse(store.Record{Value: b}, err, &parent); err != nil {
			return err
		}
		c.Parent = parent.Hash
		if j, err := w.judgement(before); err != nil {
			return err
		} else if j.Result == Progressing {
			w.write(w.k.result(before), judgement{Superseded, c.Applied})
		}
	}
	for _, f := range files {
		c.Objects += len(f.Objects)
	}
	undone, err := w.change(files, all, before == 0)
	if err != nil {
		return err
	}
	for n := 0; len(undone) > 0 && before > 0; n++ {
		part := undone[:min(chunk, len(undone))]
		undone = undone[len(part):]
		w.write(fmt.Sprintf("%s%06x", w.k.undo(c.Number), n), part)
	}
	w.write(w.k.commit(c.Number), c)
	w.write(w.k.result(c.Number), judgement{Progressing, c.Applied})
	return w.err
}

// change writes files as they are now, and returns how those were that differ.
func (w *writer) change(files []File, all, fresh bool) (undone []undo, err error) {
	if all {
		if files, err = w.withGone(files); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		var was []entry
		if !fresh {
			b, err := w.r.Record(w.k.file(f.Path))
			if err == nil && b != nil {
				err = json.Unmarshal(b, &was)
			}
			if err != nil {
				return nil, err
			}
		}
		var is []entry
		for _, c := range f.Objects {
			is = append(is, entry{c.Key, c.Line, hashOf(c)})
		}
		if slices.Equal(was, is) {
			continue
		}
		undone = append(undone, undo{f.Path, was})
		for i, c := range f.Objects {
			if err := w.name(is[i].Hash, c.JSON, fresh); err != nil {
				return nil, err
			}
		}
		if len(is) == 0 {
			w.remove(w.k.file(f.Path))
		} else {
			w.write(w.k.file(f.Path), is)
		}
	}
	return undone, nil
}

// withGone adds, to files that are all there are, those that are remembered and gone.
func (w *writer) withGone(files []File) ([]File, error) {
	there := map[string]bool{}
	for _, f := range files {
		there[f.Path] = true
	}
	files = slices.Clip(files)
	for rec, err := range w.r.RecordsUnder(w.k.files()) {
		if err != nil {
			return nil, err
		}
		if path := rec.Key[len(w.k.files()):]; !there[path] {
			files = append(files, File{Path: path})
		}
	}
	return files, nil
}

// name counts one more place that names a content. fresh: none is kept yet.
func (w *writer) name(hash string, content []byte, fresh bool) error {
	n, err := w.count(hash, fresh)
	if err != nil {
		return err
	}
	if n == 0 {
		w.new[hash] = content
	}
	w.use[hash] = n + 1
	return nil
}

// count is how many places name a content.
func (w *writer) count(hash string, fresh bool) (int, error) {
	if n, ok := w.use[hash]; ok || fresh {
		return n, nil
	}
	b, err := w.r.Record(w.k.uses(hash))
	if err != nil {
		return 0, err
	}
	n := 0
	if b != nil {
		if n, err = strconv.Atoi(string(b)); err != nil {
			return 0, err
		}
	} else if b, err = w.r.Record(w.k.object(hash)); err != nil {
		return 0, err
	} else if b != nil {
		n = 1
	}
	w.old[hash] = n
	return n, nil
}

// forget drops the oldest commits that are over the limits, but leaves a few.
func (w *writer) forget(l Limits, few uint64, now time.Time) error {
	for range step {
		over, err := w.over(l, few, now)
		if err != nil || !over {
			return err
		}
		w.remove(w.k.commit(w.h.First))
		w.remove(w.k.result(w.h.First))
		w.h.First++
		if err := w.dropUndo(w.h.First); err != nil {
			return err
		}
	}
	return w.err
}

// over tells whether the oldest commit is to be forgotten: when there are too many, or it is too old.
func (w *writer) over(l Limits, few uint64, now time.Time) (bool, error) {
	have := w.h.Last - w.h.First + 1
	if w.h.Last == 0 || have <= few {
		return false, nil
	}
	if have > uint64(max(l.Commits, 0)) {
		return true, nil
	}
	var c Commit
	b, err := w.r.Record(w.k.commit(w.h.First))
	if err = parse(store.Record{Value: b}, err, &c); err != nil {
		return false, err
	}
	return now.Sub(c.Applied) > l.Age, nil
}

// dropUndo removes what takes commit n back: nothing before it is remembered any more.
func (w *writer) dropUndo(n uint64) error {
	us, at, err := readUndo(w.r, w.k, n)
	if err != nil {
		return err
	}
	for _, key := range at {
		w.remove(key)
	}
	for _, u := range us {
		for _, e := range u.Entries {
			n, err := w.count(e.Hash, false)
			if err != nil {
				return err
			}
			w.use[e.Hash] = max(n-1, 0)
		}
	}
	return nil
}

// end is all of it.
func (w *writer) end() []store.Record {
	for hash, n := range w.use {
		was := w.old[hash]
		switch content, ok := w.new[hash]; {
		case n == 0 && was > 0:
			w.remove(w.k.object(hash))
		case n > 0 && ok && was == 0:
			w.out = append(w.out, store.Record{Key: w.k.object(hash), Value: content})
		}
		switch {
		case n > 1 && n != was:
			w.out = append(w.out, store.Record{Key: w.k.uses(hash), Value: []byte(strconv.Itoa(n))})
		case n <= 1 && was > 1:
			w.remove(w.k.uses(hash))
		}
	}
	w.write(w.k.head(), w.h)
	slices.SortStableFunc(w.out, func(a, b store.Record) int { return strings.Compare(a.Key, b.Key) })
	return w.out
}
