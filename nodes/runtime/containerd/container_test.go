package containerd_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/snapshots"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/nodetest"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest/script"
)

func TestContainersAreSetUpAsTheyAreAskedFor(t *testing.T) {
	n := newNode(t)
	n.load("mainstay.local/user:v1", "app")
	shared := filepath.Join(n.Dir, "shared")
	n.ok(os.WriteFile(shared, []byte("from the host\n"), 0o644))
	p := runtimetest.NewPod(t, n.Runtime)
	uid, gid := int64(1000), int64(7)
	other := int64(4711)

	for _, row := range []struct {
		sentence string
		change   func(*runtime.ContainerSpec)
		script   []string
		want     string
	}{
		{"the image's user, with its groups", func(c *runtime.ContainerSpec) { c.Image = "mainstay.local/user:v1" },
			[]string{script.ID}, "1000 1000 63"},
		{"a user of the image by number, with its groups", func(c *runtime.ContainerSpec) { c.Security.UID = &uid },
			[]string{script.ID}, "1000 1000 63"},
		{"a user that the image does not know, and groups", func(c *runtime.ContainerSpec) {
			c.Security.UID, c.Security.GID, c.Security.Groups = &other, &gid, []int64{12, 11}
		}, []string{script.ID}, "4711 7 11 12"},
		{"a user of the image, strictly without its groups", func(c *runtime.ContainerSpec) {
			c.Security.UID, c.Security.StrictGroups, c.Security.Groups = &uid, true, []int64{12}
		}, []string{script.ID}, "1000 1000 12"},
		{"a group beside the image's user", func(c *runtime.ContainerSpec) { c.Image, c.Security.GID = "mainstay.local/user:v1", &gid },
			[]string{script.ID}, "1000 7 63"},
		{"root, and the usual capabilities", nil, []string{script.ID, script.Status, "CapEff"}, "0 0\n00000000a80425fb"},
		{"all capabilities dropped, one added", func(c *runtime.ContainerSpec) {
			c.Security.DropCaps, c.Security.AddCaps = []string{"ALL"}, []string{"NET_BIND_SERVICE"}
		}, []string{script.Status, "CapEff", script.Status, "CapBnd"}, "0000000000000400\n0000000000000400"},
		{"another user has no capability in effect", func(c *runtime.ContainerSpec) { c.Security.UID = &uid },
			[]string{script.Status, "CapEff"}, "0000000000000000"},
		{"the usual seccomp profile, and privileges may grow", nil,
			[]string{script.Status, "Seccomp", script.Status, "NoNewPrivs"}, "2\n0"},
		{"no profile when it is unconfined", func(c *runtime.ContainerSpec) { c.Security.Unconfined = true },
			[]string{script.Status, "Seccomp"}, "0"},
		{"no new privileges", func(c *runtime.ContainerSpec) { c.Security.NoNewPrivs = true },
			[]string{script.Status, "NoNewPrivs"}, "1"},
		{"privileged: no profile, and the host's devices", func(c *runtime.ContainerSpec) { c.Security.Privileged = true },
			[]string{script.Status, "Seccomp", script.Write, "/dev/kmsg"}, "0"},
		{"the pod's name is the host's", nil, []string{script.Host, script.Env, "HOSTNAME"}, "pod\npod"},
		{"a file of the host is seen, and the pod's memory is one", func(c *runtime.ContainerSpec) {
			c.Mounts = []runtime.Mount{{Source: shared, Target: "/data/f", ReadOnly: true}}
		}, []string{script.Cat, "/data/f", script.Write, "/dev/shm/x"}, "from the host"},
		{"by its sibling too", nil, []string{script.Cat, "/dev/shm/x"}, "x"},
		{"any user may listen on any port", func(c *runtime.ContainerSpec) { c.Security.UID = &uid },
			[]string{script.Cat, "/proc/sys/net/ipv4/ip_unprivileged_port_start"}, "0"},
		{"its own limits, as it sees them", func(c *runtime.ContainerSpec) {
			c.Resources = runtime.Resources{MemoryLimit: 48 << 20, Pids: 77}
		}, []string{script.Cat, cgroupFile(n, "memory/memory.limit_in_bytes"), script.Cat, cgroupFile(n, "pids/pids.max")}, "50331648\n77"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			p.TB = t
			spec := p.Container("c", row.script...)
			if row.change != nil {
				row.change(&spec)
			}
			id := p.Start(spec)
			out, errout := p.Said(id)
			if strings.TrimSpace(out) != row.want || errout != "" {
				t.Errorf("it says %q and %q, want %q", out, errout, row.want)
			}
			n.ok(n.Runtime.Remove(context.Background(), id))
		})
	}
}

