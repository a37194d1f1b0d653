package repo

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

const packedRefs = "packed-refs"

// A Ref is a branch or a tag, by its whole name: refs/heads/main.
type Ref struct {
	Name string
	Hash tree.Hash
}

// CheckRefName says what is wrong with the whole name of a branch or tag, if anything. A good one is safe as a path.
func CheckRefName(name string) error {
	rest, ok := strings.CutPrefix(name, "refs/heads/")
	if !ok {
		rest, ok = strings.CutPrefix(name, "refs/tags/")
	}
	if !ok || rest == "" {
		return fmt.Errorf("%q is neither below refs/heads/ nor refs/tags/", name)
	}
	if len(name) > 250 {
		return fmt.Errorf("the name %q is too long", name)
	}
	if err := plumbing.ReferenceName(name).Validate(); err != nil {
		return fmt.Errorf("%q is no name for a branch or tag", name)
	}
	return nil
}

// Ref returns what the ref of that whole name points at. tree.ErrNotFound: there is none.
func (r *Repository) Ref(name string) (tree.Hash, error) {
	for range 5 { // a ref may point at a ref
		data, err := os.ReadFile(filepath.Join(r.dir, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) || isFolder(err) {
			return r.packedRef(name)
		}
		if err != nil {
			return tree.Hash{}, fmt.Errorf("read ref: %w", err)
		}
		target, symbolic := strings.CutPrefix(strings.TrimSpace(string(data)), "ref: ")
		if !symbolic {
			return tree.ParseHash(target)
		}
		if CheckRefName(target) != nil {
			break
		}
		name = target
	}
	return tree.Hash{}, fmt.Errorf("ref %s: %w", name, tree.ErrNotFound)
}

// isFolder says whether a file could not be read since it, or something above it, is not what it should be.
func isFolder(err error) bool {
	return errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ENOTDIR)
}

func (r *Repository) packedRef(name string) (tree.Hash, error) {
	refs, err := r.packed()
	if err != nil {
		return tree.Hash{}, err
	}
	i, ok := slices.BinarySearchFunc(refs, name, func(ref Ref, name string) int { return strings.Compare(ref.Name, name) })
	if !ok {
		return tree.Hash{}, fmt.Errorf("ref %s: %w", name, tree.ErrNotFound)
	}
	return refs[i].Hash, nil
}

// packed reads the refs that git pack-refs has put into one file, by name.
func (r *Repository) packed() ([]Ref, error) {
	data, err := os.ReadFile(filepath.Join(r.dir, packedRefs))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", packedRefs, err)
	}
	var refs []Ref
	for line := range bytes.Lines(data) {
		if line[0] == '#' || line[0] == '^' {
			continue
		}
		hash, name, ok := strings.Cut(strings.TrimSpace(string(line)), " ")
		h, err := tree.ParseHash(hash)
		if !ok || err != nil {
			return nil, fmt.Errorf("read %s: %w", packedRefs, ErrDamaged)
		}
		refs = append(refs, Ref{name, h})
	}
	slices.SortFunc(refs, byRefName)
	return refs, nil
}

func byRefName(a, b Ref) int { return strings.Compare(a.Name, b.Name) }

// Refs returns all branches and tags, by name.
func (r *Repository) Refs() ([]Ref, error) {
	all, err := r.packed()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(ref Ref) bool { return CheckRefName(ref.Name) != nil })
	for _, folder := range []string{"refs/heads", "refs/tags"} {
		loose, err := r.looseNames(folder)
		if err != nil {
			return nil, err
		}
		for _, name := range loose {
			h, err := r.Ref(name)
			if errors.Is(err, tree.ErrNotFound) {
				continue // gone since, or pointing nowhere
			}
			if err != nil {
				return nil, err
			}
			all = append(all, Ref{name, h})
		}
	}
	return lastOfEach(all), nil
}

// lastOfEach sorts refs and keeps the last one of each name: a file counts more than a line in packed-refs.
func lastOfEach(refs []Ref) []Ref {
	slices.Reverse(refs)
	slices.SortStableFunc(refs, byRefName)
	return slices.CompactFunc(refs, func(a, b Ref) bool { return a.Name == b.Name })
}

// looseNames lists the refs that have a file of their own.
func (r *Repository) looseNames(folder string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(filepath.Join(r.dir, folder), func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(r.dir, p)
		if name := filepath.ToSlash(rel); !e.IsDir() && CheckRefName(name) == nil {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list refs: %w", err)
	}
	return names, nil
}

// Head is the whole name of the branch that HEAD points at; "" if it points at none.
func (r *Repository) Head() string {
	data, err := os.ReadFile(filepath.Join(r.dir, "HEAD"))
	target, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "ref: ")
	if err != nil || !ok || CheckRefName(target) != nil {
		return ""
	}
	return target
}
