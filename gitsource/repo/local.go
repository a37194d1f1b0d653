package repo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// A Local is a repository on this machine that belongs to somebody else: it is read where it is, and never written.
type Local struct {
	*Repository
	rev Rev
}

// FindLocal opens the repository in a folder: the folder itself if it is a bare one, else what its .git is or names.
// tree.ErrNotFound: the folder is there, and no repository.
func FindLocal(dir string, rev Rev) (*Local, error) {
	if err := rev.Check(); err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("open %s: it is no folder", dir)
	}
	git, err := gitDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	if err := checkFormat(git); err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	return &Local{&Repository{dir: git}, rev}, nil
}

// gitDir finds where the objects and branches are.
func gitDir(dir string) (string, error) {
	if isGitDir(dir) {
		return dir, nil
	}
	git := filepath.Join(dir, ".git")
	info, err := os.Stat(git)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("it is no Git repository: %w", tree.ErrNotFound)
	}
	if err != nil {
		return "", err
	}
	if !info.IsDir() { // of a worktree or submodule
		if git, err = pointer(git, "gitdir: "); err != nil {
			return "", err
		}
	}
	if common, err := pointer(filepath.Join(git, "commondir"), ""); err == nil {
		git = common
	}
	if !isGitDir(git) {
		return "", fmt.Errorf("its .git is no Git repository: %w", tree.ErrNotFound)
	}
	return git, nil
}

func isGitDir(dir string) bool {
	for _, name := range []string{"HEAD", "objects", "refs"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// pointer reads a file that names a folder, relative to its own.
func pointer(file, prefix string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	target, ok := strings.CutPrefix(strings.TrimSpace(string(data)), prefix)
	if !ok || target == "" {
		return "", fmt.Errorf("%s names no folder", file)
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(file), target)
	}
	return target, nil
}

// checkFormat refuses what cannot be read, by its name in the configuration.
func checkFormat(git string) error {
	data, err := os.ReadFile(filepath.Join(git, "config"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(strings.ToLower(string(data))) {
		key, value, _ := strings.Cut(line, "=")
		switch key, value = strings.TrimSpace(key), strings.TrimSpace(value); {
		case key == "objectformat" && value != "sha1":
			return errSHA256()
		case key == "refstorage" && value != "files":
			return fmt.Errorf("it keeps its branches in the format %s: %w", value, ErrUnsupported)
		}
	}
	return nil
}

// Fetch looks up the commit.
func (l *Local) Fetch() (Commit, error) {
	c, err := l.At(l.rev)
	if err != nil {
		return Commit{}, fmt.Errorf("%s: %w", l.dir, err)
	}
	return c, nil
}

// At returns the commit that rev names. ErrNoRef tells which others there are, ErrEmpty that there are none.
func (r *Repository) At(rev Rev) (Commit, error) {
	h, err := r.tip(rev)
	if err != nil {
		return Commit{}, fmt.Errorf("look up %s: %w", rev, err)
	}
	c, err := r.verify(h)
	if err != nil {
		return Commit{}, fmt.Errorf("look up %s: %w", rev, err)
	}
	return c, nil
}

func (r *Repository) tip(rev Rev) (tree.Hash, error) {
	if rev.Commit != "" {
		return tree.ParseHash(rev.Commit)
	}
	h, err := r.Ref(rev.RefName())
	if !errors.Is(err, tree.ErrNotFound) {
		return h, err
	}
	refs, err := r.Refs()
	if err != nil {
		return tree.Hash{}, err
	}
	if len(refs) == 0 {
		return tree.Hash{}, ErrEmpty
	}
	return find(refs, rev)
}
