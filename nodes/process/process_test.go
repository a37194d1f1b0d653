package process_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/nodetest"
	"github.com/mainstay-gitops/mainstay/nodes/process"
)

func TestMain(m *testing.M) { os.Exit(nodetest.Main(m)) }

func spec(t *testing.T, script string) process.Spec {
	t.Helper()
	dir := t.TempDir()
	return process.Spec{Args: []string{"/bin/sh", "-c", script}, PIDFile: filepath.Join(dir, "pid"), Log: filepath.Join(dir, "log")}
}

func start(t *testing.T, s process.Spec) *process.Process {
	t.Helper()
	p, err := process.Start(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Signal(unix.SIGKILL)
		_ = p.Wait(context.Background())
		p.Close()
	})
	return p
}

func TestAProcessIsFoundAgainWhileItRuns(t *testing.T) {
	s := spec(t, "exec sleep 1000")
	p := start(t, s)
	found, ok := process.Find(s.PIDFile)
	if !ok || found.PID != p.PID || !found.Running() {
		t.Fatal("it is not found:", found, ok)
	}
	defer found.Close()
	if sid, err := unix.Getsid(p.PID); err != nil || sid != p.PID {
		t.Error("it has no session of its own:", sid, err)
	}
	if err := found.Stop(t.Context(), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if _, ok := process.Find(s.PIDFile); ok {
		t.Error("it is found after its end")
	}
	if p.Running() {
		t.Error("it still runs")
	}
}

func TestAnotherProcessWithItsIDIsNotTakenForIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	for _, text := range []string{strconv.Itoa(os.Getpid()) + " 1\n", strconv.Itoa(os.Getpid()), "", "x y"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, ok := process.Find(file); ok {
			t.Errorf("pid file %q leads to this process", text)
		}
	}
}

func TestWaitEndsWithTheProcessOrWithItsContext(t *testing.T) {
	p := start(t, spec(t, "exec sleep 1000"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := p.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("got", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait(t.Context()) }()
	if err := p.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error("got", err)
	}
	if err := p.Signal(unix.SIGTERM); err != nil {
		t.Error("a signal to one that has ended:", err)
	}
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	s := spec(t, "trap '' TERM; echo up; while :; do sleep 0.01; done")
	p := start(t, s)
	until(t, func() bool { return strings.Contains(read(t, s.Log), "up") })
	if err := p.Stop(t.Context(), 10*time.Millisecond); err != nil {
		t.Error(err)
	}
	if p.Running() {
		t.Error("it still runs")
	}
}

func TestTheLogOfTheLastRunIsKeptAside(t *testing.T) {
	s := spec(t, "echo first; exec sleep 1000")
	for _, script := range []string{s.Args[2], "echo second >&2; exec sleep 1000"} {
		s.Args[2] = script
		p := start(t, s)
		until(t, func() bool { return read(t, s.Log) != "" })
		if err := p.Stop(t.Context(), 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if now, before := read(t, s.Log), read(t, s.Log+".1"); now != "second\n" || before != "first\n" {
		t.Errorf("now %q, before %q", now, before)
	}
}

func TestALongLogIsTrimmedWhileItIsWritten(t *testing.T) {
	s := spec(t, "")
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.Args[2] = "echo first; read x <&3; echo second; exec sleep 1000"
	s.Files = []*os.File{in}
	start(t, s)
	in.Close()
	until(t, func() bool { return read(t, s.Log) == "first\n" })
	for _, most := range []int64{6, 5} { // it is not longer than 6
		if err := process.TrimLog(s.Log, most); err != nil {
			t.Fatal(err)
		}
		if got := len(read(t, s.Log)); got != int(most-5)*6 {
			t.Errorf("of at most %d bytes it has %d", most, got)
		}
	}
	out.Close()
	until(t, func() bool { return read(t, s.Log) == "second\n" })
	if got := read(t, s.Log+".1"); got != "first\n" {
		t.Errorf("aside: %q", got)
	}
}

func TestItHasItsFilesAndItsCgroup(t *testing.T) {
	nodetest.Root(t)
	tree, err := cgroup.Open()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := spec(t, "echo hello >&3; exec sleep 1000")
	s.Files, s.Tree, s.Group = []*os.File{w}, tree, nodetest.Group(t, tree)
	p := start(t, s)
	w.Close()
	buf := make([]byte, 6)
	if _, err := r.Read(buf); err != nil || string(buf) != "hello\n" {
		t.Errorf("read %q, %v", buf, err)
	}
	if !tree.Has(s.Group, p.PID) {
		t.Error("it is not in its cgroup")
	}
}

func TestAProgramThatIsNotThereIsNamed(t *testing.T) {
	s := spec(t, "")
	s.Args = []string{"/no/such/program"}
	if _, err := process.Start(s); err == nil || !strings.Contains(err.Error(), "/no/such/program: no such file") {
		t.Error("got", err)
	}
}

// until polls for what no event tells of.
func until(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
