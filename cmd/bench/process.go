package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// group is a cgroup of the node: see the daemon's flag --node.
func (n *node) group(parts ...string) string {
	return filepath.Join(append([]string{"/mainstay-" + n.name}, parts...)...)
}

// A process is one of a node's.
type process struct {
	pid  int
	role string // daemon, keeper, containerd or shim
	args []string
}

// processes finds those of the node by their cgroups; containers are left out.
func (n *node) processes() ([]process, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	var all []process
	for _, file := range files {
		groups, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		role := n.roleIn(string(groups))
		if role == "" {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if err != nil || len(cmdline) == 0 {
			continue
		}
		p := process{role: role, args: strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00")}
		if p.pid, err = strconv.Atoi(filepath.Base(filepath.Dir(file))); err != nil {
			continue
		}
		if strings.HasPrefix(filepath.Base(p.args[0]), "containerd-shim") {
			p.role = "shim"
		}
		all = append(all, p)
	}
	return all, nil
}

// roleIn reads /proc/PID/cgroup.
func (n *node) roleIn(groups string) string {
	for line := range strings.Lines(groups) {
		for _, role := range []string{"daemon", "keeper", "containerd"} {
			if strings.HasSuffix(strings.TrimSpace(line), ":"+n.group(role)) {
				return role
			}
		}
	}
	return ""
}

// containerdSocket is beside the configuration that the node's containerd was started with.
func (n *node) containerdSocket() (string, error) {
	all, err := n.processes()
	if err != nil {
		return "", err
	}
	for _, p := range all {
		if p.role == "containerd" && len(p.args) > 2 && p.args[1] == "--config" {
			return filepath.Join(filepath.Dir(p.args[2]), "containerd.sock"), nil
		}
	}
	return "", fmt.Errorf("no containerd runs in the cgroup %s", n.group("containerd"))
}

// A footprint is what processes of one role use, in MiB.
type footprint struct {
	count         int
	anon, resting float64 // RssAnon, and all of RSS
}

// footprints sums up the memory of the node's processes, by role.
func (n *node) footprints() (map[string]footprint, error) {
	all, err := n.processes()
	if err != nil {
		return nil, err
	}
	sums := map[string]footprint{}
	for _, p := range all {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
		if err != nil {
			continue
		}
		f := sums[p.role]
		f.count++
		f.anon += kibibytes(status, "RssAnon:") / 1024
		f.resting += kibibytes(status, "VmRSS:") / 1024
		sums[p.role] = f
	}
	for _, role := range []string{"daemon", "keeper", "containerd"} {
		if sums[role].count != 1 {
			return nil, fmt.Errorf("%d processes in the cgroup %s, want 1", sums[role].count, n.group(role))
		}
	}
	return sums, nil
}

func kibibytes(status []byte, field string) float64 {
	_, rest, _ := bytes.Cut(status, []byte("\n"+field))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	v, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(string(line), "kB")), 64)
	if err != nil {
		return 0
	}
	return v
}

// ticks a second are what the kernel counts CPU time in, for programs: the same on all of Linux' architectures that Go knows.
const ticks = 100

// cpuTime is what the daemon has spent so far.
func (n *node) cpuTime() (time.Duration, error) {
	if n.cmd == nil {
		return 0, errors.New("the daemon does not run")
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, fmt.Errorf("cannot read %q", stat)
	}
	user, err := strconv.ParseInt(f[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(f[12], 10, 64)
	if err != nil {
		return 0, err
	}
	return time.Duration(user+system) * time.Second / ticks, nil
}
