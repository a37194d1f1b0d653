package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/cmd/internal/sandbox"
	"github.com/mainstay-gitops/mainstay/reconcile/api/kubectltest"
)

// scripts is where the stories are that are to be played: those in testdata/soak take long.
var scripts = flag.String("stories", "testdata/script", "folder of the stories to play")

// TestStories runs each story in testdata/script: a user's hour with Mainstay, on the real thing. Each has a network
// namespace, a data folder and a node name of its own; see world_test.go for the verbs that stories have.
func TestStories(t *testing.T) {
	needRootForTest(t)
	tools := buildTools(t)
	sweep(t, tools)
	testscript.Run(t, testscript.Params{
		Dir: *scripts,
		Setup: func(e *testscript.Env) error {
			w, err := newWorld(e.WorkDir, tools)
			if err != nil {
				return err
			}
			e.Values[worldKey{}] = w
			e.Defer(func() {
				if err := w.end(); err != nil {
					e.T().Log("ending the story's world: ", err)
					e.T().FailNow()
				}
			})
			e.Vars = append(e.Vars, w.vars()...)
			return nil
		},
		Cmds: verbs,
	})
}

// needRootForTest skips a test that needs root, unless the tests are run by the README's command.
func needRootForTest(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("MAINSTAY_TEST_ROOT") != "" {
		t.Fatal("this needs root, and MAINSTAY_TEST_ROOT says that it is there")
	}
	t.Skip("needs root: it makes network namespaces and starts containers")
}

// tools are the programs and images that stories use. They are built once.
type tools struct {
	mainstay string // the real program
	source   string // folder of its source
	helper   string // this test program, which plays clients and servers
	images   []string
	kubectls map[string]string // stock ones, by the variable that stories know them by
}

func buildTools(t *testing.T) *tools {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	to := &tools{mainstay: filepath.Join(dir, "mainstay"), source: source, helper: self}
	c := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", to.mainstay, ".")
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build mainstay: %v\n%s", err, text)
	}
	for _, p := range []struct{ program, name, version string }{
		{"../../examples/hello", "hello", "v1"}, {"../../examples/hello", "hello", "v2"}, {"./testdata/tool", "tool", "v1"},
	} {
		archive := filepath.Join(dir, p.name+"-"+p.version+".tar")
		if err := sandbox.BuildImage(t.Context(), p.program, "mainstay.local/"+p.name+":"+p.version, p.version, archive); err != nil {
			t.Fatal(err)
		}
		to.images = append(to.images, archive)
	}
	box := filepath.Join(dir, "busybox-v1.tar")
	if err := sandbox.BuildBusybox(t.Context(), "mainstay.local/busybox:v1", box); err != nil {
		t.Fatal(err)
	}
	to.images = append(to.images, box)
	to.kubectls = map[string]string{}
	for module, version := range kubectltest.Versions() {
		to.kubectls["KUBECTL_"+strings.TrimPrefix(module, "v0.")] = kubectltest.Build(t, module, version)
	}
	return to
}

var stories atomic.Int32

// newWorld makes the namespace of a story. What an earlier run of the same name has left is removed first.
func newWorld(work string, to *tools) (*world, error) {
	w := &world{tools: to, work: work, node: fmt.Sprintf("story-%d-%d", os.Getpid(), stories.Add(1))}
	w.data = filepath.Join(work, "data")
	w.netns = filepath.Join(work, "netns")
	if err := os.MkdirAll(ledger, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(ledger, w.node), []byte(work), 0o600); err != nil {
		return nil, err
	}
	return w, sandbox.Keep(w.netns)
}

// ledger has a file for each story that plays: named after its node, and its work folder in it. So the next run finds what
// one that was killed has left.
const ledger = "/run/mainstay-stories"

// sweep ends the worlds of test processes that are gone.
func sweep(t *testing.T, to *tools) {
	files, err := filepath.Glob(filepath.Join(ledger, "story-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		var pid, n int
		node := filepath.Base(file)
		if _, err := fmt.Sscanf(node, "story-%d-%d", &pid, &n); err != nil || syscall.Kill(pid, 0) == nil {
			continue
		}
		work, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{tools: to, work: string(work), node: node, data: filepath.Join(string(work), "data"), netns: filepath.Join(string(work), "netns")}
		t.Logf("removing what the story in %s has left", w.work)
		if err := errors.Join(w.end(), os.RemoveAll(w.work)); err != nil {
			t.Error(err)
		}
	}
}

func (w *world) vars() []string {
	vars := []string{
		"MAINSTAY=" + w.tools.mainstay, "IMAGES=" + filepath.Dir(w.tools.images[0]), "MAINSTAY_DATA=" + w.data, "NETNS=" + w.netns, "NODE=" + w.node,
		fmt.Sprintf("ALL_BUT_256Mi=%d", totalMemory()-256<<20), // of this machine's memory
		"HOME=" + w.work, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Story", "GIT_AUTHOR_EMAIL=story@example.invalid",
		"GIT_COMMITTER_NAME=Story", "GIT_COMMITTER_EMAIL=story@example.invalid", "KUBECONFIG=" + filepath.Join(w.data, "kubeconfig"),
	}
	for name, path := range w.tools.kubectls {
		vars = append(vars, name+"="+path)
	}
	return vars
}

// totalMemory is how much this machine has, in bytes.
func totalMemory() int64 {
	var s unix.Sysinfo_t
	if err := unix.Sysinfo(&s); err != nil {
		panic(err)
	}
	return int64(s.Totalram) * int64(s.Unit)
}

// end ends what the story has left running, and its world. It fails if mainstay down fails.
func (w *world) end() error {
	w.stopLoads()
	var errs []error
	if _, err := os.Stat(w.data); err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if out, err := w.command(ctx, w.tools.mainstay, "--data", w.data, "down", "--purge", "--grace", "5s").CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("down: %w\n%s", err, out))
		}
	}
	for _, p := range w.processes {
		p.stop()
	}
	if err := errors.Join(append(errs, sandbox.Remove(w.netns))...); err != nil {
		return err
	}
	err := os.Remove(filepath.Join(ledger, w.node))
	_ = os.Remove(ledger) // if this was the last one
	return err
}
