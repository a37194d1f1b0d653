package cgroup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheMountedHierarchiesAreFound(t *testing.T) {
	const hybrid = `31 27 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
33 31 0:29 / /sys/fs/cgroup/memory rw,nosuid shared:4 - cgroup cgroup rw,memory
34 31 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
35 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
36 31 0:31 / /run/other rw - cgroup2 cgroup2 rw
37 31 0:28 /docker/x /inner rw - cgroup cgroup rw,pids
`
	const v2 = "35 31 0:31 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup rw,nsdelegate\n"
	for _, row := range []struct {
		sentence, mountinfo string
		v2                  bool
		unified, memory     string
	}{
		{"hybrid: controllers each have their hierarchy, and the unified one stands beside them", hybrid, false, "/sys/fs/cgroup/unified/a", "/sys/fs/cgroup/memory"},
		{"v2: one hierarchy has all controllers", v2, true, "/sys/fs/cgroup/a", "/sys/fs/cgroup"},
	} {
		tree, err := parse(strings.NewReader(row.mountinfo))
		if err != nil {
			t.Fatal(row.sentence, err)
		}
		memory, _ := tree.of("memory")
		if tree.V2() != row.v2 || tree.Unified("/a") != row.unified || memory.dir != row.memory {
			t.Errorf("%s: got v2 %v, unified %s, memory %s", row.sentence, tree.V2(), tree.Unified("/a"), memory.dir)
		}
		if _, ok := tree.of("pids"); ok != row.v2 {
			t.Errorf("%s: a hierarchy that shows only a part of it must not count", row.sentence)
		}
	}
	if _, err := parse(strings.NewReader("1 0 0:1 / / rw - ext4 x rw\n")); err != ErrNone {
		t.Error("no hierarchy: got", err)
	}
}

func TestLimitsBecomeFiles(t *testing.T) {
	lines := func(s []setting) (out []string) {
		for _, x := range s {
			out = append(out, x.controller+" "+x.file+" "+x.value)
		}
		return out
	}
	for _, row := range []struct {
		sentence string
		limits   Limits
		v2       bool
		want     string
	}{
		{"v1: what is not set is unlimited", Limits{}, false,
			"cpu cpu.shares 1024|cpu cpu.cfs_period_us 100000|cpu cpu.cfs_quota_us -1|memory memory.limit_in_bytes -1|pids pids.max max"},
		{"v1: what is set is written as it is", Limits{CPUShares: 512, CPUQuota: 25000, CPUPeriod: 50000, MemoryLimit: 64 << 20, Pids: 10}, false,
			"cpu cpu.shares 512|cpu cpu.cfs_period_us 50000|cpu cpu.cfs_quota_us 25000|memory memory.limit_in_bytes 67108864|pids pids.max 10"},
		{"v2: what is not set is max, and the weight is that of one core", Limits{}, true,
			"cpu cpu.weight 39|cpu cpu.max max 100000|memory memory.max max|pids pids.max max"},
		{"v2: quota and period share a file", Limits{CPUShares: 2, CPUQuota: 25000, MemoryLimit: 1 << 20, Pids: 5}, true,
			"cpu cpu.weight 1|cpu cpu.max 25000 100000|memory memory.max 1048576|pids pids.max 5"},
		{"v2: the largest weight is 10000", Limits{CPUShares: 1 << 40}, true,
			"cpu cpu.weight 10000|cpu cpu.max max 100000|memory memory.max max|pids pids.max max"},
	} {
		if diff := cmp.Diff(strings.Split(row.want, "|"), lines(row.limits.settings(row.v2))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.sentence, diff)
		}
	}
}

func TestOnlyMissingControllersAreGiven(t *testing.T) {
	for _, row := range []struct{ sentence, have, given, want string }{
		{"all that pods need", "cpuset cpu io memory hugetlb pids rdma misc", "", "+cpuset +cpu +io +memory +hugetlb +pids"},
		{"not what is given already", "cpu memory pids", "memory", "+cpu +pids"},
		{"nothing where there is nothing, as in hybrid mode", "", "", ""},
	} {
		if got := missing(row.have, row.given); got != row.want {
			t.Errorf("%s: got %q, want %q", row.sentence, got, row.want)
		}
	}
}

