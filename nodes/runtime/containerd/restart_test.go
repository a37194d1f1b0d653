package containerd_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/nodetest"
	"github.com/mainstay-gitops/mainstay/nodes/process"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest/script"
)

// until polls for what no event tells of.
func (n *node) until(what string, done func() bool) {
	n.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			n.Fatal("it does not happen that", what)
		}
	}
}

// restart does what the end of one daemon and the start of the next do.
func (n *node) restart() {
	n.Helper()
	n.stop()
	n.start()
}

// pidOf is a process of a container, as its cgroup tells.
func (n *node) pidOf(p *runtimetest.Pod, id runtime.ID) int {
	n.Helper()
	pids, err := n.Tree.Procs(n.groupOf(p, id))
	n.ok(err)
	if len(pids) == 0 {
		return 0
	}
	return pids[0]
}

func (n *node) groupOf(p *runtimetest.Pod, id runtime.ID) string {
	return fmt.Sprintf("%s/pods/burstable/pod%s/%s.%d", n.Group, p.UID, id.Name, id.Attempt)
}

func TestALaterDaemonFindsAllAsItWas(t *testing.T) {
	n := newNode(t)
	p := runtimetest.NewPod(n, n.Runtime)
	running := p.Start(p.Container("running", script.Print, "up", script.Wait))
	p.FirstLine(running)
	ended := p.Start(p.Container("ended", script.Exit, "3"))
	p.Until(ended, runtime.Exited)
	n.ok(n.Runtime.Create(n.Context(), p.Container("created", script.Exit, "4")))
	bad := p.Container("bad")
	bad.Command = []string{"/nope"}
	n.ok(n.Runtime.Create(n.Context(), bad))
	if err := n.Runtime.Start(n.Context(), bad.ID); err == nil {
		n.Error("it started")
	}
	before, err := n.Runtime.Sandboxes(n.Context())
	n.ok(err)
	pid := n.pidOf(p, running)

	n.restart()
	p.Runtime = n.Runtime
	after, err := n.Runtime.Sandboxes(n.Context())
	n.ok(err)
	if diff := cmp.Diff(before, after, cmpopts.EquateEmpty()); diff != "" {
		n.Error(diff)
	}
	if got := n.pidOf(p, running); got != pid || pid == 0 {
		n.Errorf("the container's process was %d and is %d", pid, got)
	}
	n.ok(n.Runtime.Start(n.Context(), p.ID("created")))
	if c := p.Until(p.ID("created"), runtime.Exited); c.ExitCode != 4 {
		n.Error("it ended with", c.ExitCode)
	}
	n.ok(n.Runtime.Signal(n.Context(), running, unix.SIGTERM))
	if c := p.Until(running, runtime.Exited); c.ExitCode != 143 {
		n.Error("it ended with", c.ExitCode)
	}
}

// The environment variables that make a test process a daemon: its folder and its cgroup.
const (
	daemonDir   = "MAINSTAY_TEST_DAEMON_DIR"
	daemonGroup = "MAINSTAY_TEST_DAEMON_GROUP"
	daemonLines = 3000
)

// TestDaemon is one, when it runs as the child of the test below: it starts containers, copies the output of one to a
// file, and waits to be killed.
func TestDaemon(t *testing.T) {
	if os.Getenv(daemonDir) == "" {
		return
	}
	tree, err := cgroup.Open()
	if err != nil {
		t.Fatal(err)
	}
	n := nodeAt(t, tree, os.Getenv(daemonDir), os.Getenv(daemonGroup))
	n.withKeeper()
	n.start()
	n.load(runtimetest.ImageName, "")
	p := &runtimetest.Pod{TB: n, Runtime: n.Runtime, UID: "pod"}
	p.MakeSandbox()
	p.Start(p.Container("running", script.Wait))
	id := p.Start(p.Container("writing", script.Paced, fmt.Sprint(daemonLines), script.Exit, "7"))
	stdout, _, err := n.Runtime.Output(n.Context(), id)
	n.ok(err)
	log, err := os.Create(filepath.Join(n.Dir, "log"))
	n.ok(err)
	fmt.Println("ready")
	_, err = io.Copy(log, stdout)
	n.ok(err)
	<-n.Context().Done()
}

