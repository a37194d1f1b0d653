package containerd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest/script"
)

// podWith is a pod whose sandbox is made as change says.
func (n *node) podWith(uid string, change func(*runtime.SandboxSpec)) *runtimetest.Pod {
	n.Helper()
	p := &runtimetest.Pod{TB: n, Runtime: n.Runtime, UID: types.UID(uid)}
	spec := runtime.SandboxSpec{Pod: p.UID, Namespace: "test", Name: uid, Hostname: uid, QoS: "Burstable"}
	change(&spec)
	box, err := n.Runtime.MakeSandbox(n.Context(), spec)
	n.ok(err)
	if !box.Ready {
		n.Fatalf("it is %+v", box)
	}
	return p
}

func sharing(s *runtime.SandboxSpec) { s.SharePIDs = true }

func TestContainersThatShareProcessesSeeEachOther(t *testing.T) {
	n := newNode(t)
	p := n.podWith("sharing", sharing)
	a := p.Start(p.Container("a", script.Print, "up", script.Wait))
	p.FirstLine(a)
	b := p.Container("b", script.Ps)
	b.Security.AddCaps = []string{"SYS_PTRACE"}
	if diff := cmp.Diff("/pause\n/prog print up wait\n/prog ps", p.Says(b)); diff != "" {
		n.Error("(-want +got)\n" + diff)
	}
	// What it finds of the host by way of the first process is that process's program.
	c := p.Container("c", script.Cat, "/proc/1/root/etc/passwd", script.Link, "/proc/1/cwd", script.Cat, "/proc/1/root/../etc/passwd", script.Status, "Seccomp")
	c.Security.AddCaps = []string{"SYS_PTRACE"}
	out, errout := p.Said(p.Start(c))
	if out != "/\n2\n" || strings.Count(errout, "no such file") != 2 {
		n.Errorf("it says %q and %q", out, errout)
	}
	// A child that outlives its container would stay in the shared namespace.
	d := p.Start(p.Container("d", script.Fork, script.Exit, "3"))
	if c := p.Until(d, runtime.Exited); c.ExitCode != 3 {
		n.Errorf("it is %+v", c)
	}
	n.until("its child is gone", func() bool { return n.pidOf(p, d) == 0 })

	n.restart()
	p.Runtime = n.Runtime
	if box, err := n.Runtime.Sandbox(n.Context(), p.UID); err != nil || !box.Ready {
		n.Errorf("to a later daemon it is %+v, %v", box, err)
	}
	e := p.Container("e", script.Ps)
	if got := p.Says(e); !strings.HasPrefix(got, "/pause\n/prog print up wait\n") {
		n.Errorf("a container of a later daemon sees\n%s", got)
	}
	n.ok(n.Runtime.RemoveSandbox(n.Context(), p.UID))
	n.empty()
}

func TestAPauseProcessThatIsKilledTakesItsPodWithItWhichIsMadeAnew(t *testing.T) {
	n := newNode(t)
	p := n.podWith("sharing", sharing)
	other := n.podWith("other", sharing)
	a, o := p.Start(p.Container("a", script.Wait)), other.Start(other.Container("a", script.Wait))
	n.ok(unix.Kill(n.pauseOf(p), unix.SIGKILL))
	if c := n.untilEnded(p, a); c.ExitCode != 137 {
		n.Errorf("its container is %+v", c)
	}
	n.until("its sandbox is broken", func() bool { // its process ends a moment after those that end with it
		box, err := n.Runtime.Sandbox(n.Context(), p.UID)
		n.ok(err)
		return !box.Ready
	})
	n.restart()
	p.Runtime, other.Runtime = n.Runtime, n.Runtime
	if box, err := n.Runtime.Sandbox(n.Context(), p.UID); err != nil || box.Ready {
		n.Errorf("to a later daemon it is %+v, %v", box, err)
	}
	n.podWith("sharing", sharing)
	if got := p.Says(p.Container("a", script.Ps)); got != "/pause\n/prog ps" {
		n.Errorf("made anew it sees\n%s", got)
	}
	if c := other.See(o); c.State != runtime.Running {
		n.Errorf("the other pod's container is %+v", c)
	}
	n.ok(n.Runtime.RemoveSandbox(n.Context(), p.UID))
	n.ok(n.Runtime.RemoveSandbox(n.Context(), other.UID))
	n.empty()
}

