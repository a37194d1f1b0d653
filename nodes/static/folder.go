package static

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A Folder holds manifests: files that end in .yaml, .yml or .json. What is in hidden files and in folders below is not read.
type Folder struct {
	Dir  string
	Node string
	// Decode makes complete pods of a manifest. The error says all that is wrong, with file and line.
	Decode func(path string, data []byte) ([]*corev1.Pod, error)

	files map[string]file
}

// file is a manifest as it was last read. While one cannot be read, what it held before counts.
type file struct {
	mark  mark
	pods  []*corev1.Pod
	wrong error
}

// mark changes when a file does.
type mark struct {
	size int64
	time time.Time
}

const interval = time.Second

// Run reads the folder, and again whenever something changed in it, until ctx ends. found gets all pods, and what is wrong.
func (f *Folder) Run(ctx context.Context, found func(pods []*corev1.Pod, wrong []error)) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if pods, wrong, changed := f.Read(); changed {
			found(pods, wrong)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Read is all pods that the folder holds, and what is wrong with it; changed is false if nothing was touched since the last
// time. A folder that is not there is empty. Of two pods of one name the one whose file comes first counts.
func (f *Folder) Read() (pods []*corev1.Pod, wrong []error, changed bool) {
	names, err := f.list()
	if err != nil {
		return f.all(append(wrong, err), f.files == nil)
	}
	next := map[string]file{}
	for name, mark := range names {
		old, known := f.files[name]
		if known && old.mark == mark {
			next[name] = old
			continue
		}
		changed = true
		next[name] = f.read(name, mark, old.pods)
	}
	changed = changed || f.files == nil || len(next) != len(f.files)
	f.files = next
	return f.all(wrong, changed)
}

func (f *Folder) list() (map[string]mark, error) {
	entries, err := os.ReadDir(f.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for pods of this node: %w", err)
	}
	all := map[string]mark{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) {
			continue
		}
		info, err := os.Stat(filepath.Join(f.Dir, e.Name()))
		if err == nil && info.Mode().IsRegular() { // else it has just gone, or is no manifest
			all[e.Name()] = mark{info.Size(), info.ModTime()}
		}
	}
	return all, nil
}

func (f *Folder) read(name string, mark mark, before []*corev1.Pod) file {
	data, err := os.ReadFile(filepath.Join(f.Dir, name))
	if err != nil {
		return file{mark, before, err}
	}
	pods, err := f.Decode(name, data)
	if err != nil {
		return file{mark, before, err}
	}
	read := file{mark: mark}
	for _, p := range pods {
		own, err := Adopt(p, f.Node)
		if err != nil {
			return file{mark, before, fmt.Errorf("%s: %w", name, err)}
		}
		read.pods = append(read.pods, own)
	}
	return read
}

func (f *Folder) all(wrong []error, changed bool) ([]*corev1.Pod, []error, bool) {
	var pods []*corev1.Pod
	taken := map[string]string{}
	var names []string
	for name := range f.files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := f.files[name].wrong; err != nil {
			wrong = append(wrong, err)
		}
		for _, p := range f.files[name].pods {
			id := p.Namespace + "/" + p.Name
			if first, twice := taken[id]; twice {
				wrong = append(wrong, fmt.Errorf("%s: pod %s is in %s already", name, id, first))
				continue
			}
			taken[id] = name
			pods = append(pods, p)
		}
	}
	return pods, wrong, changed
}
