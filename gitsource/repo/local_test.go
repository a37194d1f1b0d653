package repo

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/gitsource/internal/gittest"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

func TestRepositoriesOfThisMachineAreReadWhereTheyAre(t *testing.T) {
	files := gittest.Files{"a.yaml": "a\n", "dir/b.yaml": "b\n"}
	work := gittest.New(t)
	hash := gittest.Commit(t, work, "one", files)
	gittest.Git(t, work, "tag", "-a", "-m", "x", "v1")
	root := t.TempDir()
	run := func(args ...string) { gittest.Git(t, root, args...) }
	run("clone", "-q", "--bare", work, "bare.git")
	run("clone", "-q", "--bare", work, "packed.git")
	gittest.Git(t, filepath.Join(root, "packed.git"), "pack-refs", "--all")
	gittest.Git(t, filepath.Join(root, "packed.git"), "repack", "-a", "-d", "-q")
	run("clone", "-q", "--shared", work, "shared")
	gittest.Git(t, work, "worktree", "add", "-q", "-b", "side", filepath.Join(root, "worktree"))
	for _, dir := range []string{work, root + "/bare.git", root + "/packed.git", root + "/shared", root + "/worktree", work + "/.git"} {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			for _, rev := range []Rev{{}, {Tag: "v1"}, {Commit: hash}} {
				l, err := FindLocal(dir, rev)
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				c, err := l.Fetch()
				if err != nil {
					t.Fatal(err)
				}
				rd, err := l.Reader()
				if err != nil {
					t.Fatal(err)
				}
				defer rd.Close()
				if c.Hash.String() != hash {
					t.Errorf("%s: got %s, want %s", rev, c.Hash, hash)
				}
				if diff := cmp.Diff(files, readAll(t, rd, c.Tree)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestALocalRepositoryMayBePackedAnewWhileItIsRead(t *testing.T) {
	work := gittest.New(t)
	gittest.Commit(t, work, "one", gittest.Files{"a.yaml": "a\n"})
	l, err := FindLocal(work, Rev{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Fetch(); err != nil {
		t.Fatal(err)
	}
	hash := gittest.Commit(t, work, "two", gittest.Files{"a.yaml": "b\n"})
	gittest.Git(t, work, "gc", "-q", "--prune=now")
	c, err := l.Fetch()
	if err != nil || c.Hash.String() != hash {
		t.Errorf("got %s and %v, want %s", c.Hash, err, hash)
	}
}

func TestWhatIsWrongWithALocalRepositoryIsSaidInWords(t *testing.T) {
	root := t.TempDir()
	gittest.Git(t, root, "init", "-q", "--object-format=sha256", "sha256")
	gittest.Git(t, root, "init", "-q", "-b", "main", "empty")
	gittest.Write(t, root, gittest.Files{"plain/a.yaml": "a\n", "file": "x\n"})
	gittest.Git(t, root, "init", "-q", "reftable")
	config := filepath.Join(root, "reftable/.git/config")
	gittest.Write(t, root, gittest.Files{"reftable/.git/config": "[core]\n\trepositoryformatversion = 1\n[extensions]\n\trefstorage = reftable\n"})
	if _, err := os.Stat(config); err != nil {
		t.Fatal(err)
	}
	dev := gittest.New(t)
	gittest.Commit(t, dev, "one", gittest.Files{"a": "a"})
	gittest.Git(t, dev, "branch", "-m", "main", "dev")
	tests := []struct {
		dir, text string
		want      error
	}{
		{root + "/sha256", "SHA-256", ErrUnsupported},
		{root + "/reftable", "reftable", ErrUnsupported},
		{root + "/empty", "push a first commit", ErrEmpty},
		{root + "/plain", "no Git repository", tree.ErrNotFound},
		{root + "/file", "no folder", nil},
		{root + "/nothing", "no such file", os.ErrNotExist},
		{dev, "branch main; there is dev", ErrNoRef},
	}
	for _, tt := range tests {
		l, err := FindLocal(tt.dir, Rev{})
		if err == nil {
			_, err = l.Fetch()
		}
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: got %v, want %q", tt.dir, err, tt.text)
		}
	}
}

func anything(string, bool) bool { return true }

func TestAFolderIsReadAsIfItWereCommitted(t *testing.T) {
	work := gittest.New(t)
	files := gittest.Files{"a.yaml": "a\n", "dir/b.yaml": "b\n", "dir.yaml": "between\n", "dir/deep/c.json": "{}"}
	gittest.Commit(t, work, "one", files)
	want := gittest.Git(t, work, "rev-parse", "HEAD^{tree}")
	gittest.Write(t, work, gittest.Files{".git": ""})
	f, err := OpenFolder(work, anything)
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c.Tree.String() != want || c.Hash != c.Tree {
		t.Errorf("got %s, want git's %s", c.Tree, want)
	}
	rd, _ := f.Reader()
	if diff := cmp.Diff(files, readAll(t, rd, c.Tree)); diff != "" {
		t.Error(diff)
	}
}

func TestAFolderNoticesEveryChange(t *testing.T) {
	dir := t.TempDir()
	f, err := OpenFolder(dir, anything)
	if err != nil {
		t.Fatal(err)
	}
	look := func() tree.Hash {
		t.Helper()
		c, err := f.Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return c.Hash
	}
	seen := map[tree.Hash]bool{look(): true}
	past := time.Now().Add(-time.Hour)
	steps := []func(){
		func() { gittest.Write(t, dir, gittest.Files{"a.yaml": "1"}) },
		func() { gittest.Write(t, dir, gittest.Files{"a.yaml": "2"}) }, // same size, perhaps the same tick of the clock
		func() { gittest.Write(t, dir, gittest.Files{"d/b.yaml": "b"}) },
		func() { gittest.Write(t, dir, gittest.Files{"a.yaml": ""}) },
		func() { os.Symlink("d", filepath.Join(dir, "link")) },
		func() {
			gittest.Write(t, dir, gittest.Files{"d/b.yaml": "c"})
			os.Chtimes(filepath.Join(dir, "d/b.yaml"), past, past)
		},
		func() {
			gittest.Write(t, dir, gittest.Files{"d/new": "d"})
			os.Chtimes(filepath.Join(dir, "d/new"), past, past)
			os.Rename(filepath.Join(dir, "d/new"), filepath.Join(dir, "d/b.yaml"))
		},
	}
	for i, step := range steps {
		step()
		h := look()
		if seen[h] {
			t.Errorf("step %d was not noticed", i)
		}
		if again := look(); again != h {
			t.Errorf("step %d: nothing has changed, and it is %s", i, again)
		}
		seen[h] = true
	}
}

func TestAFileThatHasChangedSinceTheLookIsNotPassedOffForTheOldOne(t *testing.T) {
	dir := t.TempDir()
	gittest.Write(t, dir, gittest.Files{"a.yaml": "old"})
	f, err := OpenFolder(dir, anything)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	gittest.Write(t, dir, gittest.Files{"a.yaml": "new"})
	rd, _ := f.Reader()
	if _, err := rd.Blob(tree.HashOf("blob", []byte("old"))); !errors.Is(err, ErrChanged) {
		t.Errorf("got %v", err)
	}
	if _, err := rd.Blob(tree.HashOf("blob", []byte("other"))); !errors.Is(err, tree.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}