// pauseOf is the process that keeps what the containers of a pod share.
func (n *node) pauseOf(p *runtimetest.Pod) int {
	n.Helper()
	pids, err := n.Tree.Procs(fmt.Sprintf("%s/pods/burstable/pod%s/pause", n.Group, p.UID))
	n.ok(err)
	if len(pids) != 1 {
		n.Fatal("in the group of the pause process are", pids)
	}
	return pids[0]
}

func TestAContainerMaySeeTheProcessesOfAnother(t *testing.T) {
	n := newNode(t)
	p := runtimetest.NewPod(n, n.Runtime)
	a := p.Start(p.Container("a", script.Print, "up", script.Wait))
	p.FirstLine(a)
	look := p.Container("look", script.Ps)
	look.TargetPIDs = "a"
	if diff := cmp.Diff("/prog print up wait\n/prog ps", p.Says(look)); diff != "" {
		n.Error("(-want +got)\n" + diff)
	}
	late := p.Container("late", script.Wait)
	late.TargetPIDs = "a"
	id := p.Start(late)
	n.ok(n.Runtime.Signal(n.Context(), a, unix.SIGKILL))
	if c := p.Until(id, runtime.Exited); c.ExitCode != 137 {
		n.Errorf("one that outlives what it looked at: %+v", c)
	}
	nobody := p.Container("nobody", script.Ps)
	nobody.TargetPIDs = "a"
	if err := n.Runtime.Create(n.Context(), nobody); err == nil || !strings.Contains(err.Error(), `container "a"`) {
		n.Error("without its target it gets", err)
	}
	n.ok(n.Runtime.RemoveSandbox(n.Context(), p.UID))
	n.empty()
}

func TestAPodMayHaveWhatIsTheHosts(t *testing.T) {
	n := newNode(t)
	link := func(name string) string {
		to, err := os.Readlink("/proc/self/ns/" + name)
		n.ok(err)
		return to
	}
	host := n.podWith("host", func(s *runtime.SandboxSpec) { s.HostPID, s.HostIPC, s.HostNetwork = true, true, true })
	got := host.Says(host.Container("c", script.Link, "/proc/self/ns/pid", script.Link, "/proc/self/ns/ipc", script.Link, "/proc/self/ns/net",
		script.Cat, fmt.Sprintf("/proc/%d/comm", os.Getpid())))
	comm, err := os.ReadFile("/proc/self/comm")
	n.ok(err)
	if diff := cmp.Diff(strings.Join([]string{link("pid"), link("ipc"), link("net"), strings.TrimSpace(string(comm))}, "\n"), got); diff != "" {
		n.Error("(-want +got)\n" + diff)
	}
	child := host.Start(host.Container("child", script.Fork, script.Exit, "0"))
	host.Until(child, runtime.Exited)
	n.until("a child of its is gone", func() bool { return n.pidOf(host, child) == 0 })
	if _, err := os.Stat(filepath.Join(n.Server.RunDir, "pods/host/shm")); err == nil {
		n.Error("it has memory of its own to share")
	}
	n.restart()
	if box, err := n.Runtime.Sandbox(n.Context(), "host"); err != nil || !box.Ready {
		n.Errorf("to a later daemon it is %+v, %v", box, err)
	}
	n.ok(n.Runtime.RemoveSandbox(n.Context(), "host"))
	n.empty()
}