func TestADaemonThatIsKilledLosesNothing(t *testing.T) {
	n := emptyNode(t)
	n.withKeeper() // so that this test stops it, and finds it still there
	cmd := exec.Command(os.Args[0], "-test.run=^TestDaemon$", "-test.v")
	cmd.Env = append(os.Environ(), daemonDir+"="+n.Dir, daemonGroup+"="+n.Group)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	n.ok(err)
	n.ok(cmd.Start())
	killed := func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	defer killed()
	var said bytes.Buffer
	for lines := bufio.NewScanner(out); !strings.HasSuffix(said.String(), "ready\n"); fmt.Fprintln(&said, lines.Text()) {
		if !lines.Scan() {
			n.Fatalf("the daemon did not come up:\n%s", &said)
		}
	}
	log := filepath.Join(n.Dir, "log")
	n.until("some lines are written", func() bool {
		data, _ := os.ReadFile(log)
		return bytes.Count(data, []byte("\n")) > 100
	})
	p := &runtimetest.Pod{TB: n, Runtime: n.Runtime, UID: "pod"}
	running, writing := p.ID("running"), p.ID("writing")
	pid := n.pidOf(p, running)
	killed()
	n.until("the container ends while no daemon runs", func() bool { return n.pidOf(p, writing) == 0 })

	n.start()
	p.Runtime = n.Runtime
	rest, _ := p.Said(writing)
	data, err := os.ReadFile(log)
	n.ok(err)
	var want strings.Builder
	for i := range daemonLines {
		want.WriteString(script.Line(i))
	}
	if got := string(data) + rest; got != want.String() {
		n.Errorf("of %d bytes came %d before and %d after", want.Len(), len(data), len(rest))
	}
	if c := p.Until(writing, runtime.Exited); c.ExitCode != 7 {
		n.Errorf("it is %+v", c)
	}
	if got := n.pidOf(p, running); got != pid || pid == 0 || p.See(running).State != runtime.Running {
		n.Errorf("the other container's process was %d and is %d", pid, got)
	}
	n.ok(n.Runtime.RemoveSandbox(n.Context(), p.UID))
}

func TestContainerdIsKilledAndComesBack(t *testing.T) {
	n := newNode(t)
	p := runtimetest.NewPod(n, n.Runtime)
	running := p.Start(p.Container("running", script.Wait))
	ends := p.Start(p.Container("ends", script.Print, "up", script.Wait))
	p.FirstLine(ends) // the first process of a container gets no signal that it does not handle yet
	server, ok := process.Find(filepath.Join(n.Server.RunDir, "containerd.pid"))
	if !ok {
		n.Fatal("containerd does not run")
	}
	defer server.Close()
	pid := n.pidOf(p, running)
	n.ok(server.Signal(unix.SIGKILL))
	n.ok(server.Wait(n.Context()))
	n.ok(n.Runtime.Signal(n.Context(), ends, unix.SIGTERM)) // this needs no containerd
	n.until("it ends", func() bool { return n.pidOf(p, ends) == 0 })

	ctx, cancel := context.WithCancel(n.Context())
	done := make(chan error, 1)
	go func() { done <- n.Server.Run(ctx) }() // finds none, and starts one
	if c := p.Until(ends, runtime.Exited); c.ExitCode != 143 {
		n.Errorf("it is %+v", c)
	}
	if c := p.See(running); c.State != runtime.Running || n.pidOf(p, running) != pid {
		n.Errorf("the other container: %+v", c)
	}
	if c := p.Until(p.Start(p.Container("new", script.Exit, "1")), runtime.Exited); c.ExitCode != 1 {
		n.Errorf("a new one: %+v", c)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		n.Error("Run ended with", err)
	}
}

func TestAContainerThatCouldNotBeStartedAtFirstIsFollowedWhenItIs(t *testing.T) {
	n := newNode(t)
	p := runtimetest.NewPod(n, n.Runtime)
	spec := p.Container("late", script.Print, "hello", script.Exit, "4")
	n.ok(n.Runtime.Create(n.Context(), spec))
	// As containerd leaves it for a moment when the daemon was killed while a task was made.
	bundle := filepath.Join(n.Server.RunDir, "state", "io.containerd.runtime.v2.task", "test", string(p.UID)+".late.0")
	n.ok(os.MkdirAll(bundle, 0o700))
	if err := n.Runtime.Start(n.Context(), spec.ID); err == nil {
		t.Fatal("it started")
	}
	n.ok(os.Remove(bundle))
	n.ok(n.Runtime.Start(n.Context(), spec.ID))
	if c := p.Until(spec.ID, runtime.Exited); c.ExitCode != 4 {
		t.Errorf("it is %+v", c)
	}
	if out, _ := p.Said(spec.ID); out != "hello\n" {
		t.Errorf("it said %q", out)
	}
}

