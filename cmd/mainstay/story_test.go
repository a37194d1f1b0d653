package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestStories runs each story in testdata/script: a user's hour with Mainstay, on the real thing. Each has a network
// namespace, a data folder and a node name of its own; see world_test.go for the verbs that stories have.
func TestStories(t *testing.T) {
	needRootForTest(t)
	tools := buildTools(t)
	sweep(t, tools)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
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
	helper   string // this test program, which plays clients and servers
	images   []string
}

func buildTools(t *testing.T) *tools {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	to := &tools{mainstay: filepath.Join(dir, "mainstay"), helper: self}
	goBuild(t, to.mainstay, ".", "")
	programs := map[string]struct{ pkg, flags string }{
		"hello:v1": {"../../examples/hello", "-X main.version=v1"},
		"hello:v2": {"../../examples/hello", "-X main.version=v2"},
		"tool:v1":  {"./testdata/tool", ""},
	}
	for ref, p := range programs {
		bin := filepath.Join(dir, "program")
		goBuild(t, bin, p.pkg, p.flags)
		archive := filepath.Join(dir, strings.ReplaceAll(ref, ":", "-")+".tar")
		if err := writeImage(bin, "mainstay.local/"+ref, archive); err != nil {
			t.Fatal(err)
		}
		to.images = append(to.images, archive)
	}
	return to
}

func goBuild(t *testing.T, out, pkg, flags string) {
	t.Helper()
	c := exec.Command("go", "build", "-ldflags", "-s -w "+flags, "-o", out, pkg)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, text)
	}
}

// writeImage writes an archive with an image that has one static program, as its entrypoint.
func writeImage(program, ref, archive string) error {
	b, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "program", Mode: 0o755, Size: int64(len(b))}); err != nil {
		return err
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return err
	}
	cfg, err := image.ConfigFile()
	if err != nil {
		return err
	}
	cfg.Architecture, cfg.OS, cfg.Config = runtime.GOARCH, "linux", v1.Config{Entrypoint: []string{"/program"}}
	if image, err = mutate.ConfigFile(image, cfg); err != nil {
		return err
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(archive, tag, image)
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
	return w, makeNamespace(w.netns)
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
	return []string{
		"MAINSTAY=" + w.tools.mainstay, "MAINSTAY_DATA=" + w.data, "NETNS=" + w.netns, "NODE=" + w.node,
		"HOME=" + w.work, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Story", "GIT_AUTHOR_EMAIL=story@example.invalid",
		"GIT_COMMITTER_NAME=Story", "GIT_COMMITTER_EMAIL=story@example.invalid", "KUBECONFIG=" + filepath.Join(w.data, "kubeconfig"),
	}
}

// end ends what the story has left running, and its world. It fails if mainstay down fails.
func (w *world) end() error {
	w.stopLoads()
	var errs []error
	if _, err := os.Stat(w.data); err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if out, err := w.command(ctx, w.tools.mainstay, "--data", w.data, "down", "--purge").CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("down: %w\n%s", err, out))
		}
	}
	for _, p := range w.processes {
		p.stop()
	}
	if err := errors.Join(append(errs, removeNamespace(w.netns))...); err != nil {
		return err
	}
	err := os.Remove(filepath.Join(ledger, w.node))
	_ = os.Remove(ledger) // if this was the last one
	return err
}
