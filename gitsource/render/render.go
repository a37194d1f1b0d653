// Package render says which files of a tree are manifests. For now a manifest is a plain file of YAML or JSON; folders
// that need a renderer are refused by name.
package render

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// IgnoreFile names files and folders that are no manifests, in the syntax of .gitignore. It counts for its folder and
// all below, and may lie in any folder that is read.
const IgnoreFile = ".mainstayignore"

// maxIgnoreFile is more than anybody writes by hand.
const maxIgnoreFile = 64 << 10

// A Class is what a file is to Mainstay.
type Class int

const (
	Other       Class = iota // nothing to do with it
	Manifest                 // holds documents
	Unsupported              // cannot be rendered yet, and must not be passed over
	Link                     // a symlink or submodule where a manifest may have been meant: not followed
)

// Classify says what the entry at path is, and if it is Unsupported or a Link, why, in words for the user.
func Classify(p string, e tree.Entry) (Class, string) {
	switch name := path.Base(p); {
	case e.Mode == tree.Submodule:
		return Link, "is a submodule: not followed, make it a source of its own"
	case e.Mode == tree.Symlink && (isManifestName(name) || path.Ext(name) == ""):
		return Link, "is a symlink: not followed"
	case !e.Mode.IsFile():
		return Other, ""
	case name == "kustomization.yaml", name == "kustomization.yml", name == "Kustomization":
		return Unsupported, "kustomize is not supported yet: commit plain manifests, or name the folder in " + IgnoreFile
	case name == "Chart.yaml":
		return Unsupported, "Helm charts are not supported yet: commit plain manifests, or name the folder in " + IgnoreFile
	case isManifestName(name):
		return Manifest, ""
	}
	return Other, ""
}

func isManifestName(name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// Candidate says whether the file of that name can matter: to read a folder of this machine, the others need not be
// looked into.
func Candidate(name string) bool {
	return name == IgnoreFile || name == "Kustomization" || isManifestName(name)
}

// Rules chooses the files of a tree that Classify has something to say about: it leaves out hidden files and folders,
// and what ignore files name. It is for the root of what is read.
func Rules() tree.Rules { return rules{} }

// rules are those inside of one folder: what its ignore file and those above it say.
type rules struct{ files []ignoreFile }

type ignoreFile struct {
	dir      string
	blob     tree.Hash
	patterns []pattern
}

func (r rules) Enter(o tree.Objects, dir string, entries []tree.Entry) (tree.Rules, error) {
	i := slices.IndexFunc(entries, func(e tree.Entry) bool { return e.Name == IgnoreFile && e.Mode.IsFile() })
	if i < 0 {
		return r, nil
	}
	data, err := o.Blob(entries[i].Hash)
	if err == nil && len(data) > maxIgnoreFile {
		err = tree.ErrTooBig
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", tree.Join(dir, IgnoreFile), err)
	}
	file := ignoreFile{dir: dir, blob: entries[i].Hash, patterns: parseIgnore(data)}
	return rules{files: append(slices.Clip(r.files), file)}, nil
}

func (r rules) Keep(p string, e tree.Entry) bool {
	if strings.HasPrefix(e.Name, ".") || r.ignores(p, e.Mode == tree.Folder) {
		return false
	}
	if e.Mode == tree.Folder {
		return true
	}
	class, _ := Classify(p, e)
	return class != Other
}

// ignores says whether the last line that means p ignores it.
func (r rules) ignores(p string, folder bool) bool {
	for _, f := range slices.Backward(r.files) {
		rel := strings.TrimPrefix(p[len(f.dir):], "/")
		names := strings.Split(rel, "/")
		for _, pat := range slices.Backward(f.patterns) {
			if pat.matches(names, folder) {
				return !pat.include
			}
		}
	}
	return false
}

func (r rules) Same(other tree.Rules) bool {
	o, ok := other.(rules)
	return ok && slices.EqualFunc(r.files, o.files, func(a, b ignoreFile) bool { return a.dir == b.dir && a.blob == b.blob })
}
