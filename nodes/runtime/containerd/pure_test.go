package containerd

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/identifiers"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

func TestTheReasonOfAFailedStartIsToldInShort(t *testing.T) {
	for _, row := range []struct {
		sentence, text, want string
		own                  bool
	}{
		{"runc 1.1, by its path", `failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "/nope": stat /nope: no such file or directory: unknown`,
			"exec /nope: no such file or directory", true},
		{"runc 1.1, by the PATH", `failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "nope": executable file not found in $PATH: unknown`,
			"exec nope: executable file not found in $PATH", true},
		{"runc 1.2, in the container's own process", `failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: "/nope": stat /nope: no such file or directory`,
			"exec /nope: no such file or directory", true},
		{"of a command", `OCI runtime exec failed: exec failed: unable to start container process: exec: "/nope": stat /nope: no such file or directory: unknown`,
			"exec /nope: no such file or directory", true},
		{"of a mount", `OCI runtime create failed: runc create failed: unable to start container process: error during container init: error mounting "/a" to rootfs at "/b": not a directory: unknown`,
			`error mounting "/a" to rootfs at "/b": not a directory`, true},
		{"containerd's own trouble is not the container's", "failed to create shim task: ttrpc: closed: unknown", "", false},
	} {
		if got, own := startReason(row.text); got != row.want || own != row.own {
			t.Errorf("%s: got %q, %v", row.sentence, got, own)
		}
	}
}

func TestTheStateOfAContainerFollowsFromWhatIsFound(t *testing.T) {
	created, started, finished := time.Unix(10, 0), time.Unix(20, 0), time.Unix(30, 0)
	running := &tasktypes.Process{Status: tasktypes.Status_RUNNING, Pid: 99}
	stopped := &tasktypes.Process{Status: tasktypes.Status_STOPPED, Pid: 99}
	made := &tasktypes.Process{Status: tasktypes.Status_CREATED}
	begun, over := ended{Started: started}, ended{Started: started, Finished: finished, ExitCode: 3}
	for _, row := range []struct {
		sentence string
		task     *tasktypes.Process
		note     ended
		noted    bool
		whole    bool
		state    runtime.State
		drained  bool
	}{
		{"no task and nothing noted: it was never started", nil, ended{}, false, true, runtime.Created, false},
		{"a task that was made and not started: Start goes on", made, ended{}, false, true, runtime.Created, false},
		{"a task that runs", running, begun, true, true, runtime.Running, false},
		{"a task that runs, and nobody got to noting it", running, ended{}, false, true, runtime.Running, false},
		{"a task that has stopped, which is still to be noticed", stopped, begun, true, true, runtime.Running, false},
		{"its end is noted, and the task is gone", nil, over, true, true, runtime.Exited, true},
		{"its end is noted, and the task is still there", stopped, over, true, true, runtime.Exited, false},
		{"it was started, and the task is gone without a word", nil, begun, true, true, runtime.Unknown, true},
		{"nothing is noted, because a boot took the notes", nil, ended{}, false, false, runtime.Unknown, true},
	} {
		c := &container{Container: runtime.Container{Created: created}}
		c.settleState(row.task, row.note, row.noted, row.whole)
		if c.State != row.state || c.drained != row.drained {
			t.Errorf("%s: got %s, drained %v", row.sentence, c.State, c.drained)
		}
		if c.State == runtime.Running && (c.pid != 99 || c.Started.Before(created)) {
			t.Errorf("%s: process %d since %s", row.sentence, c.pid, c.Started)
		}
	}
}

func TestCapabilities(t *testing.T) {
	have := append(usualCapabilities(), "CAP_SYS_ADMIN", "CAP_NET_ADMIN")
	usual := usualCapabilities()
	slices.Sort(usual)
	slices.Sort(have)
	without := slices.DeleteFunc(slices.Clone(usual), func(c string) bool { return c == "CAP_KILL" })
	for _, row := range []struct {
		sentence string
		s        runtime.Security
		want     []string
	}{
		{"the usual", runtime.Security{}, usual},
		{"one dropped, by either spelling", runtime.Security{DropCaps: []string{"cap_kill"}}, without},
		{"one added", runtime.Security{DropCaps: []string{"ALL"}, AddCaps: []string{"NET_ADMIN"}}, []string{"CAP_NET_ADMIN"}},
		{"what is both dropped and added is added", runtime.Security{DropCaps: []string{"ALL", "KILL"}, AddCaps: []string{"KILL"}}, []string{"CAP_KILL"}},
		{"all dropped", runtime.Security{DropCaps: []string{"ALL"}}, nil},
		{"all added is all that this process has", runtime.Security{AddCaps: []string{"ALL"}}, have},
		{"privileged is too, whatever is dropped", runtime.Security{Privileged: true, DropCaps: []string{"ALL"}}, have},
		{"what this process lacks cannot be added", runtime.Security{DropCaps: []string{"ALL"}, AddCaps: []string{"SYS_TIME"}}, nil},
	} {
		if diff := cmp.Diff(row.want, wanted(row.s, have)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.sentence, diff)
		}
	}
}