func TestSysctlsAreThePodsOwn(t *testing.T) {
	n := newNode(t)
	file := func(name string) string { return "/proc/sys/" + runtime.SysctlPath(name) }
	before, err := os.ReadFile(file("kernel.shm_rmid_forced"))
	n.ok(err)
	p := n.podWith("sysctls", func(s *runtime.SandboxSpec) {
		s.Sysctls = map[string]string{
			"kernel.shm_rmid_forced": "1", "net.ipv4.ip_local_port_range": "2000 3000", "net/ipv4/ip_unprivileged_port_start": "7", "fs.mqueue.msg_max": "11",
		}
	})
	got := p.Says(p.Container("c", script.Cat, file("kernel.shm_rmid_forced"), script.Cat, file("net.ipv4.ip_local_port_range"),
		script.Cat, file("net.ipv4.ip_unprivileged_port_start"), script.Cat, file("fs.mqueue.msg_max")))
	if got != "1\n2000\t3000\n7\n11" {
		n.Errorf("it sees %q", got)
	}
	if after, err := os.ReadFile(file("kernel.shm_rmid_forced")); err != nil || string(after) != string(before) {
		n.Errorf("the host's was %q and is %q, %v", before, after, err)
	}
	n.ok(n.Runtime.RemoveSandbox(n.Context(), p.UID))

	for _, row := range []struct {
		sentence string
		spec     runtime.SandboxSpec
		want     string
	}{
		{"one of the whole machine", runtime.SandboxSpec{Sysctls: map[string]string{"kernel.panic": "0"}}, "set sysctl kernel.panic: the pod has none of its own"},
		{"one of the network that is the host's", runtime.SandboxSpec{HostNetwork: true, Sysctls: map[string]string{"net.ipv4.tcp_syncookies": "1"}}, "the pod has none of its own"},
		{"one that the kernel does not take", runtime.SandboxSpec{Sysctls: map[string]string{"net.ipv4.ip_local_port_range": "x"}}, `set sysctl net.ipv4.ip_local_port_range to "x"`},
		{"a way out of the folder", runtime.SandboxSpec{Sysctls: map[string]string{"net/../net/core/somaxconn": "4096"}}, "the pod has none of its own"},
		{"a handler that is not here", runtime.SandboxSpec{Handler: "gvisor"}, `no runtime for handler "gvisor" is on this node, only runc`},
	} {
		row.spec.Pod, row.spec.QoS = "refused", "Burstable"
		if _, err := n.Runtime.MakeSandbox(n.Context(), row.spec); err == nil || !strings.Contains(err.Error(), row.want) {
			n.Errorf("%s: got %v", row.sentence, err)
		}
	}
	n.empty()
}

func TestMountsGoThroughWhereTheyAreAskedTo(t *testing.T) {
	n := newNode(t)
	dir := filepath.Join(n.Dir, "shared")
	for _, sub := range []string{"", "below", "out"} {
		n.ok(os.MkdirAll(filepath.Join(dir, sub), 0o755))
		if sub == "" {
			n.ok(unix.Mount("shared", dir, "tmpfs", 0, ""))
			n.ok(unix.Mount("", dir, "", unix.MS_SHARED, ""))
		}
	}
	p := runtimetest.NewPod(n, n.Runtime)
	with := func(name string, propagation runtime.Propagation, steps ...string) runtime.ContainerSpec {
		c := p.Container(name, steps...)
		c.Security.Privileged = true
		c.Security.Unconfined = true
		c.Mounts = []runtime.Mount{{Source: dir, Target: "/data/s", Propagation: propagation}}
		return c
	}
	private := p.Start(with("private", runtime.Private, script.Wait))
	slave := p.Start(with("slave", runtime.HostToContainer, script.Mount, "/data/s/out", script.Print, "up", script.Wait))
	p.FirstLine(slave)
	below := filepath.Join(dir, "below")
	n.ok(unix.Mount("late", below, "tmpfs", 0, ""))
	n.ok(os.WriteFile(filepath.Join(below, "f"), []byte("late"), 0o644))
	if _, got := p.Run(private, "/prog", script.Cat, "/data/s/below/f"); got != "" {
		n.Errorf("one that is private sees %q", got)
	}
	if _, got := p.Run(slave, "/prog", script.Cat, "/data/s/below/f"); got != "late" {
		n.Errorf("one that follows the host sees %q", got)
	}
	out := filepath.Join(dir, "out")
	if mounted(n, out) {
		n.Error("the host sees what a container mounted that may only look")
	}
	if both := p.Start(with("both", runtime.Bidirectional, script.Mount, "/data/s/out", script.Print, "up", script.Wait)); p.FirstLine(both) != "up\n" || !mounted(n, out) {
		n.Error("the host does not see what a container mounted for it")
	}
	lone := with("lone", runtime.Bidirectional, script.Wait)
	lone.Mounts[0].Source = n.Dir
	if err := n.Runtime.Create(n.Context(), lone); err == nil || !strings.Contains(err.Error(), "is not a shared mount; run: mount --make-rshared") {
		n.Error("where the host shares nothing:", err)
	}
	n.ok(n.Runtime.RemoveSandbox(n.Context(), p.UID))
	n.ok(unix.Unmount(dir, unix.MNT_DETACH))
}