func TestAShimThatIsKilledTakesItsContainersWithItAndLeavesNothing(t *testing.T) {
	n := newNode(t)
	p := runtimetest.NewPod(n, n.Runtime)
	a, b := p.Start(p.Container("a", script.Wait)), p.Start(p.Container("b", script.Wait))
	socket := fmt.Sprintf("/run/containerd/s/%x", sha256.Sum256([]byte(filepath.Join(n.Server.Socket(), "test", string(p.UID)))))
	if _, err := os.Stat(socket); err != nil {
		n.Error("its shim listens elsewhere:", err)
	}
	n.ok(unix.Kill(n.shimOf(n.pidOf(p, a)), unix.SIGKILL))
	for _, id := range []runtime.ID{a, b} {
		if c := n.untilEnded(p, id); c.State == runtime.Exited && c.ExitCode == 0 {
			n.Errorf("it is %+v", c)
		}
	}
	again := p.Container("a", script.Exit, "5")
	again.ID.Attempt = 1
	if c := p.Until(p.Start(again), runtime.Exited); c.ExitCode != 5 {
		n.Errorf("the next attempt: %+v", c)
	}
	n.ok(n.Runtime.RemoveSandbox(n.Context(), p.UID))
	n.empty()
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		n.Error("its socket is still there:", err)
	}
}

// untilEnded waits until a container does not run any more, for whatever reason.
func (n *node) untilEnded(p *runtimetest.Pod, id runtime.ID) runtime.Container {
	n.Helper()
	n.until("it ends", func() bool { return p.See(id).State != runtime.Running })
	return p.See(id)
}

// shimOf is the parent of a container's first process.
func (n *node) shimOf(pid int) int {
	n.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	n.ok(err)
	var parent int
	var state string
	_, err = fmt.Sscanf(string(data[bytes.LastIndexByte(data, ')')+1:]), "%s %d", &state, &parent)
	n.ok(err)
	return parent
}

func TestASandboxThatABootBrokeIsMadeAnew(t *testing.T) {
	for _, row := range []struct {
		sentence string
		boot     func(n *node, pod string)
	}{
		{"the run folder is on disk", func(n *node, pod string) {
			for _, name := range []string{"net", "ipc", "uts", "shm"} {
				n.ok(unix.Unmount(filepath.Join(pod, name), unix.MNT_DETACH))
			}
		}},
		{"the run folder is in memory", func(n *node, pod string) {
			for _, name := range []string{"net", "ipc", "uts", "shm"} {
				n.ok(unix.Unmount(filepath.Join(pod, name), unix.MNT_DETACH))
			}
			n.ok(os.RemoveAll(pod))
		}},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			n := newNode(t)
			p := runtimetest.NewPod(n, n.Runtime)
			p.Start(p.Container("a", script.Wait))
			n.stop()
			n.ok(n.Tree.Kill(n.Context(), n.Group)) // containerd, shims and containers: all
			row.boot(n, filepath.Join(n.Server.RunDir, "pods", string(p.UID)))
			n.start()
			p.Runtime = n.Runtime
			box, err := n.Runtime.Sandbox(n.Context(), p.UID)
			n.ok(err)
			if box.Ready || box.NetNS != "" || len(box.Containers) != 1 || box.Containers[0].State == runtime.Running {
				n.Errorf("after the boot: %+v", box)
			}
			n.ok(n.Runtime.Remove(n.Context(), p.ID("a")))
			if box := p.MakeSandbox(); !box.Ready || box.NetNS == "" || len(box.Containers) != 0 {
				n.Errorf("made anew: %+v", box)
			}
			p.Until(p.Start(p.Container("a", script.Exit, "0")), runtime.Exited)
			n.ok(n.Runtime.RemoveSandbox(n.Context(), p.UID))
			n.empty()
		})
	}
}

// empty checks that nothing is left of any pod.
func (n *node) empty() {
	n.Helper()
	mounts, err := nodetest.Mounts(n.Dir)
	n.ok(err)
	dirs, err := os.ReadDir(filepath.Join(n.Server.RunDir, "pods"))
	n.ok(err)
	groups := append(n.Tree.Children(n.Group+"/pods", "pod"), n.Tree.Children(n.Group+"/pods/burstable", "")...)
	pids, err := n.Tree.Procs(n.Group + "/pods")
	n.ok(err)
	if len(mounts)+len(dirs)+len(groups)+len(pids) > 0 {
		n.Errorf("left: mounts %v, folders %v, cgroups %v, processes %v", mounts, dirs, groups, pids)
	}
}
