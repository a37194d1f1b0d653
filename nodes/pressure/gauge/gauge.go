// Package gauge measures what package pressure judges: what is left on this machine, and what its pods use.
package gauge

import (
	"context"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/pressure"
	"github.com/mainstay-gitops/mainstay/nodes/volume"
)

// A Gauge measures this machine. It holds nothing open.
type Gauge struct {
	Tree       *cgroup.Tree
	Pods       *cgroup.Pods
	PodsMemory int64                           // what pods may have together, in bytes; 0: that is not limited
	NodeDir    string                          // on the disk that counts as the node's
	ImageDir   string                          // on the disk that images are on
	Folder     func(types.UID) string          // of a pod: its volumes and logs
	Collect    func(ctx context.Context) error // removes images that nobody uses; nil: nobody does
}

// Levels is what is left.
func (g *Gauge) Levels() (pressure.Levels, error) {
	levels := pressure.Levels{}
	memory, err := meminfo()
	if err != nil {
		return nil, err
	}
	// What was read from files and not used of late can be taken back at once.
	levels[pressure.Memory] = pressure.Level{Available: memory["MemFree"] + memory["Inactive(file)"], Capacity: memory["MemTotal"]}
	if used, err := g.Tree.WorkingSet(g.Pods.Root()); err == nil && g.PodsMemory > 0 { // the group is not there before the first pod
		levels[pressure.PodsMemory] = pressure.Level{Available: max(0, g.PodsMemory-used), Capacity: g.PodsMemory}
	}
	for _, d := range []struct {
		dir           string
		bytes, inodes pressure.Signal
	}{{g.NodeDir, pressure.NodeFS, pressure.NodeInodes}, {g.ImageDir, pressure.ImageFS, pressure.ImageInodes}} {
		var s unix.Statfs_t
		if err := unix.Statfs(d.dir, &s); err != nil {
			return nil, fmt.Errorf("measure the disk of %s: %w", d.dir, err)
		}
		size := s.Blocks - s.Bfree + s.Bavail // as df counts: without what the file system keeps to itself
		levels[d.bytes] = pressure.Level{Available: int64(s.Bavail) * s.Bsize, Capacity: int64(size) * s.Bsize}
		if s.Files > 0 { // some file systems have no limit
			levels[d.inodes] = pressure.Level{Available: int64(s.Ffree), Capacity: int64(s.Files)}
		}
	}
	if levels[pressure.PIDs], err = tasks(); err != nil {
		return nil, err
	}
	return levels, nil
}

// meminfo is /proc/meminfo in bytes.
func meminfo() (map[string]int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return nil, err
	}
	all := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		if f := strings.Fields(rest); len(f) > 0 {
			kib, _ := strconv.ParseInt(f[0], 10, 64)
			all[name] = kib << 10
		}
	}
	if all["MemTotal"] == 0 {
		return nil, fmt.Errorf("/proc/meminfo does not say how much memory there is")
	}
	return all, nil
}

// tasks is how many processes and threads there may still be.
func tasks() (pressure.Level, error) {
	load, err := os.ReadFile("/proc/loadavg") // "0.20 0.18 0.12 1/80 11206": the fourth is running/all
	if err != nil {
		return pressure.Level{}, err
	}
	most := int64(-1)
	for _, file := range []string{"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"} {
		text, err := os.ReadFile(file)
		if err != nil {
			return pressure.Level{}, err
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && (most < 0 || n < most) {
			most = n
		}
	}
	f := strings.Fields(string(load))
	if len(f) < 4 {
		return pressure.Level{}, fmt.Errorf("/proc/loadavg does not say how many processes there are")
	}
	_, all, _ := strings.Cut(f[3], "/")
	n, err := strconv.ParseInt(all, 10, 64)
	if err != nil {
		return pressure.Level{}, fmt.Errorf("/proc/loadavg: %w", err)
	}
	return pressure.Level{Available: most - n, Capacity: most}, nil
}

// Usage is what a pod uses, and each of its containers: of disk only when asked, since that takes long. What has gone
// meanwhile uses nothing.
func (g *Gauge) Usage(ctx context.Context, p *corev1.Pod, disk bool) (pressure.Usage, map[string]pressure.Usage) {
	group := g.Pods.Path(string(pod.QoS(p)), string(p.UID))
	total := g.measure(group)
	containers := map[string]pressure.Usage{}
	for _, child := range g.Tree.Children(group, "") {
		name, _, _ := strings.Cut(path.Base(child), ".")
		u := g.measure(child)
		u.Memory += containers[name].Memory // of an earlier run, of which something may be left
		u.PIDs += containers[name].PIDs
		containers[name] = u
	}
	if disk {
		total.Disk, total.Inodes = volume.DiskUsage(ctx, g.Folder(p.UID))
	}
	return total, containers
}

func (g *Gauge) measure(group string) pressure.Usage {
	var u pressure.Usage
	u.Memory, _ = g.Tree.WorkingSet(group)
	u.PIDs, _ = g.Tree.Tasks(group)
	return u
}

// Reclaim takes back of the disk what nobody uses.
func (g *Gauge) Reclaim(ctx context.Context) error {
	if g.Collect == nil {
		return nil
	}
	return g.Collect(ctx)
}