func TestASpecFollowsFromWhatIsAskedAndWhatTheMachineIs(t *testing.T) {
	base := plan{
		container: runtime.ContainerSpec{ID: runtime.ID{Pod: "u", Name: "c"}, Resources: runtime.Resources{MemoryLimit: 1 << 20, CPUQuota: 5}},
		pod:       runtime.SandboxSpec{Pod: "u", Hostname: "h"},
		image:     image.Config{Entrypoint: []string{"/e"}, Cmd: []string{"c"}, Env: []string{"A=1", "PATH=/p"}},
		dir:       "/pods/u", cgroup: "/n/c", group: "u",
		host: host{leastOOM: 0},
	}
	spaces := func(s *specs.Spec) string {
		var out []string
		for _, ns := range s.Linux.Namespaces {
			out = append(out, strings.TrimSuffix(string(ns.Type)+":"+ns.Path, ":"))
		}
		return strings.Join(out, " ")
	}
	for _, row := range []struct {
		sentence string
		change   func(*plan)
		got      func(*specs.Spec) any
		want     any
	}{
		{"it joins its pod's namespaces", nil, func(s *specs.Spec) any { return spaces(s) },
			"pid mount ipc:/pods/u/ipc network:/pods/u/net uts:/pods/u/uts"},
		{"on the host's network only the pod's IPC", func(p *plan) { p.pod.HostNetwork = true }, func(s *specs.Spec) any { return spaces(s) },
			"pid mount ipc:/pods/u/ipc"},
		{"with cgroup v2 it sees its own group as the root", func(p *plan) { p.host.v2 = true }, func(s *specs.Spec) any { return spaces(s) },
			"pid mount ipc:/pods/u/ipc network:/pods/u/net uts:/pods/u/uts cgroup"},
		{"and dies as a whole when it lacks memory", func(p *plan) { p.host.v2 = true }, func(s *specs.Spec) any { return s.Linux.Resources.Unified },
			map[string]string{"memory.oom.group": "1"}},
		{"its shim is its pod's", nil, func(s *specs.Spec) any { return s.Annotations }, map[string]string{shimGroup: "u"}},
		{"a variable of the image stays in its place when the container changes it", func(p *plan) { p.container.Env = []string{"A=2", "B=3"} },
			func(s *specs.Spec) any { return strings.Join(s.Process.Env, " ") }, "PATH=/p HOSTNAME=h A=2 B=3"},
		{"without a working folder it is the root", nil, func(s *specs.Spec) any { return s.Process.Cwd }, "/"},
		{"memory is limited, and swap where it can be", func(p *plan) { p.host.swap = true },
			func(s *specs.Spec) any { return *s.Linux.Resources.Memory.Swap }, int64(1 << 20)},
		{"where it cannot it is left alone", nil, func(s *specs.Spec) any { return s.Linux.Resources.Memory.Swap == nil }, true},
		{"a quota has a period", nil, func(s *specs.Spec) any { return *s.Linux.Resources.CPU.Period }, uint64(100_000)},
		{"the out-of-memory score goes no lower than it may", func(p *plan) { p.container.OOMScore = -997 },
			func(s *specs.Spec) any { return *s.Process.OOMScoreAdj }, 0},
		{"a mount in another mount comes after it", func(p *plan) {
			p.container.Mounts = []runtime.Mount{{Source: "/1", Target: "/a/b/c"}, {Source: "/2", Target: "/a/"}, {Source: "/3", Target: "/a/b"}}
		}, func(s *specs.Spec) any {
			var out []string
			for _, m := range s.Mounts[len(s.Mounts)-3:] {
				out = append(out, m.Source)
			}
			return strings.Join(out, " ")
		}, "/2 /3 /1"},
		{"a privileged container writes /sys", func(p *plan) { p.container.Security.Privileged = true }, func(s *specs.Spec) any {
			i := slices.IndexFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == "/sys" })
			return slices.Contains(s.Mounts[i].Options, "rw") && len(s.Linux.MaskedPaths) == 0
		}, true},
	} {
		p := base
		if row.change != nil {
			row.change(&p)
		}
		if diff := cmp.Diff(row.want, row.got(p.spec())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.sentence, diff)
		}
	}
}

func TestAKeyIsOneThatContainerdTakes(t *testing.T) {
	seen := map[string]bool{}
	for _, id := range []runtime.ID{
		{Pod: "a", Name: "b", Attempt: 1},
		{Pod: "0f9d7c7e-1b5e-4f2a-9f4c-8a3a4a1f2b3c", Name: strings.Repeat("x", 63), Attempt: 1000},
		{Pod: "0f9d7c7e-1b5e-4f2a-9f4c-8a3a4a1f2b3c", Name: strings.Repeat("x", 63), Attempt: 1001},
		{Pod: "a", Name: "b--c"},
	} {
		key := keyOf(id)
		if err := identifiers.Validate(key); err != nil || seen[key] {
			t.Errorf("%s: key %s: %v", id, key, err)
		}
		seen[key] = true
	}
}

