package tree

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// memory holds objects by hash, and counts which trees are read.
type memory struct {
	trees map[Hash][]Entry
	blobs map[Hash][]byte
	read  int
}

func newMemory() *memory { return &memory{trees: map[Hash][]Entry{}, blobs: map[Hash][]byte{}} }

func (m *memory) Tree(h Hash) ([]Entry, error) {
	m.read++
	entries, ok := m.trees[h]
	if !ok {
		return nil, ErrNotFound
	}
	return entries, nil
}

func (m *memory) Blob(h Hash) ([]byte, error) {
	data, ok := m.blobs[h]
	if !ok {
		return nil, ErrNotFound
	}
	return data, nil
}

// add stores files, by path, and returns the tree of them.
func (m *memory) add(t testing.TB, files map[string]string) Hash {
	t.Helper()
	folders := map[string]map[string]string{}
	var entries []Entry
	for path, content := range files {
		name, rest, nested := strings.Cut(path, "/")
		if nested {
			if folders[name] == nil {
				folders[name] = map[string]string{}
			}
			folders[name][rest] = content
			continue
		}
		h := HashOf("blob", []byte(content))
		m.blobs[h] = []byte(content)
		entries = append(entries, Entry{name, File, h})
	}
	for name, inside := range folders {
		entries = append(entries, Entry{name, Folder, m.add(t, inside)})
	}
	data := Encode(entries)
	parsed, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	h := HashOf("tree", data)
	m.trees[h] = parsed
	return h
}

func diff(t testing.TB, m *memory, from, to Side) []string {
	t.Helper()
	var got []string
	for c, err := range Diff(m, from, to) {
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case c.Old.Mode == 0:
			got = append(got, "+"+c.Path)
		case c.New.Mode == 0:
			got = append(got, "-"+c.Path)
		default:
			got = append(got, "~"+c.Path)
		}
	}
	return got
}

func TestHashesAreGits(t *testing.T) {
	if got := HashOf("blob", []byte("hello\n")).String(); got != "ce013625030ba8dba906f756967f9e9ca394464a" {
		t.Errorf("got %s", got)
	}
	if got := HashOf("tree", nil).String(); got != "4b825dc642cb6eb9a060e54bf8d69288fbee4904" {
		t.Errorf("got %s", got)
	}
}