func TestWhatIsReadOnlyIsNotWritten(t *testing.T) {
	n := newNode(t)
	shared := filepath.Join(n.Dir, "shared")
	n.ok(os.WriteFile(shared, nil, 0o644))
	p := runtimetest.NewPod(t, n.Runtime)
	for _, row := range []struct {
		sentence string
		change   func(*runtime.ContainerSpec)
		file     string
		why      string
	}{
		{"a read-only root is not written", func(c *runtime.ContainerSpec) { c.Security.ReadOnlyRoot = true }, "/data/x", "read-only file system"},
		{"nor is a read-only mount", func(c *runtime.ContainerSpec) {
			c.Mounts = []runtime.Mount{{Source: shared, Target: "/data/f", ReadOnly: true}}
		}, "/data/f", "read-only file system"},
		{"nor /proc/sys", nil, "/proc/sys/kernel/domainname", "read-only file system"},
		{"nor its own limits", nil, cgroupFile(n, "pids/pids.max"), "read-only file system"},
	} {
		spec := p.Container("c", script.Write, row.file)
		if row.change != nil {
			row.change(&spec)
		}
		id := p.Start(spec)
		if _, errout := p.Said(id); !strings.Contains(errout, row.why) {
			t.Errorf("%s: it says %q", row.sentence, errout)
		}
		n.ok(n.Runtime.Remove(t.Context(), id))
	}
}

func TestAnImageWhoseUserItDoesNotKnowIsRefused(t *testing.T) {
	n := newNode(t)
	n.load("mainstay.local/stranger:v1", "nobody-here")
	p := runtimetest.NewPod(t, n.Runtime)
	spec := p.Container("c")
	spec.Image = "mainstay.local/stranger:v1"
	err := n.Runtime.Create(t.Context(), spec)
	if e, ok := errors.AsType[*runtime.ConfigError](err); !ok || !strings.Contains(e.Reason, "nobody-here") {
		t.Error("got", err)
	}
}

// cgroupFile is where a container sees a limit of its own, given by its name in v1.
func cgroupFile(n *node, v1 string) string {
	v2 := map[string]string{"memory/memory.limit_in_bytes": "memory.max", "pids/pids.max": "pids.max"}
	if n.Tree.V2() {
		return "/sys/fs/cgroup/" + v2[v1]
	}
	return "/sys/fs/cgroup/" + v1
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	n := newNode(t)
	p := runtimetest.NewPod(t, n.Runtime)
	for _, row := range []struct {
		sentence string
		change   func(*runtime.ContainerSpec)
		want     string
	}{
		{"no such file", func(c *runtime.ContainerSpec) { c.Command = []string{"/nope"} }, "exec /nope: no such file or directory"},
		{"not on the PATH", func(c *runtime.ContainerSpec) { c.Command = []string{"nope"} }, "exec nope: executable file not found in $PATH"},
		{"not executable", func(c *runtime.ContainerSpec) { c.Command = []string{"/secret"} }, "exec /secret: permission denied"},
		{"a folder", func(c *runtime.ContainerSpec) { c.Command = []string{"/data"} }, "exec /data: permission denied"},
		{"a folder mounted on a file", func(c *runtime.ContainerSpec) {
			c.Mounts = []runtime.Mount{{Source: n.Dir, Target: "/text"}}
		}, "not a directory"},
	} {
		spec := p.Container("c", script.Wait)
		row.change(&spec)
		n.ok(n.Runtime.Create(t.Context(), spec))
		err := n.Runtime.Start(t.Context(), spec.ID)
		if e, ok := errors.AsType[*runtime.StartError](err); !ok || !strings.HasSuffix(e.Reason, row.want) {
			t.Errorf("%s: got %v, want %s", row.sentence, err, row.want)
		}
		n.ok(n.Runtime.Remove(t.Context(), spec.ID))
	}
}