func TestStopSignals(t *testing.T) {
	for name, want := range map[string]syscall.Signal{
		"": syscall.SIGTERM, "SIGQUIT": syscall.SIGQUIT, "3": syscall.SIGQUIT, "nonsense": syscall.SIGTERM, "0": syscall.SIGTERM, "65": syscall.SIGTERM,
	} {
		if got := stopSignal(name); got != want {
			t.Errorf("%q: got %v", name, got)
		}
	}
}

func TestMountPointsAreThoseUnderAFolder(t *testing.T) {
	const mountinfo = `1 0 0:1 / / rw - ext4 x rw
2 1 0:2 / /run/a rw - tmpfs x rw
3 1 0:2 / /run/a/b\040c rw - tmpfs x rw
4 1 0:2 / /run/ab rw - tmpfs x rw
`
	if diff := cmp.Diff([]string{"/run/a/b c"}, mountsUnder(mountinfo, "/run/a")); diff != "" {
		t.Error(diff)
	}
}

func TestContainerdFindsItsHelpersAndKeepsQuietToSystemd(t *testing.T) {
	got := environment([]string{"A=1", "PATH=/own", "NOTIFY_SOCKET=/x"})
	want := []string{"A=1", "PATH=/own:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheNamespacesOfAContainerAreThoseOfItsPodItsOwnOrTheHosts(t *testing.T) {
	for _, row := range []struct {
		sentence string
		pod      runtime.SandboxSpec
		target   string
		want     string
	}{
		{"the pod's, and processes of its own", runtime.SandboxSpec{}, "", "pid mount ipc=/p/ipc network=/p/net uts=/p/uts"},
		{"the host's network, and its name", runtime.SandboxSpec{HostNetwork: true}, "", "pid mount ipc=/p/ipc"},
		{"the host's processes and queues", runtime.SandboxSpec{HostPID: true, HostIPC: true}, "", "mount network=/p/net uts=/p/uts"},
		{"processes that the pod shares", runtime.SandboxSpec{SharePIDs: true}, "", "pid=/p/pid mount ipc=/p/ipc network=/p/net uts=/p/uts"},
		{"those of another container", runtime.SandboxSpec{}, "/p/x.pid", "pid=/p/x.pid mount ipc=/p/ipc network=/p/net uts=/p/uts"},
	} {
		var got []string
		for _, ns := range (plan{pod: row.pod, dir: "/p", target: row.target}).namespaces() {
			s := string(ns.Type)
			if ns.Path != "" {
				s += "=" + ns.Path
			}
			got = append(got, s)
		}
		if diff := cmp.Diff(row.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.sentence, diff)
		}
	}
}

func TestWhatAContainerAsksForStandsInItsSpec(t *testing.T) {
	p := plan{container: runtime.ContainerSpec{
		Security:  runtime.Security{UnmaskedProc: true},
		Resources: runtime.Resources{HugePages: map[string]int64{"2MB": 4 << 20, "1GB": 0}},
		Mounts:    []runtime.Mount{{Source: "/a", Target: "/b", Propagation: runtime.HostToContainer, ReadOnly: true, Recursive: true}},
	}, host: host{hugePages: true}, seccomp: &specs.LinuxSeccomp{DefaultAction: specs.ActLog}}
	s := p.spec()
	if len(s.Linux.MaskedPaths)+len(s.Linux.ReadonlyPaths) != 0 {
		t.Error("an unmasked /proc hides", s.Linux.MaskedPaths, s.Linux.ReadonlyPaths)
	}
	if s.Linux.Seccomp.DefaultAction != specs.ActLog || s.Linux.RootfsPropagation != "rslave" {
		t.Errorf("seccomp %+v, propagation %q", s.Linux.Seccomp, s.Linux.RootfsPropagation)
	}
	if diff := cmp.Diff([]specs.LinuxHugepageLimit{{Pagesize: "1GB"}, {Pagesize: "2MB", Limit: 4 << 20}}, s.Linux.Resources.HugepageLimits); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"rbind", "rslave", "ro", "rro"}, s.Mounts[len(s.Mounts)-1].Options); diff != "" {
		t.Error(diff)
	}
}

func TestThePauseProgramIsSmallAndThereForTheUsualProcessors(t *testing.T) {
	for arch, there := range map[string]bool{"amd64": true, "arm64": true, "riscv64": false} {
		if p := pauseProgram(arch); (p != nil) != there || len(p) > 300 {
			t.Errorf("%s: %d bytes", arch, len(p))
		}
	}
}

func TestAConnectionThatStallsFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer here.Close()
		defer there.Close()
		c := &impatient{here}
		go func() {
			for range 3 {
				time.Sleep(stall - time.Second)
				there.Write([]byte("x"))
			}
		}()
		begun := time.Now()
		text, err := io.ReadAll(c)
		if string(text) != "xxx" || !errors.Is(err, errStalled) || time.Since(begun) != 4*stall-3*time.Second {
			t.Errorf("after %s: %q, %v", time.Since(begun), text, err)
		}
		said := pullError("example.com/web:v1", fmt.Errorf("failed to copy: %w", err)).Error()
		if want := "image example.com/web:v1: cannot reach example.com: it sent nothing for 1m0s"; said != want {
			t.Errorf("got %s", said)
		}
	})
}
