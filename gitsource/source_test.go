package gitsource

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/gitsource/internal/gittest"
	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

func configMap(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\n"
}

func open(t testing.TB, spec Spec) *Source {
	t.Helper()
	spec.Kinds, spec.Dir = gittest.Kinds{}, t.TempDir()
	if spec.Cache == nil {
		spec.Cache = decode.NewCache(16 << 20)
	}
	s, err := Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func fetch(t testing.TB, s *Source) Commit {
	t.Helper()
	c, err := s.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustLoad(t testing.TB, s *Source, from, to Commit) Change {
	t.Helper()
	c, err := s.Load(t.Context(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// summary is a change as lines: "+path Kind name..." for files, "-path", and notes.
func summary(c Change) []string {
	var lines []string
	for _, f := range c.Files {
		line := "+" + f.Path
		for _, d := range f.Documents {
			line += fmt.Sprintf(" %s %s:%d", d.Object.GetName(), d.Origin.Path, d.Origin.Line)
		}
		lines = append(lines, line)
	}
	for _, p := range c.Gone {
		lines = append(lines, "-"+p)
	}
	for _, n := range c.Notes {
		lines = append(lines, n.String())
	}
	return lines
}

func TestASourceMayBeAnywhere(t *testing.T) {
	work := gittest.New(t)
	hash := gittest.Commit(t, work, "one", gittest.Files{"apps/a.yaml": configMap("a"), "other/b.yaml": configMap("b")})
	root := t.TempDir()
	gittest.Git(t, root, "clone", "-q", "--bare", work, "app.git")
	plain := t.TempDir()
	gittest.Write(t, plain, gittest.Files{"apps/a.yaml": configMap("a"), "other/b.yaml": configMap("b"), ".hidden/x": "x"})
	hosted, err := repo.OpenHosted(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer hosted.Close()
	built, err := hosted.Create("app")
	if err != nil {
		t.Fatal(err)
	}
	gittest.Git(t, work, "push", "-q", built.Dir(), "main")
	for _, url := range []string{gittest.Serve(t, gittest.Backend(t, root)) + "/app.git", "file://" + work, "file://" + root + "/app.git", "file://" + plain, "builtin:app"} {
		t.Run(url, func(t *testing.T) {
			s := open(t, Spec{URL: url, Path: "/apps/", Hosted: hosted})
			c := fetch(t, s)
			if c.Hash.String() != hash && url != "file://"+plain {
				t.Errorf("got %s, want %s", c.Hash, hash)
			}
			dir, git, ok := s.Local()
			if ok != strings.HasPrefix(url, "file:") || git != (ok && dir != plain) || ok && dir == "" {
				t.Errorf("watch %q, git: %v, at all: %v", dir, git, ok)
			}
			change := mustLoad(t, s, Commit{}, c)
			if d := cmp.Diff([]string{"+apps/a.yaml a apps/a.yaml:1"}, summary(change)); d != "" || !change.All || change.Manifests != 1 {
				t.Errorf("%+v %s", change, d)
			}
			if d := cmp.Diff([]string(nil), summary(mustLoad(t, s, c, c))); d != "" {
				t.Error(d)
			}
			docs, err := s.Read(t.Context(), c, "apps/a.yaml")
			if err != nil || len(docs) != 1 {
				t.Errorf("got %v, %v", docs, err)
			}
			if _, err := s.Read(t.Context(), c, "apps/none.yaml"); !errors.Is(err, tree.ErrNotFound) {
				t.Errorf("got %v", err)
			}
			if same, err := s.Commit(c.Hash); err != nil || same.Tree != c.Tree {
				t.Errorf("got %v, %v", same, err)
			}
			if _, err := s.Commit(tree.Hash{1}); !errors.Is(err, tree.ErrNotFound) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestSourcesThatCannotBe(t *testing.T) {
	for _, tt := range []struct {
		spec Spec
		want string
	}{
		{Spec{URL: "builtin:app"}, "there are no built-in repositories here"},
		{Spec{URL: "file://host/x"}, "with three slashes"},
		{Spec{URL: "file:///nowhere/at/all"}, "no such file"},
		{Spec{URL: "https://host/x", Path: "a/../../b"}, "leads out of the repository"},
		{Spec{URL: "nonsense"}, "write https://host/path"},
		{Spec{URL: "https://host/x", Rev: repo.Rev{Branch: "a", Tag: "b"}}, "not several"},
		{Spec{URL: "https://host/x", Rev: repo.Rev{Commit: "abc"}}, "all 40 digits"},
		{Spec{URL: "file://" + t.TempDir(), Rev: repo.Rev{Branch: "a"}}, "is a plain folder, it has no branch a"},
	} {
		tt.spec.Dir = t.TempDir()
		if s, err := Open(tt.spec); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, %v, want %q", tt.spec, s, err, tt.want)
		}
	}
}

// local is a source of a working tree.
func localSource(t testing.TB, spec Spec) (s *Source, work string) {
	t.Helper()
	work = gittest.New(t)
	spec.URL = "file://" + work
	return open(t, spec), work
}

func TestOnlyWhatHasChangedIsLoaded(t *testing.T) {
	s, work := localSource(t, Spec{})
	var last Commit
	step := func(files gittest.Files, want ...string) {
		t.Helper()
		gittest.Commit(t, work, "step", files)
		c := fetch(t, s)
		change := mustLoad(t, s, last, c)
		if d := cmp.Diff(want, summary(change)); d != "" {
			t.Error(d)
		}
		last = c
	}
	step(gittest.Files{"a.yaml": configMap("a"), "d/b.yaml": configMap("b") + "---\n" + configMap("c"), "README": "x"},
		"+a.yaml a a.yaml:1", "+d/b.yaml b d/b.yaml:1 c d/b.yaml:6")
	step(gittest.Files{"README": "y"})
	step(gittest.Files{"a.yaml": configMap("a2")}, "+a.yaml a2 a.yaml:1")
	step(gittest.Files{"d/b.yaml": "", "d/e/c.yaml": configMap("c")}, "+d/e/c.yaml c d/e/c.yaml:1", "-d/b.yaml")
	step(gittest.Files{"values.yaml": "x: 1\n"}, "+values.yaml", "values.yaml:1: skipped: neither apiVersion nor kind")
	step(gittest.Files{".mainstayignore": "/d/\n"}, "-d/e/c.yaml")
	step(gittest.Files{".mainstayignore": "/a.yaml\n"}, "+d/e/c.yaml c d/e/c.yaml:1", "-a.yaml")
	step(gittest.Files{".mainstayignore": ""}, "+a.yaml a2 a.yaml:1")
	if err := os.Chmod(filepath.Join(work, "a.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	step(nil)
	if err := os.Symlink("a.yaml", filepath.Join(work, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	step(nil, "link.yaml: is a symlink: not followed")
}

func TestAllThatIsWrongWithACommitIsSaidAtOnce(t *testing.T) {
	s, work := localSource(t, Spec{Namespace: "usual"})
	gittest.Commit(t, work, "good", gittest.Files{"a.yaml": configMap("a"), "ns.yaml": "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: usual\n"})
	good := fetch(t, s)
	mustLoad(t, s, Commit{}, good)
	gittest.Commit(t, work, "bad", gittest.Files{
		"b.yaml":                "a: b: c\n",
		"c.yaml":                configMap("c") + "dta: {}\n---\n" + configMap("a") + "  namespace: usual\n",
		"d.yaml":                configMap("d") + "---\n" + configMap("d"),
		"ok.yaml":               configMap("ok") + "  namespace: other\n",
		"k/kustomization.yaml":  "resources: []\n",
		"lfs.yaml":              "version https://git-lfs.github.com/spec/v1\noid sha256:x\nsize 1\n",
		"ns2.yaml":              "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: usual\n  namespace: odd\n",
		"not/looked/at/.x.yaml": "a: b: c\n",
	})
	bad := fetch(t, s)
	want := `7 errors in 6 of 7 manifests
b.yaml:1: mapping values are not allowed in this context
c.yaml:5: unknown field "dta"
c.yaml:7: ConfigMap usual/a is there already, at a.yaml:1
d.yaml:6: ConfigMap usual/d is there already, at d.yaml:1
k/kustomization.yaml: kustomize is not supported yet: commit plain manifests, or name the folder in .mainstayignore
lfs.yaml:1: is kept in Git LFS, which is not supported: commit the file itself
ns2.yaml:1: Namespace usual is there already, at ns.yaml:1`
	fresh := open(t, Spec{URL: s.spec.URL, Namespace: "usual"}) // which has not seen the good commit
	seeded := open(t, Spec{URL: s.spec.URL, Namespace: "usual"})
	if err := seeded.Seed(good, maps.All(map[decode.ID]decode.Origin{
		{Kind: "ConfigMap", Namespace: "usual", Name: "a"}: {Path: "a.yaml", Line: 1}, {Kind: "Namespace", Name: "usual"}: {Path: "ns.yaml", Line: 1},
	})); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Source{"used": s, "fresh": fresh, "seeded": seeded} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Load(t.Context(), good, bad)
			invalid, ok := errors.AsType[*Invalid](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if d := cmp.Diff(want, invalid.Error()); d != "" {
				t.Error(d)
			}
		})
	}
	_, err := s.Load(t.Context(), Commit{}, bad)
	if invalid, ok := errors.AsType[*Invalid](err); !ok || len(invalid.Errors) != 7 {
		t.Errorf("got %v", err)
	}
}

func TestAnObjectMayMoveFromOneFileToAnother(t *testing.T) {
	s, work := localSource(t, Spec{})
	gittest.Commit(t, work, "one", gittest.Files{"b.yaml": configMap("x"), "c.yaml": configMap("w")})
	one := fetch(t, s)
	mustLoad(t, s, Commit{}, one)
	gittest.Commit(t, work, "two", gittest.Files{"a.yaml": configMap("x"), "b.yaml": "", "c.yaml": configMap("v"), "d.yaml": configMap("w")})
	two := fetch(t, s)
	mustLoad(t, s, one, two)
	gittest.Commit(t, work, "three", gittest.Files{"e.yaml": configMap("x")})
	if _, err := s.Load(t.Context(), two, fetch(t, s)); err == nil || !strings.Contains(err.Error(), "e.yaml:1: ConfigMap default/x is there already, at a.yaml:1") && !strings.Contains(err.Error(), "ConfigMap x is there already, at a.yaml:1") {
		t.Errorf("got %v", err)
	}
}

func TestAPathThatIsNotThereIsAnErrorOnlyOnTheNewSide(t *testing.T) {
	s, work := localSource(t, Spec{Path: "apps"})
	gittest.Commit(t, work, "one", gittest.Files{"README": "x"})
	one := fetch(t, s)
	if _, err := s.Load(t.Context(), Commit{}, one); !errors.Is(err, ErrPath) || !strings.Contains(err.Error(), "the folder apps is not in the repository") {
		t.Errorf("got %v", err)
	}
	gittest.Commit(t, work, "two", gittest.Files{"apps/a.yaml": configMap("a")})
	if d := cmp.Diff([]string{"+apps/a.yaml a apps/a.yaml:1"}, summary(mustLoad(t, s, one, fetch(t, s)))); d != "" {
		t.Error(d)
	}
}

func TestWhatAMirrorHasForgottenIsLoadedWhole(t *testing.T) {
	work, root := gittest.New(t), t.TempDir()
	gittest.Bare(t, root, "app.git")
	push := func(files gittest.Files) {
		gittest.Commit(t, work, "x", files)
		gittest.Git(t, work, "push", "-q", root+"/app.git", "main")
	}
	push(gittest.Files{"a.yaml": configMap("a"), "b.yaml": configMap("b")})
	s := open(t, Spec{URL: gittest.Serve(t, gittest.Backend(t, root)) + "/app.git"})
	one := fetch(t, s)
	mustLoad(t, s, Commit{}, one)
	push(gittest.Files{"a.yaml": configMap("a2")})
	if err := s.origin.forget(); err != nil {
		t.Fatal(err)
	}
	two := fetch(t, s)
	change := mustLoad(t, s, one, two)
	if d := cmp.Diff([]string{"+a.yaml a2 a.yaml:1", "+b.yaml b b.yaml:1"}, summary(change)); d != "" || !change.All {
		t.Errorf("all: %v, %s", change.All, d)
	}
}

func TestADamagedMirrorIsForgottenSoThatTheNextFetchMendsIt(t *testing.T) {
	work, root := gittest.New(t), t.TempDir()
	gittest.Bare(t, root, "app.git")
	gittest.Commit(t, work, "x", gittest.Files{"d/a.yaml": configMap("a")})
	gittest.Git(t, work, "push", "-q", root+"/app.git", "main")
	s := open(t, Spec{URL: gittest.Serve(t, gittest.Backend(t, root)) + "/app.git"})
	c := fetch(t, s)
	packs, _ := filepath.Glob(filepath.Join(s.spec.Dir, "*/objects/pack/*.pack"))
	for _, p := range packs {
		os.Chmod(p, 0o644)
		if err := os.Truncate(p, 100); err != nil {
			t.Fatal(err)
		}
	}
	if len(packs) != 1 {
		t.Fatalf("packs: %v", packs)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context(), Commit{}, c); err == nil {
		t.Fatal("want that it cannot be read")
	}
	c = fetch(t, s)
	if d := cmp.Diff([]string{"+d/a.yaml a d/a.yaml:1"}, summary(mustLoad(t, s, Commit{}, c))); d != "" {
		t.Error(d)
	}
}

// state is what a source has brought: documents by file.
type state map[string]string

func (st state) apply(c Change) state {
	next := state{}
	if !c.All {
		maps.Copy(next, st)
	}
	for _, f := range c.Files {
		text := f.Blob.String()
		for _, d := range f.Documents {
			text += " " + d.Object.GetName()
		}
		next[f.Path] = text
	}
	for _, p := range c.Gone {
		delete(next, p)
	}
	return next
}

// history makes random commits, one after the other.
func history(t *testing.T, rng *rand.Rand, work string) iter.Seq[int] {
	paths := []string{"a.yaml", "b.yml", "d/a.yaml", "d/e/a.json", "d/e/b.yaml", "d/.hidden.yaml", "f", "f/a.yaml", ".mainstayignore", "d/.mainstayignore", "d/README.md"}
	return func(yield func(int) bool) {
		for n := range 25 {
			files := gittest.Files{}
			for range 1 + rng.IntN(3) {
				p := paths[rng.IntN(len(paths))]
				switch {
				case rng.IntN(3) == 0:
					files[p] = ""
				case strings.HasSuffix(p, "ignore"):
					files[p] = []string{"a.yaml\n", "d/\n", "*.yaml\n!b.yaml\n", "e\n"}[rng.IntN(4)]
				case strings.HasSuffix(p, ".json"):
					files[p] = fmt.Sprintf(`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n%d"}}`, rng.IntN(1000))
				default:
					files[p] = configMap(fmt.Sprint("n", rng.IntN(1000)))
				}
			}
			if files["f"] != "" || files["f/a.yaml"] != "" { // it is one or the other
				gittest.Write(t, work, gittest.Files{"f": ""})
			}
			if files["f"] != "" {
				delete(files, "f/a.yaml")
			}
			gittest.Commit(t, work, fmt.Sprint(n), files)
			if !yield(n) {
				return
			}
		}
	}
}

func TestLoadingStepByStepIsLoadingAtOnce(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 3))
	s, work := localSource(t, Spec{})
	st := state{}
	var last Commit
	for n := range history(t, rng, work) {
		c := fetch(t, s)
		change, err := s.Load(t.Context(), last, c)
		whole, wholeErr := open(t, Spec{URL: s.spec.URL}).Load(t.Context(), Commit{}, c)
		if err != nil || wholeErr != nil {
			if (err == nil) != (wholeErr == nil) {
				t.Fatalf("seed %d, commit %d: step by step %v, at once %v", seed, n, err, wholeErr)
			}
			continue // two files have drawn one name: such a commit is not taken
		}
		st = st.apply(change)
		last = c
		if d := cmp.Diff(state{}.apply(whole), st); d != "" {
			t.Fatalf("seed %d, commit %d: %s", seed, n, d)
		}
		if change.Manifests != len(st) {
			t.Fatalf("seed %d, commit %d: %d manifests, want %d", seed, n, change.Manifests, len(st))
		}
	}
}

func TestAFolderIsFollowedWithoutGit(t *testing.T) {
	dir := t.TempDir()
	gittest.Write(t, dir, gittest.Files{"a.yaml": configMap("a"), "node_modules/x.json": "{}", ".mainstayignore": "node_modules\n"})
	s := open(t, Spec{URL: "file://" + dir})
	one := fetch(t, s)
	mustLoad(t, s, Commit{}, one)
	gittest.Write(t, dir, gittest.Files{"b.yaml": configMap("b")})
	two := fetch(t, s)
	if d := cmp.Diff([]string{"+b.yaml b b.yaml:1"}, summary(mustLoad(t, s, one, two))); d != "" {
		t.Error(d)
	}
}

func TestALoadEndsWithItsContext(t *testing.T) {
	s, work := localSource(t, Spec{})
	gittest.Commit(t, work, "one", gittest.Files{"a.yaml": configMap("a")})
	c := fetch(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Load(ctx, Commit{}, c); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