func TestAContainerIsKilledWhenItsPodHasNoMemoryLeft(t *testing.T) {
	n := newNode(t)
	p := &runtimetest.Pod{TB: t, Runtime: n.Runtime, UID: "small"}
	_, err := n.Runtime.MakeSandbox(t.Context(), runtime.SandboxSpec{
		Pod: p.UID, Hostname: "small", QoS: "Guaranteed", Resources: runtime.Resources{MemoryLimit: 32 << 20},
	})
	n.ok(err)
	if c := p.Until(p.Start(p.Container("hog", script.Hog)), runtime.Exited); !c.OOMKilled || c.ExitCode != 137 {
		t.Errorf("it is %+v", c)
	}
	n.ok(n.Runtime.RemoveSandbox(t.Context(), p.UID))
	n.empty()
}

func TestALimitOnProcessesAndCPUStandsInTheContainersGroup(t *testing.T) {
	n := newNode(t)
	p := runtimetest.NewPod(t, n.Runtime)
	spec := p.Container("c", script.Wait)
	spec.Resources = runtime.Resources{CPUShares: 512, CPUQuota: 20_000, Pids: 55}
	id := p.Start(spec)
	files := map[string]string{"cpu/%/cpu.shares": "512", "cpu/%/cpu.cfs_quota_us": "20000", "pids/%/pids.max": "55"}
	if n.Tree.V2() {
		files = map[string]string{"%/cpu.weight": "20", "%/cpu.max": "20000 100000", "%/pids.max": "55"}
	}
	for file, want := range files {
		data, err := os.ReadFile("/sys/fs/cgroup/" + strings.Replace(file, "%", n.groupOf(p, id), 1))
		if got := strings.TrimSpace(string(data)); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %s", file, got, err, want)
		}
	}
}

func TestACommandHasATerminalOfTheSizeThatIsAskedFor(t *testing.T) {
	n := newNode(t)
	p := runtimetest.NewPod(t, n.Runtime)
	id := p.Start(p.Container("c", script.Wait))
	sizes := make(chan runtime.Size, 1)
	sizes <- runtime.Size{Width: 132, Height: 43}
	var out bytes.Buffer
	code, err := n.Runtime.Exec(t.Context(), id, runtime.Exec{
		Command: []string{"/prog", script.Size}, Stdin: strings.NewReader(""), Stdout: &out, TTY: true, Resize: sizes,
	})
	n.ok(err)
	if got := strings.TrimSpace(out.String()); code != 0 || got != "132 43" {
		t.Errorf("code %d, it says %q", code, got)
	}
}

func TestACommandEndsThoughAChildOfItsKeepsItsOutputOpen(t *testing.T) {
	n := newNode(t)
	p := runtimetest.NewPod(t, n.Runtime)
	id := p.Start(p.Container("c", script.Wait))
	var out bytes.Buffer
	code, err := n.Runtime.Exec(t.Context(), id, runtime.Exec{
		Command: []string{"/prog", script.Print, "before", script.Fork, script.Exit, "3"}, Stdout: &out,
	})
	n.ok(err)
	if code != 3 || out.String() != "before\n" {
		t.Errorf("code %d, it says %q", code, &out)
	}
	if left, _ := filepath.Glob(filepath.Join(n.Server.RunDir, "pods", string(p.UID), "x*")); len(left) > 0 {
		t.Error("left behind:", left)
	}
}

