package history_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/history"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A book keeps records in memory, as a store does.
type book struct {
	t  testing.TB
	st *store.Memory
}

func newBook(t testing.TB) *book {
	t.Helper()
	kinds := store.Kinds{}
	st, err := store.Open(store.NewVolatile(kinds), kinds, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return &book{t, st}
}

func (b *book) keep(rs []store.Record, err error) {
	b.t.Helper()
	if err == nil {
		_, err = b.st.Update(b.t.Context(), "test", func(tx *store.Tx) error { tx.Keep(rs...); return nil })
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// size is how many records there are of the kind, such as object.
func (b *book) size(kind string) (n int) {
	b.t.Helper()
	for r, err := range b.st.RecordsUnder("history/at/") {
		if err != nil {
			b.t.Fatal(err)
		}
		if bytes.Contains([]byte(r.Key), []byte("/"+kind+"/")) {
			n++
		}
	}
	return n
}

// text is what a commit had, a line for each object.
func (b *book) text(source types.UID, number uint64) string {
	b.t.Helper()
	objects, err := history.At(b.st, source, number)
	if err != nil {
		b.t.Fatal(err)
	}
	var lines bytes.Buffer
	for _, o := range objects {
		content, err := history.Text(b.st, source, o)
		if err != nil {
			b.t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%s:%d %s %s\n", o.Path, o.Line, o.Key, content)
	}
	return lines.String()
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func content(name, text string) history.Content {
	return history.Content{Key: store.Key{Kind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: "a", Name: name}, Line: 1, JSON: []byte(`{"v":"` + text + `"}`)}
}

// A model is the files that a source has.
type model map[string][]history.Content

func (m model) text() string {
	var lines bytes.Buffer
	for _, path := range slices.Sorted(func(yield func(string) bool) {
		for p := range m {
			if !yield(p) {
				return
			}
		}
	}) {
		for _, c := range m[path] {
			fmt.Fprintf(&lines, "%s:%d %s %s\n", path, c.Line, c.Key, c.JSON)
		}
	}
	return lines.String()
}

// change makes some files other than they are.
func (m model) change(rng *rand.Rand) (files []history.File) {
	done := map[string]bool{}
	for range 1 + rng.IntN(5) {
		f := history.File{Path: fmt.Sprintf("dir/%d.yaml", rng.IntN(9))}
		if done[f.Path] {
			continue
		}
		done[f.Path] = true
		for i := range rng.IntN(4) {
			c := content(fmt.Sprint("o", rng.IntN(30)), fmt.Sprint(rng.IntN(3)))
			c.Line = 1 + 10*i
			f.Objects = append(f.Objects, c)
		}
		files = append(files, f)
		if m[f.Path] = f.Objects; len(f.Objects) == 0 {
			delete(m, f.Path)
		}
	}
	return files
}

// all is every file.
func (m model) all() (files []history.File) {
	for path, objects := range m {
		files = append(files, history.File{Path: path, Objects: objects})
	}
	return files
}

func TestEachRememberedCommitIsWhatWasApplied(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 0))
		b, limits := newBook(t), history.Limits{Commits: 12, Age: 40 * time.Hour}
		sources := []types.UID{"one", "two"}
		models := []model{{}, {}}
		applied := []map[uint64]string{{}, {}} // text by number
		now := epoch
		for n := range 60 {
			i := rng.IntN(2)
			now = now.Add(time.Duration(rng.IntN(8)) * time.Hour)
			files, all := models[i].change(rng), rng.IntN(6) == 0
			if all {
				files = models[i].all()
			}
			b.keep(history.Apply(b.st, sources[i], history.Commit{Hash: fmt.Sprintf("%040x", n), Applied: now}, files, all, limits))
			applied[i][uint64(len(applied[i])+1)] = models[i].text()
			if n%7 == 0 {
				check(t, b, sources[i], applied[i], limits)
			}
		}
		for _, source := range sources {
			forgetAll(b, source)
		}
		for r := range b.st.RecordsUnder("") {
			t.Fatalf("seed %d: %s is left", seed, r.Key)
		}
	}
}

func forgetAll(b *book, source types.UID) {
	b.t.Helper()
	for {
		rs, err := history.Forget(b.st, source)
		if b.keep(rs, err); len(rs) == 0 {
			return
		}
	}
}

// check compares what is remembered with what was applied.
func check(t *testing.T, b *book, source types.UID, applied map[uint64]string, l history.Limits) {
	t.Helper()
	list, err := history.List(b.st, source)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 || len(list) > l.Commits || list[0].Number != uint64(len(applied)) {
		t.Fatalf("%d commits are remembered of %d", len(list), len(applied))
	}
	contents := map[string]bool{}
	for i, c := range list {
		if i > 0 && c.Result != history.Superseded || c.Parent == "" && c.Number != 1 {
			t.Errorf("commit %+v", c)
		}
		if diff := cmp.Diff(applied[c.Number], b.text(source, c.Number)); diff != "" {
			t.Fatalf("commit %d of %d (-applied +remembered):\n%s", c.Number, len(applied), diff)
		}
		objects, _ := history.At(b.st, source, c.Number)
		for _, o := range objects {
			contents[o.Hash] = true
		}
	}
	kept := 0
	for range b.st.RecordsUnder("history/at/" + string(source) + "/object/") {
		kept++
	}
	if kept != len(contents) {
		t.Fatalf("%d contents are kept, %d are needed", kept, len(contents))
	}
	if oldest := list[len(list)-1].Number; oldest > 1 {
		if _, err := history.At(b.st, source, oldest-1); !errors.Is(err, history.ErrUnknown) {
			t.Errorf("a forgotten commit: %v", err)
		}
	}
}

func TestOldCommitsAreForgottenWithoutANewOne(t *testing.T) {
	b, limits := newBook(t), history.Limits{Commits: 100, Age: time.Hour}
	for n := range 20 {
		b.keep(history.Apply(b.st, "s", history.Commit{Hash: fmt.Sprint("c", n), Applied: epoch}, []history.File{{Path: "f", Objects: []history.Content{content("o", fmt.Sprint(n))}}}, false, limits))
	}
	for range 20 {
		b.keep(history.Trim(b.st, "s", limits, epoch.Add(2*time.Hour)))
	}
	list, err := history.List(b.st, "s")
	if err != nil || len(list) != 2 || list[0].Hash != "c19" || b.size("object") != 2 {
		t.Errorf("%+v, %v, %d contents; want what is applied and the one before", list, err, b.size("object"))
	}
	if rs, err := history.Trim(b.st, "s", limits, epoch.Add(2*time.Hour)); len(rs) > 0 || err != nil {
		t.Errorf("nothing is to be forgotten, but %d records are written, %v", len(rs), err)
	}
}

func TestTheResultOfACommit(t *testing.T) {
	b := newBook(t)
	apply := func(hash string) {
		b.keep(history.Apply(b.st, "s", history.Commit{Hash: hash, Applied: epoch}, nil, false, history.Default()))
	}
	judge := func(hash string, r history.Result) {
		b.keep(history.Judge(b.st, "s", hash, r, epoch.Add(time.Minute)))
	}
	apply("aaaa")
	judge("aaaa", history.Failed)
	judge("aaaa", history.Healthy)
	judge("aaaa", history.Failed) // what was healthy once, stays so
	apply("bbbb")
	judge("aaaa", history.Failed) // no longer the newest
	apply("cccc")
	judge("cccc", history.Failed)
	apply("aabb")
	var got []string
	list, err := history.List(b.st, "s")
	for _, c := range list {
		got = append(got, fmt.Sprint(c.Number, " ", c.Hash, " after ", c.Parent, ": ", c.Result))
	}
	want := []string{"4 aabb after cccc: Progressing", "3 cccc after bbbb: Failed", "2 bbbb after aaaa: Superseded", "1 aaaa after : Healthy"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for hash, want := range map[string]string{"b": "bbbb", "aaaa": "aaaa", "aa": "", "d": "", "": ""} {
		if c, err := history.Find(b.st, "s", hash); c.Hash != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v; want %q", hash, c.Hash, err, want)
		}
	}
}

func TestACommitCostsWhatItChanges(t *testing.T) {
	b := newBook(t)
	var files []history.File
	for i := range 2000 {
		files = append(files, history.File{Path: fmt.Sprint(i, ".yaml"), Objects: []history.Content{content(fmt.Sprint("o", i), "first")}})
	}
	b.keep(history.Apply(b.st, "s", history.Commit{Hash: "1", Applied: epoch}, files, true, history.Default()))
	files[7].Objects = []history.Content{content("o7", "second")}
	rs, err := history.Apply(b.st, "s", history.Commit{Hash: "2", Applied: epoch}, files, true, history.Default())
	if err != nil || len(rs) > 8 {
		t.Errorf("%d records, %v", len(rs), err)
	}
}
