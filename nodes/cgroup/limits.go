package cgroup

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
)

// Limits of a group. 0 is no limit, and for shares the kernel's default.
type Limits struct {
	CPUShares   int64 // relative weight, cgroup v1 scale: 1024 is one core requested
	CPUQuota    int64 // microseconds of CPU in each CPUPeriod
	CPUPeriod   int64 // microseconds; 0: 100 ms
	MemoryLimit int64 // bytes
	Pids        int64
	HugePages   map[string]int64 // bytes, by the size of a page as cgroups name it: 2MB, 1GB; here 0 is none
}

// setting is one line to write.
type setting struct{ controller, file, value string }

// settings name every limit, also those that are not set: a group may be made on what an earlier one left.
func (l Limits) settings(v2 bool) []setting {
	period := strconv.FormatInt(orDefault(l.CPUPeriod, 100_000), 10)
	if v2 {
		return []setting{
			{"cpu", "cpu.weight", strconv.FormatInt(weight(orDefault(l.CPUShares, defaultShares)), 10)},
			{"cpu", "cpu.max", limit(l.CPUQuota, "max") + " " + period},
			{"memory", "memory.max", limit(l.MemoryLimit, "max")},
			{"pids", "pids.max", limit(l.Pids, "max")},
		}
	}
	return []setting{
		{"cpu", "cpu.shares", strconv.FormatInt(orDefault(l.CPUShares, defaultShares), 10)},
		{"cpu", "cpu.cfs_period_us", period},
		{"cpu", "cpu.cfs_quota_us", limit(l.CPUQuota, "-1")},
		{"memory", "memory.limit_in_bytes", limit(l.MemoryLimit, "-1")},
		{"pids", "pids.max", limit(l.Pids, "max")},
	}
}

// hugePages are the settings for those sizes that a limit is given for.
func (l Limits) hugePages(v2 bool) []setting {
	var out []setting
	for _, size := range slices.Sorted(maps.Keys(l.HugePages)) {
		file := "hugetlb." + size + ".limit_in_bytes"
		if v2 {
			file = "hugetlb." + size + ".max"
		}
		out = append(out, setting{"hugetlb", file, strconv.FormatInt(l.HugePages[size], 10)})
	}
	return out
}

func limit(n int64, none string) string {
	if n == 0 {
		return none
	}
	return strconv.FormatInt(n, 10)
}

func orDefault(n, def int64) int64 {
	if n == 0 {
		return def
	}
	return n
}

// The range of v1 shares; a v2 weight goes from 1 to 10000.
const (
	leastShares   = 2
	defaultShares = 1024
	mostShares    = 1 << 18
)

// weight maps v1 shares to a v2 weight, linearly, as container runtimes do.
func weight(shares int64) int64 {
	return 1 + (min(max(shares, leastShares), mostShares)-leastShares)*9999/(mostShares-leastShares)
}

// shares is the inverse of weight, as far as rounding lets it be.
func shares(weight int64) int64 {
	return leastShares + (weight-1)*(mostShares-leastShares)/9999
}

// Limit sets all limits of a group that is there. A controller that this machine lacks is passed over where nothing is
// asked of it, and an error where a limit is.
func (t *Tree) Limit(group string, l Limits) error {
	none := Limits{}.settings(t.V2())
	for i, s := range l.settings(t.V2()) {
		h, ok := t.of(s.controller)
		if !ok && s.value == none[i].value {
			continue
		}
		if !ok {
			return fmt.Errorf("limit cgroup %s: this machine has no cgroup controller %q", group, s.controller)
		}
		if err := write(h.path(group, s.file), s.value); err != nil {
			return fmt.Errorf("limit cgroup %s: %w", group, err)
		}
	}
	return t.limitHugePages(group, l)
}

// limitHugePages limits what a machine has: where there is no controller for them, none can be had beyond the request that
// the scheduler counted.
func (t *Tree) limitHugePages(group string, l Limits) error {
	h, ok := t.of("hugetlb")
	if !ok {
		return nil
	}
	for _, s := range l.hugePages(h.unified) {
		if err := write(h.path(group, s.file), s.value); err != nil {
			return fmt.Errorf("limit cgroup %s: %w", group, err)
		}
	}
	return nil
}

// LimitsHugePages tells whether this machine can limit them.
func (t *Tree) LimitsHugePages() bool {
	_, ok := t.of("hugetlb")
	return ok
}

// LimitsSwap tells whether this kernel lets the swap of a group, which is there, be limited.
func (t *Tree) LimitsSwap(group string) bool {
	h, ok := t.of("memory")
	if !ok {
		return false
	}
	file := "memory.memsw.limit_in_bytes"
	if h.unified {
		file = "memory.swap.max"
	}
	_, err := os.Stat(h.path(group, file))
	return err == nil
}