func TestManyCommandsAtOnce(t *testing.T) {
	n := newNode(t)
	p := runtimetest.NewPod(t, n.Runtime)
	id := p.Start(p.Container("c", script.Wait))
	errs := make(chan error, 20)
	for range cap(errs) {
		go func() {
			var out bytes.Buffer
			code, err := n.Runtime.Exec(t.Context(), id, runtime.Exec{Command: []string{"/prog", script.Lines, "100", script.Exit, "9"}, Stdout: &out})
			if err == nil && (code != 9 || strings.Count(out.String(), "\n") != 100) {
				err = errors.New("it went wrong")
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		n.ok(<-errs)
	}
}

func TestClearLeavesNothing(t *testing.T) {
	n := emptyNode(t)
	n.withKeeper()
	n.start()
	n.load(runtimetest.ImageName, "")
	for _, uid := range []string{"a", "b", "c"} {
		p := &runtimetest.Pod{TB: t, Runtime: n.Runtime, UID: types.UID(uid)}
		p.MakeSandbox()
		p.Start(p.Container("one", script.Wait))
		p.Until(p.Start(p.Container("two", script.Exit, "1")), runtime.Exited)
		n.ok(n.Runtime.Create(t.Context(), p.Container("three")))
	}
	n.ok(n.Runtime.Clear(t.Context()))
	left, err := n.Client.Containers(namespaces.WithNamespace(t.Context(), "test"))
	if err != nil || len(left) > 0 {
		t.Error("containerd still knows", left, err)
	}
	n.ok(n.Images.RemoveAll(t.Context()))
	if names, err := n.Client.NamespaceService().List(t.Context()); err != nil || len(names) > 0 {
		t.Error("containerd still has the namespaces", names, err)
	}
	blobs, err := filepath.Glob(filepath.Join(n.Server.DataDir, "root/io.containerd.content.v1.content/blobs/sha256/*"))
	if err != nil || len(blobs) > 0 {
		t.Error("containerd still has the blobs", blobs, err)
	}
	n.stop()
	n.ok(n.Server.Stop(t.Context()))
	files, err := filepath.Glob(filepath.Join(n.Server.RunDir, "*"))
	n.ok(err)
	for _, f := range files {
		if !strings.HasPrefix(filepath.Base(f), "keeper.") {
			t.Error("left behind:", f)
		}
	}
	if pids, err := n.Tree.Procs(n.Group); err != nil || len(pids) != 1 {
		t.Error("only the keeper should run:", pids, err)
	}
	mounts, err := nodetest.Mounts(n.Dir)
	if err != nil || len(mounts) > 0 {
		t.Error("still mounted:", mounts, err)
	}
}

func TestWhatAKilledDaemonHalfMadeIsClearedAway(t *testing.T) {
	n := newNode(t)
	p := runtimetest.NewPod(t, n.Runtime)
	ctx := namespaces.WithNamespace(t.Context(), "test")
	p.Start(p.Container("c", script.Wait))
	// It had got to the files of the next container, and to looking into an image.
	snaps := n.Client.SnapshotService("overlayfs")
	for _, key := range []string{string(p.UID) + ".half.0", "look.half"} {
		_, err := snaps.Prepare(ctx, key, "", snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "mainstay"}))
		n.ok(err)
	}
	n.ok(os.Mkdir(filepath.Join(n.Server.RunDir, "look.half"), 0o700))
	half := filepath.Join(n.Server.RunDir, "pods", "half")
	n.ok(os.MkdirAll(filepath.Join(half, "shm"), 0o700))
	n.ok(unix.Mount("shm", filepath.Join(half, "shm"), "tmpfs", 0, ""))

	n.restart()
	p.Runtime = n.Runtime
	for _, key := range []string{string(p.UID) + ".half.0", "look.half"} {
		if _, err := snaps.Stat(namespaces.WithNamespace(t.Context(), "test"), key); err == nil {
			t.Error("snapshot", key, "is still there")
		}
	}
	if box, err := n.Runtime.Sandbox(t.Context(), "half"); err != nil || box.Ready {
		t.Errorf("the half made sandbox: %+v, %v", box, err)
	}
	n.ok(n.Runtime.RemoveSandbox(t.Context(), "half"))
	if c := p.See(p.ID("c")); c.State != runtime.Running {
		t.Error("the whole container is", c.State)
	}
	n.ok(n.Runtime.RemoveSandbox(t.Context(), p.UID))
	n.empty()
}
