package usage

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of /proc/stat: the same on all machines that Linux runs on today.
const tick = 10 * time.Millisecond

// machine reads what the whole machine has used.
func machine(proc string) (Counted, error) {
	stat, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return Counted{}, err
	}
	info, err := os.ReadFile(filepath.Join(proc, "meminfo"))
	if err != nil {
		return Counted{}, err
	}
	cpu, err := busy(string(stat))
	return Counted{CPU: cpu, Memory: workingSet(string(info))}, err
}

// busy is how long the processors have been busy: "cpu  user nice system idle iowait irq softirq steal ...", where guests
// are counted in user already, and what others stole was not ours.
func busy(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, fmt.Errorf("read /proc/stat: its first line is %q", line)
	}
	var sum int64
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read /proc/stat: %w", err)
		}
		sum += n
	}
	return time.Duration(sum) * tick, nil
}

// workingSet is the memory that is not free, but for file pages that were not used of late: as that of a cgroup.
func workingSet(meminfo string) int64 {
	kib := map[string]int64{}
	for line := range strings.Lines(meminfo) {
		name, rest, _ := strings.Cut(line, ":")
		if f := strings.Fields(rest); len(f) > 0 {
			kib[name], _ = strconv.ParseInt(f[0], 10, 64) // lines that are no number are not asked for
		}
	}
	return max(0, kib["MemTotal"]-kib["MemFree"]-kib["Inactive(file)"]) << 10
}
