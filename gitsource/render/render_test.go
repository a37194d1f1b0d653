package render

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/gitsource/internal/gittest"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// listed are the manifests of files, and what is said about others.
func listed(t *testing.T, files gittest.Files) (manifests, others []string) {
	t.Helper()
	o := newObjects(files)
	for c, err := range tree.Diff(o, tree.Side{}, tree.Side{Tree: o.root, Rules: Rules()}) {
		if err != nil {
			t.Fatal(err)
		}
		switch class, why := Classify(c.Path, c.New); class {
		case Manifest:
			manifests = append(manifests, c.Path)
		case Unsupported, Link:
			others = append(others, c.Path+": "+why)
		default:
			t.Errorf("%s was kept and is nothing", c.Path)
		}
	}
	return manifests, others
}

// objects are files in memory.
type objects struct {
	root  tree.Hash
	trees map[tree.Hash][]tree.Entry
	blobs map[tree.Hash][]byte
}

func newObjects(files gittest.Files) *objects {
	o := &objects{trees: map[tree.Hash][]tree.Entry{}, blobs: map[tree.Hash][]byte{}}
	o.root = o.add(files)
	return o
}

func (o *objects) add(files gittest.Files) tree.Hash {
	folders := map[string]gittest.Files{}
	var entries []tree.Entry
	for path, content := range files {
		name, rest, nested := strings.Cut(path, "/")
		if nested {
			if folders[name] == nil {
				folders[name] = gittest.Files{}
			}
			folders[name][rest] = content
			continue
		}
		e := tree.Entry{Name: name, Mode: tree.File, Hash: tree.HashOf("blob", []byte(content))}
		switch content {
		case "symlink":
			e.Mode = tree.Symlink
		case "submodule":
			e.Mode = tree.Submodule
		}
		o.blobs[e.Hash] = []byte(content)
		entries = append(entries, e)
	}
	for name, inside := range folders {
		entries = append(entries, tree.Entry{Name: name, Mode: tree.Folder, Hash: o.add(inside)})
	}
	h := tree.HashOf("tree", tree.Encode(entries))
	o.trees[h] = entries
	return h
}

func (o *objects) Tree(h tree.Hash) ([]tree.Entry, error) { return o.trees[h], nil }
func (o *objects) Blob(h tree.Hash) ([]byte, error)       { return o.blobs[h], nil }

func TestWhichFilesAreManifests(t *testing.T) {
	tests := []struct {
		name   string
		files  gittest.Files
		want   []string
		others []string
	}{
		{"YAML and JSON are, wherever they lie", gittest.Files{"a.yaml": "", "b.yml": "", "d/e/c.json": "", "README.md": "", "Makefile": "", "x.yaml.bak": "", "YAML": ""},
			[]string{"a.yaml", "b.yml", "d/e/c.json"}, nil},
		{"hidden files and folders are not", gittest.Files{".a.yaml": "", ".github/w.yaml": "", "d/.x/y.yaml": "", "d/ok.yaml": ""}, []string{"d/ok.yaml"}, nil},
		{"what an ignore file names is not", gittest.Files{".mainstayignore": "*.tmp.yaml\n/values\n!keep.tmp.yaml\n", "a.tmp.yaml": "", "keep.tmp.yaml": "", "values/x.yaml": "", "d/values/x.yaml": "", "d/b.tmp.yaml": ""},
			[]string{"d/values/x.yaml", "keep.tmp.yaml"}, nil},
		{"an ignore file counts for its folder", gittest.Files{"d/.mainstayignore": "x.yaml\n", "d/x.yaml": "", "d/e/x.yaml": "", "x.yaml": ""}, []string{"x.yaml"}, nil},
		{"a nearer ignore file counts more", gittest.Files{".mainstayignore": "x.yaml\n", "d/.mainstayignore": "!x.yaml\n", "d/x.yaml": "", "x.yaml": ""}, []string{"d/x.yaml"}, nil},
		{"folders that need a renderer are refused by name", gittest.Files{"k/kustomization.yaml": "", "l/kustomization.yml": "", "m/Kustomization": "", "n/Chart.yaml": "", "n/ok.yaml": ""},
			[]string{"n/ok.yaml"}, []string{"k/kustomization.yaml: kustomize is not supported yet", "l/kustomization.yml: kustomize", "m/Kustomization: kustomize", "n/Chart.yaml: Helm charts are not supported yet"}},
		{"unless they are ignored", gittest.Files{".mainstayignore": "k/\n", "k/kustomization.yaml": "", "a.yaml": ""}, []string{"a.yaml"}, nil},
		{"links are told of, not followed", gittest.Files{"a.yaml": "symlink", "dir": "symlink", "image.png": "symlink", "sub": "submodule", "b.yaml": ""},
			[]string{"b.yaml"}, []string{"a.yaml: is a symlink", "dir: is a symlink", "sub: is a submodule"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			manifests, others := listed(t, tt.files)
			if d := cmp.Diff(tt.want, manifests); d != "" {
				t.Error(d)
			}
			if !slices.EqualFunc(tt.others, others, func(want, got string) bool { return strings.HasPrefix(got, want) }) {
				t.Errorf("got %q, want %q", others, tt.others)
			}
		})
	}
}

