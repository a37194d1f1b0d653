package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Make makes a group and those above it, with every controller at its service. One that is there is no error. In v2 a
// group that has children holds no processes: enter a child, not the group itself.
func (t *Tree) Make(group string) error {
	for _, h := range t.hierarchies {
		if err := h.make(group); err != nil {
			return fmt.Errorf("make cgroup %s: %w", group, err)
		}
	}
	return nil
}

func (h hierarchy) make(group string) error {
	parent := path.Dir(group)
	err := os.Mkdir(h.path(group), 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		if err := h.make(parent); err != nil {
			return err
		}
		err = os.Mkdir(h.path(group), 0o755)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if slices.Contains(h.controllers, "cpuset") {
		return h.inheritCPUSet(parent, group)
	}
	return h.delegate(parent)
}

// delegate lets the children of a v2 group have the controllers that it has itself.
func (h hierarchy) delegate(group string) error {
	if !h.delegates {
		return nil
	}
	have, err := read(h.path(group, "cgroup.controllers"))
	if err != nil {
		return err
	}
	given, err := read(h.path(group, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	if more := missing(have, given); more != "" {
		return write(h.path(group, "cgroup.subtree_control"), more)
	}
	return nil
}

// missing is what to write to cgroup.subtree_control: of the controllers that pods need, those that a group has and does
// not give yet.
func missing(have, given string) string {
	var out []string
	for _, c := range []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids"} {
		if slices.Contains(strings.Fields(have), c) && !slices.Contains(strings.Fields(given), c) {
			out = append(out, "+"+c)
		}
	}
	return strings.Join(out, " ")
}

// inheritCPUSet copies what a new v1 cpuset lacks: an empty one takes no process.
func (h hierarchy) inheritCPUSet(parent, child string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := read(h.path(child, file))
		if err != nil || own != "" {
			return err
		}
		from, err := read(h.path(parent, file))
		if err != nil {
			return err
		}
		if err := write(h.path(child, file), from); err != nil {
			return err
		}
	}
	return nil
}

// Enter makes a group if need be and moves a process into it, in every hierarchy. The sockets that a process opened
// before stay with the group in which it opened them.
func (t *Tree) Enter(group string, pid int) error {
	if err := t.Make(group); err != nil {
		return err
	}
	for _, h := range t.hierarchies {
		if err := write(h.path(group, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("enter cgroup %s: %w", group, err)
		}
	}
	return nil
}

// Has tells whether a process is in a group, or in one under it, in at least one hierarchy.
func (t *Tree) Has(group string, pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		_, path, _ := strings.Cut(rest, ":")
		if path == group || strings.HasPrefix(path, group+"/") {
			return true
		}
	}
	return false
}

// Procs are the processes in a group and in those under it, in any hierarchy. A group that is not there has none.
func (t *Tree) Procs(group string) ([]int, error) {
	var out []int
	for _, h := range t.hierarchies {
		for _, dir := range h.tree(group) {
			text, err := read(dir + "/cgroup.procs")
			if err != nil && !gone(err) {
				return nil, fmt.Errorf("list processes of cgroup %s: %w", group, err)
			}
			for _, field := range strings.Fields(text) {
				if pid, err := strconv.Atoi(field); err == nil && pid != 0 {
					out = append(out, pid)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// OOMKills counts the processes of a group that were killed because it, or one above it, had no memory left. The kernel
// counts them where the process was, so ask for the group that holds processes, not for the one with the limit.
func (t *Tree) OOMKills(group string) (int, error) {
	h, ok := t.of("memory")
	if !ok {
		return 0, nil
	}
	file := "memory.events"
	if !h.unified {
		file = "memory.oom_control"
	}
	text, err := read(h.path(group, file))
	if err != nil {
		return 0, fmt.Errorf("count out-of-memory kills of cgroup %s: %w", group, err)
	}
	return field(text, "oom_kill"), nil
}

// field is the number after a name, on a line of its own.
func field(text, name string) int {
	for line := range strings.Lines(text) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), " "); key == name {
			n, _ := strconv.Atoi(value)
			return n
		}
	}
	return 0
}

// Children are the groups right under one whose name begins so, in any hierarchy, as paths.
func (t *Tree) Children(group, begin string) []string {
	var out []string
	for _, h := range t.hierarchies {
		entries, _ := os.ReadDir(h.path(group)) // none if it is not there
		for _, e := range entries {
			if e.IsDir() && strings.HasPrefix(e.Name(), begin) {
				out = append(out, path.Join(group, e.Name()))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
