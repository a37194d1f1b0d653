package kerneltest

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A census is what this process holds of the machine: how often each thing.
type census map[string]int

func take() census {
	c := census{}
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range fds {
		name, err := os.Readlink(fd)
		if err == nil && !strings.Contains(name, "[event") && !strings.HasPrefix(name, "/proc/") { // the Go runtime's own
			c["descriptor "+kind(name)]++
		}
	}
	mounts, _ := os.ReadFile("/proc/thread-self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			c["mount "+fields[4]]++
		}
	}
	links, _ := os.ReadFile("/proc/thread-self/net/dev")
	for line := range strings.Lines(string(links)) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			c["network device "+strings.TrimSpace(name)]++
		}
	}
	return c
}

// kind leaves numbers of sockets and pipes out.
func kind(name string) string {
	if i := strings.Index(name, ":["); i > 0 {
		return name[:i]
	}
	return name
}

// settle is what is there now and was not before. It gives what ends in the background some time.
func settle(before census) (left []string) {
	for deadline := time.Now().Add(3 * time.Second); ; <-time.After(poll) {
		left = nil
		now := take()
		for _, what := range slices.Sorted(maps.Keys(now)) {
			for range now[what] - before[what] {
				left = append(left, what)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}