func TestATooBigIgnoreFileIsAnError(t *testing.T) {
	o := newObjects(gittest.Files{IgnoreFile: strings.Repeat("x\n", maxIgnoreFile)})
	for _, err := range tree.Diff(o, tree.Side{}, tree.Side{Tree: o.root, Rules: Rules()}) {
		if err == nil || !strings.Contains(err.Error(), IgnoreFile) {
			t.Errorf("got %v", err)
		}
	}
}

// TestIgnoreFilesMeanWhatGitMeans asks git the same questions. It leaves out a** within a path, which git 2.39 does not
// take as its own manual has it.
func TestIgnoreFilesMeanWhatGitMeans(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 2))
	dir := gittest.New(t)
	pick := func(from ...string) string { return from[rng.IntN(len(from))] }
	for round := range 60 {
		var lines []string
		for range 1 + rng.IntN(3) {
			line := pick("", "", "!") + pick("", "", "/", "**/")
			for i := range 1 + rng.IntN(3) {
				if i > 0 {
					line += "/"
				}
				line += pick("a", "b", "*", "a*", "?", "[ab]", "[!a]", "**", "ab", `\a`, "*b")
			}
			lines = append(lines, line+pick("", "", "/", "/**", " "))
		}
		text := strings.Join(lines, "\n") + "\n"
		gittest.Write(t, dir, gittest.Files{".gitignore": text})
		var paths []string
		for range 40 {
			names := make([]string, 1+rng.IntN(4))
			for i := range names {
				names[i] = pick("a", "b", "ab", "ba", "c")
			}
			paths = append(paths, strings.Join(names, "/"))
		}
		want := gitIgnores(t, dir, paths)
		r := rules{files: []ignoreFile{{patterns: parseIgnore([]byte(text))}}}
		for _, p := range paths {
			if got := ignoredPath(r, p); got != want[p] {
				t.Fatalf("seed %d, round %d: %q is ignored: %v, git says %v, by\n%s", seed, round, p, got, want[p], text)
			}
		}
	}
}

// ignoredPath says whether p is ignored, or a folder above it.
func ignoredPath(r rules, p string) bool {
	for i := range p {
		if p[i] == '/' && r.ignores(p[:i], true) {
			return true
		}
	}
	return r.ignores(p, false)
}

func gitIgnores(t *testing.T, dir string, paths []string) map[string]bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "check-ignore", "--no-index", "--stdin")
	cmd.Dir, cmd.Env, cmd.Stdin = dir, gittest.Env(dir), strings.NewReader(strings.Join(paths, "\n")+"\n")
	out, err := cmd.Output()
	if exit, ok := err.(*exec.ExitError); err != nil && (!ok || exit.ExitCode() != 1) { // 1: none is
		t.Fatal(err)
	}
	ignored := map[string]bool{}
	for _, p := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		ignored[p] = true
	}
	return ignored
}

func FuzzIgnore(f *testing.F) {
	f.Add("*.yaml\n!a/**/b\n[!x]\n\\#\n", "a/b/c")
	f.Fuzz(func(t *testing.T, text, path string) {
		r := rules{files: []ignoreFile{{patterns: parseIgnore([]byte(text))}}}
		if path != "" {
			ignoredPath(r, path)
		}
	})
}

func BenchmarkKeepWithManyPatterns(b *testing.B) {
	var text strings.Builder
	for i := range 50 {
		fmt.Fprintf(&text, "dir%d/**/*.tmp\n*.x%d\n", i, i)
	}
	r := rules{files: []ignoreFile{{patterns: parseIgnore([]byte(text.String()))}}}
	for b.Loop() {
		r.Keep("apps/a000/f00.yaml", tree.Entry{Name: "f00.yaml", Mode: tree.File})
	}
}
