package cgroup_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/nodetest"
)

func TestMain(m *testing.M) { os.Exit(nodetest.Main(m)) }

func open(t *testing.T) (*cgroup.Tree, string) {
	t.Helper()
	nodetest.Root(t)
	tree, err := cgroup.Open()
	if err != nil {
		t.Fatal(err)
	}
	return tree, nodetest.Group(t, tree)
}

// child starts a shell that prints a line and then waits for the end of its input. It ends with the test.
func child(t *testing.T, script string) (*exec.Cmd, io.Closer) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return cmd, in
}

func TestAProcessEntersAGroupInEveryHierarchy(t *testing.T) {
	tree, group := open(t)
	cmd, _ := child(t, "echo; read x")
	if err := tree.Enter(group+"/daemon", cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join("/proc", "self", "cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Count(string(theirs), ":"+group+"/daemon\n"), strings.Count(string(data), "\n"); got != want {
		t.Errorf("it is there in %d of %d hierarchies:\n%s", got, want, theirs)
	}
	if !tree.Has(group, cmd.Process.Pid) || tree.Has(group, os.Getpid()) {
		t.Error("Has is wrong")
	}
}

func TestRemoveEndsWhatRunsAndLeavesNoGroup(t *testing.T) {
	tree, group := open(t)
	cmd, _ := child(t, "sleep 1000 & sleep 1000 & echo; read x")
	if err := tree.Enter(group+"/a/b", cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	later, _ := child(t, "echo; read x")
	if err := tree.Enter(group+"/a", later.Process.Pid); err != nil && !tree.V2() {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go func() { _ = cmd.Wait() }() // a zombie is in its group until its parent looks
	go func() { _ = later.Wait() }()
	if err := tree.Remove(ctx, group); err != nil {
		t.Fatal(err)
	}
	if left := tree.Children("/", strings.TrimPrefix(group, "/")); len(left) > 0 {
		t.Error("left:", left)
	}
	if err := tree.Remove(ctx, group); err != nil {
		t.Error("once more:", err)
	}
}

func TestAProcessIsNotRemovedByItself(t *testing.T) {
	_, group := open(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestRemoveFromInside$", "-test.v")
	cmd.Env = append(os.Environ(), "INSIDE="+group)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestRemoveFromInside") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestRemoveFromInside(t *testing.T) {
	group := os.Getenv("INSIDE")
	if group == "" {
		return // it is the child of the test above
	}
	tree, err := cgroup.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Enter(group, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if err := tree.Remove(t.Context(), group); !errors.Is(err, cgroup.ErrInside) {
		t.Error("got", err)
	}
}

func TestAPodsGroupStandsInItsTierWithItsLimits(t *testing.T) {
	tree, group := open(t)
	pods := tree.NewPods(group + "/pods")
	for range 2 { // making it again is no error
		path, err := pods.Make("Burstable", "u1", cgroup.Limits{CPUShares: 100, MemoryLimit: 64 << 20, Pids: 20})
		if err != nil {
			t.Fatal(err)
		}
		if want := group + "/pods/burstable/podu1"; path != want {
			t.Errorf("it stands at %s, want %s", path, want)
		}
	}
	if _, err := pods.Make("Guaranteed", "u2", cgroup.Limits{}); err != nil {
		t.Fatal(err)
	}
	for _, uid := range []string{"u1", "u2", "was never there"} {
		if err := pods.Remove(t.Context(), uid); err != nil {
			t.Error(err)
		}
	}
	if left := tree.Children(group+"/pods", "pod"); len(left) > 0 {
		t.Error("left:", left)
	}
	if left := tree.Children(group+"/pods/burstable", ""); len(left) > 0 {
		t.Error("left:", left)
	}
}

func TestAKillForLackOfMemoryIsCounted(t *testing.T) {
	tree, group := open(t)
	pods := tree.NewPods(group + "/pods")
	path, err := pods.Make("Guaranteed", "u", cgroup.Limits{MemoryLimit: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Make(path + "/c"); err != nil {
		t.Fatal(err)
	}
	cmd, in := child(t, "echo; read x; exec tail /dev/zero")
	if err := tree.Enter(path+"/c", cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if n, err := tree.OOMKills(path + "/c"); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	in.Close()
	if err := cmd.Wait(); err == nil {
		t.Fatal("it should have been killed")
	}
	if n, err := tree.OOMKills(path + "/c"); n != 1 || err != nil {
		t.Error("got", n, err)
	}
}

func BenchmarkMakeAndRemovePod(b *testing.B) {
	nodetest.Root(b)
	tree, err := cgroup.Open()
	if err != nil {
		b.Fatal(err)
	}
	pods := tree.NewPods(nodetest.Group(b, tree) + "/pods")
	for i := range 50 {
		if _, err := pods.Make("Burstable", strconv.Itoa(i), cgroup.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
	var removing time.Duration
	for b.Loop() {
		if _, err := pods.Make("Burstable", "x", cgroup.Limits{MemoryLimit: 64 << 20}); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if err := pods.Remove(b.Context(), "x"); err != nil {
			b.Fatal(err)
		}
		removing += time.Since(start)
	}
	b.ReportMetric(float64(removing.Microseconds())/float64(b.N), "us-removing/op")
}