func TestDiffTellsWhatIsNewGoneAndOther(t *testing.T) {
	tests := []struct {
		name     string
		from, to map[string]string
		want     []string
	}{
		{"nothing", map[string]string{"a": "1"}, map[string]string{"a": "1"}, nil},
		{"a file is new", nil, map[string]string{"a": "1"}, []string{"+a"}},
		{"a file is gone", map[string]string{"a": "1"}, nil, []string{"-a"}},
		{"a file is other", map[string]string{"d/a": "1"}, map[string]string{"d/a": "2"}, []string{"~d/a"}},
		{"a file becomes a folder", map[string]string{"a": "1"}, map[string]string{"a/b": "1"}, []string{"-a", "+a/b"}},
		{"a folder becomes a file", map[string]string{"a/b": "1"}, map[string]string{"a": "1"}, []string{"+a", "-a/b"}},
		{"a folder is renamed", map[string]string{"a/x": "1"}, map[string]string{"b/x": "1"}, []string{"-a/x", "+b/x"}},
		{"names that sort otherwise as folders", map[string]string{"a/x": "1", "a.b": "1", "a-": "1"}, map[string]string{"a": "1", "a.b": "2", "a-": "1"},
			[]string{"+a", "-a/x", "~a.b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemory()
			got := diff(t, m, Side{Tree: m.add(t, tt.from)}, Side{Tree: m.add(t, tt.to)})
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDiffReadsOnlyFoldersThatDiffer(t *testing.T) {
	m := newMemory()
	files := map[string]string{}
	for i := range 1000 {
		files[fmt.Sprintf("d%d/e/f%d", i%50, i)] = fmt.Sprint(i)
	}
	from := m.add(t, files)
	files["d7/e/f7"] = "other"
	to := m.add(t, files)
	m.read = 0
	got := diff(t, m, Side{Tree: from}, Side{Tree: to})
	if m.read != 6 || len(got) != 1 {
		t.Errorf("%d folders were read for %v, want 3 on each side", m.read, got)
	}
}

func TestDiffIsTheDifferenceOfTwoListings(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	random := func() map[string]string {
		files := map[string]string{}
		for range rng.IntN(12) {
			parts := make([]string, 1+rng.IntN(3))
			for i := range parts {
				parts[i] = string(rune('a' + rng.IntN(3)))
			}
			files[strings.Join(parts, "/")] = fmt.Sprint(rng.IntN(3))
		}
		for path := range files { // a file cannot be a folder, too
			for other := range files {
				if strings.HasPrefix(other, path+"/") {
					delete(files, other)
				}
			}
		}
		return files
	}
	for round := range 2000 {
		m := newMemory()
		from, to := random(), random()
		var want []string
		for path, content := range from {
			if now, ok := to[path]; !ok {
				want = append(want, "-"+path)
			} else if now != content {
				want = append(want, "~"+path)
			}
		}
		for path := range to {
			if _, ok := from[path]; !ok {
				want = append(want, "+"+path)
			}
		}
		got := diff(t, m, Side{Tree: m.add(t, from)}, Side{Tree: m.add(t, to)})
		slices.Sort(want)
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("seed %d, round %d: %s", seed, round, d)
		}
	}
}

// noB are rules by which nothing named b counts, unless the folder holds one named all.
type noB struct{ all bool }

func (r noB) Enter(_ Objects, _ string, entries []Entry) (Rules, error) {
	return noB{r.all || slices.ContainsFunc(entries, func(e Entry) bool { return e.Name == "all" })}, nil
}
func (r noB) Keep(_ string, e Entry) bool { return r.all || e.Name != "b" }
func (r noB) Same(o Rules) bool           { return r == o.(noB) }

func TestDiffNoticesFilesThatCountNoMoreThoughTheyAreTheSame(t *testing.T) {
	m := newMemory()
	from := m.add(t, map[string]string{"d/b/x": "1", "d/a": "1", "b": "1", "all": ""})
	to := m.add(t, map[string]string{"d/b/x": "1", "d/a": "1", "b": "1"})
	got := diff(t, m, Side{from, noB{}}, Side{to, noB{}})
	if d := cmp.Diff([]string{"-all", "-b", "-d/b/x"}, got); d != "" {
		t.Error(d)
	}
}

func TestTreesThatGrowWithoutEndAreRefused(t *testing.T) {
	m := newMemory()
	wide := m.add(t, map[string]string{"f": "x"})
	for range 30 { // ten to the thirtieth files
		var entries []Entry
		for i := range 10 {
			entries = append(entries, Entry{fmt.Sprint(i), Folder, wide})
		}
		wide = HashOf("tree", Encode(entries))
		m.trees[wide] = entries
	}
	deep := m.add(t, map[string]string{strings.Repeat("d/", MaxDepth+2) + "f": "x"})
	for _, h := range []Hash{wide, deep} {
		var err error
		n := 0
		for _, err = range Diff(m, Side{}, Side{Tree: h}) {
			n++
		}
		if !errors.Is(err, ErrTooBig) {
			t.Errorf("got %v after %d files", err, n)
		}
	}
}

func TestDiffStopsWhenAsked(t *testing.T) {
	m := newMemory()
	n := 0
	for range Diff(m, Side{}, Side{Tree: m.add(t, map[string]string{"a": "", "b/c": "", "d": ""})}) {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("%d changes", n)
	}
}

func TestFindFollowsAPath(t *testing.T) {
	m := newMemory()
	root := m.add(t, map[string]string{"a/b/c": "x"})
	for path, want := range map[string]Mode{"": Folder, ".": Folder, "a": Folder, "a/b/c": File, "/a/b/": Folder, "./a": Folder} {
		if e, err := Find(m, root, path); err != nil || e.Mode != want {
			t.Errorf("%q: %v, %v", path, e, err)
		}
	}
	for _, path := range []string{"x", "a/x", "a/b/c/d", "a/../a"} {
		if e, err := Find(m, root, path); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v, %v", path, e, err)
		}
	}
}

func TestTreesThatGitWouldNotWriteAreRefused(t *testing.T) {
	h := strings.Repeat("h", 20)
	for name, data := range map[string]string{
		"out of order":         "100644 b\x00" + h + "100644 a\x00" + h,
		"twice the same":       "100644 a\x00" + h + "100644 a\x00" + h,
		"a file and a folder":  "100644 a\x00" + h + "100644 a.b\x00" + h + "40000 a\x00" + h,
		"a slash":              "100644 a/b\x00" + h,
		"no name":              "100644 \x00" + h,
		"upwards":              "40000 ..\x00" + h,
		"the folder itself":    "40000 .\x00" + h,
		"Git's own folder":     "40000 .git\x00" + h,
		"no mode":              " a\x00" + h,
		"a mode of letters":    "abc a\x00" + h,
		"a mode of nothing":    "0 a\x00" + h,
		"half a hash":          "100644 a\x00" + h[:10],
		"no end of the name":   "100644 abc",
		"nothing but a number": "100644",
	} {
		if entries, err := Parse([]byte(data)); !errors.Is(err, ErrBadTree) {
			t.Errorf("%s: got %v, %v", name, entries, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	h := strings.Repeat("h", 20)
	f.Add([]byte("100644 a\x00" + h + "100755 a.b\x00" + h + "40000 aa\x00" + h + "120000 l\x00" + h + "160000 s\x00" + h))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := Parse(data)
		if err != nil {
			return
		}
		names := map[string]bool{}
		for _, e := range entries {
			if names[e.Name] || strings.Contains(e.Name, "/") || e.Name == ".." {
				t.Fatalf("%q", e.Name)
			}
			names[e.Name] = true
		}
		again, err := Parse(Encode(slices.Clone(entries)))
		if err != nil || !slices.Equal(entries, again) {
			t.Fatalf("not stable: %v\n%v\n%v", err, entries, again)
		}
	})
}

func FuzzDiff(f *testing.F) {
	f.Add([]byte("a/b\x00c"), []byte("a\x00c/d"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		m := newMemory()
		from, to := fuzzFiles(a), fuzzFiles(b)
		got := diff(t, m, Side{Tree: m.add(t, from)}, Side{Tree: m.add(t, to)})
		for _, path := range slices.Sorted(maps.Keys(to)) {
			if _, ok := from[path]; !ok && !slices.Contains(got, "+"+path) {
				t.Fatalf("%q is missing in %q", path, got)
			}
		}
	})
}

// fuzzFiles makes files of names behind zero bytes.
func fuzzFiles(data []byte) map[string]string {
	files := map[string]string{}
next:
	for name := range bytes.SplitSeq(data, []byte{0}) {
		parts := strings.Split(string(name), "/")
		for _, p := range parts {
			if p == "" || p == "." || p == ".." || p == ".git" {
				continue next
			}
		}
		for other := range files {
			if strings.HasPrefix(other+"/", string(name)+"/") || strings.HasPrefix(string(name)+"/", other+"/") {
				continue next
			}
		}
		if len(parts) < 50 {
			files[string(name)] = fmt.Sprint(len(name))
		}
	}
	return files
}

func BenchmarkDiffOneOfTenThousand(b *testing.B) {
	m := newMemory()
	files := map[string]string{}
	for i := range 10_000 {
		files[fmt.Sprintf("apps/a%03d/f%02d.yaml", i/20, i%20)] = fmt.Sprint(i)
	}
	from := m.add(b, files)
	files["apps/a100/f05.yaml"] = "other"
	to := m.add(b, files)
	for b.Loop() {
		if got := diff(b, m, Side{Tree: from}, Side{Tree: to}); len(got) != 1 {
			b.Fatal(got)
		}
	}
}
