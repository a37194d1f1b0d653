package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A volume made from objects looks as Kubernetes lays it out, so that all of it changes at once:
//
//	..2026_01_02_15_04_05.123   the files themselves
//	..data                      -> ..2026_01_02_15_04_05.123, replaced by rename
//	key                         -> ..data/key, for each first part of a path
const (
	dataLink = "..data"
	newLink  = "..data_tmp"
)

// writeAtomically makes the volume at dir hold files. Nothing is written if it does already. What a crash left half done
// is cleared away.
func writeAtomically(dir string, files content, group *int64) error {
	if err := makeDir(dir, group); err != nil {
		return err
	}
	current, _ := os.Readlink(filepath.Join(dir, dataLink))
	if current == "" || !holds(filepath.Join(dir, current), files, group) {
		fresh, err := writeFiles(dir, files, group)
		if err != nil {
			return err
		}
		current = filepath.Base(fresh)
		tmp := filepath.Join(dir, newLink)
		if err := os.Remove(tmp); err != nil && !isNotExist(err) {
			return err
		}
		if err := os.Symlink(current, tmp); err != nil {
			return err
		}
		if err := os.Rename(tmp, filepath.Join(dir, dataLink)); err != nil {
			return err
		}
	}
	return errors.Join(linkAll(dir, files), sweep(dir, current, files))
}

// holds tells whether dir has just these files, with their content, modes and group.
func holds(dir string, files content, group *int64) bool {
	found := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		want, ok := files[name]
		info, err := d.Info()
		if !ok || err != nil || info.Mode() != groupMode(want.mode, group) || !owned(info, want.owner) {
			return fs.ErrInvalid
		}
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(data, want.data) {
			return fs.ErrInvalid
		}
		found++
		return nil
	})
	return err == nil && found == len(files)
}

// owned tells whether a file belongs to whom it should.
func owned(info fs.FileInfo, owner *int64) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return owner == nil || ok && int64(st.Uid) == *owner
}

// groupMode is the mode of a file whose group is to be able to read it, if there is one.
func groupMode(mode int32, group *int64) fs.FileMode {
	m := fs.FileMode(mode).Perm()
	if group != nil {
		m |= 0o440
	}
	return m
}

func makeDir(dir string, group *int64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if group == nil {
		return nil
	}
	if err := os.Chown(dir, -1, int(*group)); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755|fs.ModeSetgid)
}

// writeFiles writes files into a new folder under dir.
func writeFiles(dir string, files content, group *int64) (string, error) {
	fresh, err := os.MkdirTemp(dir, time.Now().UTC().Format("..2006_01_02_15_04_05."))
	if err != nil {
		return "", err
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return "", err
	}
	if err := makeDir(fresh, group); err != nil {
		return "", err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := writeFile(fresh, name, files[name], group); err != nil {
			return "", fmt.Errorf("write %s: %w", name, err)
		}
	}
	return fresh, nil
}

func writeFile(dir, name string, f file, group *int64) error {
	path := filepath.Join(dir, name)
	for parent := filepath.Dir(name); parent != "."; parent = filepath.Dir(parent) {
		if err := makeDir(filepath.Join(dir, parent), group); err != nil {
			return err
		}
	}
	if err := os.WriteFile(path, f.data, 0o600); err != nil {
		return err
	}
	if err := chown(path, f.owner, group); err != nil {
		return err
	}
	return os.Chmod(path, groupMode(f.mode, group))
}

// chown gives a file to whom it belongs; nil leaves it to root.
func chown(path string, owner, group *int64) error {
	if owner == nil && group == nil {
		return nil
	}
	uid, gid := -1, -1
	if owner != nil {
		uid = int(*owner)
	}
	if group != nil {
		gid = int(*group)
	}
	return os.Chown(path, uid, gid)
}

// top is the first part of a path.
func top(name string) string {
	first, _, _ := strings.Cut(name, "/")
	return first
}

func linkAll(dir string, files content) error {
	for name := range files {
		link := filepath.Join(dir, top(name))
		if _, err := os.Lstat(link); err == nil {
			continue
		}
		if err := os.Symlink(filepath.Join(dataLink, top(name)), link); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// sweep removes what is neither current nor a link to one of files.
func sweep(dir, current string, files content) error {
	keep := map[string]bool{dataLink: true, current: true}
	for name := range files {
		keep[top(name)] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !keep[e.Name()] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
