// Package cgroup makes, limits, enters and removes cgroups: those of the node itself, and under it those of its pods. It
// serves cgroup v1, v1 with a unified hierarchy beside it (hybrid), and v2 alone. Paths are those that /proc/PID/cgroup
// shows, such as "/mainstay-a/pods"; a group is the folder of that name in every hierarchy.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNone: no cgroup file system is mounted.
var ErrNone = errors.New("no cgroup hierarchy is mounted; mount one at /sys/fs/cgroup")

// A Tree is the cgroup hierarchies of this machine. It holds nothing open and is safe for concurrent use.
type Tree struct {
	hierarchies []hierarchy
}

type hierarchy struct {
	dir         string
	unified     bool     // cgroup v2
	delegates   bool     // a group gives its controllers to its children; not in hybrid mode, where pods need none of v2
	controllers []string // of a v1 hierarchy
}

// Open finds the hierarchies that are mounted.
func Open() (*Tree, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("find cgroups: %w", err)
	}
	defer f.Close()
	return parse(f)
}

// parse reads mountinfo lines: "27 1 254:0 ROOT DIR options - TYPE source super,options". Of a hierarchy that is mounted
// twice the first mount counts.
func parse(mountinfo io.Reader) (*Tree, error) {
	t := &Tree{}
	lines := bufio.NewScanner(mountinfo)
	for lines.Scan() {
		left, right, _ := strings.Cut(lines.Text(), " - ")
		place, kind := strings.Fields(left), strings.Fields(right)
		if len(place) < 5 || len(kind) < 3 || place[3] != "/" {
			continue
		}
		h := hierarchy{dir: place[4], unified: kind[0] == "cgroup2"}
		switch {
		case kind[0] == "cgroup":
			h.controllers = controllers(kind[2])
		case !h.unified:
			continue
		}
		if !slices.ContainsFunc(t.hierarchies, h.same) {
			t.hierarchies = append(t.hierarchies, h)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("find cgroups: %w", err)
	}
	if len(t.hierarchies) == 0 {
		return nil, ErrNone
	}
	t.hierarchies[0].delegates = t.V2()
	return t, nil
}

// controllers picks those of a v1 hierarchy from its mount options; one without any is known by its name.
func controllers(options string) []string {
	var out []string
	for o := range strings.SplitSeq(options, ",") {
		switch o {
		case "rw", "ro", "xattr", "clone_children", "noprefix":
		default:
			out = append(out, o)
		}
	}
	return out
}

func (h hierarchy) same(o hierarchy) bool {
	return h.unified == o.unified && slices.Equal(h.controllers, o.controllers)
}

func (h hierarchy) path(group string, file ...string) string {
	return filepath.Join(append([]string{h.dir, group}, file...)...)
}

// V2 tells whether limits are set in the unified hierarchy, because there is no other.
func (t *Tree) V2() bool {
	return len(t.hierarchies) == 1 && t.hierarchies[0].unified
}

// Unified is the folder of a group in the unified hierarchy, to which BPF programs are attached. It is empty on a machine
// that has none.
func (t *Tree) Unified(group string) string {
	for _, h := range t.hierarchies {
		if h.unified {
			return h.path(group)
		}
	}
	return ""
}

// of is the hierarchy in which a controller's files are.
func (t *Tree) of(controller string) (hierarchy, bool) {
	for _, h := range t.hierarchies {
		if h.unified && t.V2() || slices.Contains(h.controllers, controller) {
			return h, true
		}
	}
	return hierarchy{}, false
}

func write(path, value string) error {
	return os.WriteFile(path, []byte(value), 0o644)
}

func read(path string) (string, error) {
	data, err := os.ReadFile(path)
	return strings.TrimSpace(string(data)), err
}