func mounted(n *node, path string) bool {
	var up, st unix.Stat_t
	n.ok(unix.Stat(filepath.Dir(path), &up))
	n.ok(unix.Stat(path, &st))
	return up.Dev != st.Dev
}

func TestReadOnlyMayHoldForAllThatIsMountedBelow(t *testing.T) {
	n := newNode(t)
	if !n.Runtime.Features().RecursiveReadOnly {
		t.Fatal("this needs Linux 5.12")
	}
	dir := filepath.Join(n.Dir, "outer")
	inner := filepath.Join(dir, "inner")
	n.ok(os.MkdirAll(inner, 0o755))
	n.ok(unix.Mount("inner", inner, "tmpfs", 0, ""))
	p := runtimetest.NewPod(n, n.Runtime)
	for recursive, want := range map[bool]string{false: "", true: "read-only file system"} {
		c := p.Container(fmt.Sprint("c-", recursive), script.Write, "/data/o/inner/x")
		c.Mounts = []runtime.Mount{{Source: dir, Target: "/data/o", ReadOnly: true, Recursive: recursive}}
		if _, errout := p.Said(p.Start(c)); !strings.Contains(errout, want) || want == "" && errout != "" {
			n.Errorf("recursive %v: it says %q", recursive, errout)
		}
	}
	n.ok(n.Runtime.RemoveSandbox(n.Context(), p.UID))
	n.ok(unix.Unmount(inner, unix.MNT_DETACH))
}

func TestASeccompProfileOfTheNodesOwn(t *testing.T) {
	n := newNode(t)
	n.ok(os.MkdirAll(filepath.Join(n.seccomp(), "team"), 0o755))
	for name, text := range map[string]string{
		"team/no-groups.json": `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getgroups"], "action": "SCMP_ACT_ERRNO"}]}`,
		"broken.json":         `{"defaultAction": `,
		"empty.json":          `{}`,
	} {
		n.ok(os.WriteFile(filepath.Join(n.seccomp(), name), []byte(text), 0o644))
	}
	n.ok(os.Symlink("/etc/passwd", filepath.Join(n.seccomp(), "out.json")))
	p := runtimetest.NewPod(n, n.Runtime)
	c := p.Container("c", script.ID, script.Status, "Seccomp")
	c.Security.Seccomp = "team/no-groups.json"
	out, errout := p.Said(p.Start(c))
	if !strings.HasSuffix(out, "\n2\n") || !strings.Contains(errout, "operation not permitted") {
		n.Errorf("it says %q and %q", out, errout)
	}
	for name, want := range map[string]string{
		"absent.json": "no such file", "broken.json": "is no JSON of a profile", "empty.json": "names no defaultAction", "out.json": "path escapes",
	} {
		c := p.Container("refused")
		c.Security.Seccomp = name
		if err := n.Runtime.Create(n.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			n.Errorf("%s: got %v", name, err)
		}
	}
}

func TestAChildThatIsKilledForWantOfMemoryIsTold(t *testing.T) {
	n := newNode(t)
	p := runtimetest.NewPod(n, n.Runtime)
	c := p.Container("c", script.Child, script.Hog, script.Exit, "5")
	c.Resources.MemoryLimit = 32 << 20
	got := p.Until(p.Start(c), runtime.Exited)
	code := 5
	if n.Tree.V2() {
		code = 137 // a container dies as a whole
	}
	if !got.OOMKilled || got.ExitCode != code {
		n.Errorf("it is %+v", got)
	}
}