// fake is a v2 tree in a folder. The kernel makes the files of a new group; here a test makes them.
func fake(t *testing.T, groups ...string) *Tree {
	t.Helper()
	h := hierarchy{dir: t.TempDir(), unified: true, delegates: true}
	for _, g := range append(groups, "") {
		if err := os.MkdirAll(h.path(g), 0o755); err != nil {
			t.Fatal(err)
		}
		put(t, h.path(g, "cgroup.controllers"), "cpu memory pids\n")
		put(t, h.path(g, "cgroup.subtree_control"), "")
		put(t, h.path(g, "cgroup.procs"), "")
	}
	return &Tree{hierarchies: []hierarchy{h}}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestInV2EachGroupAboveGivesItsControllers(t *testing.T) {
	tree := fake(t, "/node")
	for _, group := range []string{"/node", "/node/pods"} {
		if err := tree.Make(group); err != nil {
			t.Fatal(err)
		}
	}
	for _, group := range []string{"", "/node"} {
		got, err := read(tree.hierarchies[0].path(group, "cgroup.subtree_control"))
		if err != nil || got != "+cpu +memory +pids" {
			t.Errorf("group %q gives %q, %v", group, got, err)
		}
	}
	if _, err := os.Stat(tree.Unified("/node/pods")); err != nil {
		t.Error(err)
	}
}

func TestInV2LimitsAndEventsStandInTheUnifiedHierarchy(t *testing.T) {
	tree := fake(t, "/node/a")
	if err := tree.Limit("/node/a", Limits{MemoryLimit: 4096, Pids: 3}); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"memory.max": "4096", "pids.max": "3", "cpu.max": "max 100000"} {
		if got, err := read(filepath.Join(tree.Unified("/node/a"), file)); err != nil || got != want {
			t.Errorf("%s: got %q, %v", file, got, err)
		}
	}
	put(t, filepath.Join(tree.Unified("/node/a"), "memory.events"), "low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\noom_group_kill 0\n")
	if n, err := tree.OOMKills("/node/a"); n != 2 || err != nil {
		t.Errorf("got %d kills, %v", n, err)
	}
}

func TestInV2ATierWeighsWhatItsPodsWeigh(t *testing.T) {
	tree := fake(t, "/p", "/p/burstable", "/p/besteffort", "/p/burstable/poda", "/p/burstable/podb", "/p/besteffort/podc")
	pods := tree.NewPods("/p")
	for _, pod := range []struct {
		qos, uid string
		shares   int64
	}{{"Burstable", "a", 1024}, {"Burstable", "b", 2048}, {"BestEffort", "c", 2}} {
		if _, err := pods.Make(pod.qos, pod.uid, Limits{CPUShares: pod.shares}); err != nil {
			t.Fatal(err)
		}
	}
	put(t, tree.Unified("/p/burstable/podb/cpu.weight"), "39")
	again := tree.NewPods("/p") // as after a restart: it knows only what stands there
	if _, err := again.Make("Burstable", "a", Limits{CPUShares: 1024}); err != nil {
		t.Fatal(err)
	}
	for tier, want := range map[string]string{"burstable": "78", "besteffort": "1"} {
		if got, err := read(tree.Unified("/p/" + tier + "/cpu.weight")); got != want || err != nil {
			t.Errorf("%s weighs %s, %v, want %s", tier, got, err, want)
		}
	}
}

func TestAMissingControllerMattersOnlyWhenItIsNeeded(t *testing.T) {
	tree := &Tree{hierarchies: []hierarchy{{dir: t.TempDir(), controllers: []string{"memory"}}}}
	if err := os.Mkdir(tree.hierarchies[0].path("/a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := tree.Limit("/a", Limits{MemoryLimit: 1 << 20}); err != nil {
		t.Error(err)
	}
	err := tree.Limit("/a", Limits{Pids: 5})
	if err == nil || !strings.Contains(err.Error(), `no cgroup controller "pids"`) {
		t.Error("got", err)
	}
}

func TestHugePagesAreLimitedBySize(t *testing.T) {
	l := Limits{HugePages: map[string]int64{"2MB": 4 << 20, "1GB": 0}}
	for v2, want := range map[bool][]setting{
		false: {{"hugetlb", "hugetlb.1GB.limit_in_bytes", "0"}, {"hugetlb", "hugetlb.2MB.limit_in_bytes", "4194304"}},
		true:  {{"hugetlb", "hugetlb.1GB.max", "0"}, {"hugetlb", "hugetlb.2MB.max", "4194304"}},
	} {
		if got := l.hugePages(v2); !slices.Equal(got, want) {
			t.Errorf("v2 %v: %v", v2, got)
		}
	}
}
