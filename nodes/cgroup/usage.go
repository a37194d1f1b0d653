package cgroup

import (
	"fmt"
	"strconv"
	"time"
)

// WorkingSet is how much memory the processes of a group, and of those under it, use that cannot be taken back from them:
// all but the file pages that were not used of late. In bytes.
func (t *Tree) WorkingSet(group string) (int64, error) {
	h, ok := t.of("memory")
	if !ok {
		return 0, fmt.Errorf("measure memory of cgroup %s: this machine has no cgroup controller for it", group)
	}
	file, idle := "memory.current", "inactive_file"
	if !h.unified {
		file, idle = "memory.usage_in_bytes", "total_inactive_file"
	}
	used, err := h.count(group, file)
	if err != nil {
		return 0, fmt.Errorf("measure memory of cgroup %s: %w", group, err)
	}
	stat, err := read(h.path(group, "memory.stat"))
	if err != nil {
		return 0, fmt.Errorf("measure memory of cgroup %s: %w", group, err)
	}
	return max(0, used-int64(field(stat, idle))), nil
}

// Tasks counts the processes and threads of a group and of those under it.
func (t *Tree) Tasks(group string) (int64, error) {
	h, ok := t.of("pids")
	if !ok {
		return 0, fmt.Errorf("count processes of cgroup %s: this machine has no cgroup controller for it", group)
	}
	n, err := h.count(group, "pids.current")
	if err != nil {
		return 0, fmt.Errorf("count processes of cgroup %s: %w", group, err)
	}
	return n, nil
}

// CPU is how long the processes of a group, and of those under it, have run on processors, since it was made.
func (t *Tree) CPU(group string) (time.Duration, error) {
	h, ok := t.of("cpuacct")
	if !ok {
		return 0, fmt.Errorf("measure CPU of cgroup %s: this machine has no cgroup controller for it", group)
	}
	if !h.unified {
		n, err := h.count(group, "cpuacct.usage")
		if err != nil {
			return 0, fmt.Errorf("measure CPU of cgroup %s: %w", group, err)
		}
		return time.Duration(n), nil
	}
	stat, err := read(h.path(group, "cpu.stat"))
	if err != nil {
		return 0, fmt.Errorf("measure CPU of cgroup %s: %w", group, err)
	}
	return time.Duration(field(stat, "usage_usec")) * time.Microsecond, nil
}

// count reads a file that holds one number.
func (h hierarchy) count(group, file string) (int64, error) {
	text, err := read(h.path(group, file))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// LimitAll limits what all pods together may have. Where they use more memory than that already, the kernel does not take
// the limit: that is no error, and a later call tries again.
func (p *Pods) LimitAll(l Limits) error {
	if err := p.tree.Make(p.root); err != nil {
		return err
	}
	err := p.tree.Limit(p.root, l)
	if used, uerr := p.tree.WorkingSet(p.root); err != nil && uerr == nil && l.MemoryLimit > 0 && used >= l.MemoryLimit {
		return nil
	}
	return err
}
