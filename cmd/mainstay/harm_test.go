package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/cmd/internal/sandbox"
	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/process"
)

// kill9 kills the daemon; kill9 containerd, kill9 keeper, and kill9 shim POD (in the namespace default) kill those.
func cmdKill(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	switch {
	case len(args) == 0:
		ts.Check(w.up.signal(syscall.SIGKILL))
	case args[0] == "shim":
		ts.Check(unix.Kill(w.shimOf(ts, args[1]), unix.SIGKILL))
	default:
		file := map[string]string{"containerd": "containerd/containerd.pid", "keeper": "keeper.pid"}[args[0]]
		p, ok := process.Find(filepath.Join(place{w.data}.run(), file))
		if !ok {
			ts.Fatalf("there is no %s", args[0])
		}
		defer p.Close()
		ts.Check(p.Signal(unix.SIGKILL))
		ctx, cancel := context.WithTimeout(context.Background(), patienceOfStories)
		defer cancel()
		ts.Check(p.Wait(ctx))
	}
}

// shimOf is the process that holds the containers of a pod: the parent of the first process of one of them.
func (w *world) shimOf(ts *testscript.TestScript, pod string) int {
	out, err := w.command(context.Background(), w.tools.mainstay, "--data", w.data, "kubectl", "get", "pods", "-o",
		`jsonpath={range .items[?(@.metadata.name=="`+pod+`")]}{.metadata.uid}{end}`).Output()
	ts.Check(err)
	tree, err := cgroup.Open()
	ts.Check(err)
	for _, group := range w.groups(tree) {
		if !strings.Contains(group, "/pod"+string(out)+"/") {
			continue
		}
		pids, err := tree.Procs(group)
		ts.Check(err)
		for _, pid := range pids {
			return parentOf(ts, pid)
		}
	}
	ts.Fatalf("pod %s has no process", pod)
	return 0
}

func parentOf(ts *testscript.TestScript, pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	ts.Check(err)
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	parent, err := strconv.Atoi(fields[1])
	ts.Check(err)
	return parent
}

// groups are all cgroups of the node.
func (w *world) groups(tree *cgroup.Tree) []string {
	root := tree.Unified("/")
	var out []string
	filepath.WalkDir(filepath.Join(root, "mainstay-"+w.node), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			out = append(out, "/"+strings.TrimPrefix(strings.TrimPrefix(path, root), "/"))
		}
		return nil
	})
	return out
}

// reboot leaves of the node what a reboot of the machine does: its data folder.
func cmdReboot(ts *testscript.TestScript, _ bool, _ []string) { ts.Check(worldOf(ts).reboot()) }

func (w *world) reboot() error {
	tree, err := cgroup.Open()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patienceOfStories)
	defer cancel()
	if err := tree.Kill(ctx, "/mainstay-"+w.node); err != nil {
		return err
	}
	<-w.up.done
	if err := unmountBelow(place{w.data}.run(), w.data); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(place{w.data}.run()), tree.Remove(ctx, "/mainstay-"+w.node)); err != nil {
		return err
	}
	if err := sandbox.Remove(w.netns); err != nil { // links, routes and rules go with it
		return err
	}
	return sandbox.Keep(w.netns)
}

// unmountBelow takes away all mounts below some folders, the newest first.
func unmountBelow(dirs ...string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	lines := strings.Split(string(mounts), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		for _, dir := range dirs {
			if f := strings.Fields(lines[i]); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
				if err := unix.Unmount(f[1], unix.MNT_DETACH); err != nil {
					return fmt.Errorf("unmount %s: %w", f[1], err)
				}
			}
		}
	}
	return nil
}

// rounds N DIR starts Mainstay, pushes the folder, kills the daemon at a random moment of that, starts it again until all is
// healthy, and gives everything back; N times. It fails if anything is left after a round.
func cmdRounds(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	seed := uint64(time.Now().UnixNano())
	ts.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range n {
		moment := time.Duration(rng.Int64N(int64(3 * time.Second)))
		if err := w.round(ts, ts.MkAbs(args[1]), moment); err != nil {
			ts.Fatalf("round %d, killed after %v: %v", i, moment, err)
		}
		if found := w.left(ts); len(found) > 0 {
			ts.Fatalf("round %d, killed after %v: left on the machine:\n%s", i, moment, strings.Join(found, "\n"))
		}
	}
	ts.Logf("%d rounds, nothing left", n)
}

func (w *world) round(ts *testscript.TestScript, dir string, moment time.Duration) error {
	kill := time.After(moment)
	up := []string{"--data", w.data, "up", "--node", w.node, "--log-level", "info"}
	d, err := w.start(w.tools.mainstay, up...)
	if err != nil {
		return err
	}
	w.up = d
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	pushed := make(chan struct{})
	go func() {
		defer close(pushed)
		if d.await("ready in", func(text string) bool { return strings.Contains(text, "ready in") }) == nil {
			_ = w.pushAll(ctx, dir) // it is meant to be cut
		}
	}()
	<-kill
	err = d.signal(syscall.SIGKILL)
	cancel()
	<-pushed
	if err != nil {
		return err
	}
	if w.up, err = w.start(w.tools.mainstay, up...); err != nil {
		return err
	}
	if err := w.up.await("ready in", func(text string) bool { return strings.Contains(text, "ready in") }); err != nil {
		return err
	}
	whole, cancel := context.WithTimeout(context.Background(), patienceOfStories)
	defer cancel()
	if err := w.pushAll(whole, dir); err != nil {
		return err
	}
	out, err := w.command(whole, w.tools.mainstay, "--data", w.data, "down", "--purge").CombinedOutput()
	if err != nil {
		return fmt.Errorf("down: %w\n%s", err, out)
	}
	<-w.up.done
	if _, err := os.Stat(w.data); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is still there", w.data)
	}
	return nil
}

// pushAll loads the images and pushes the folder, which must become healthy. What an earlier push was killed at does not
// matter.
func (w *world) pushAll(ctx context.Context, dir string) error {
	err := filepath.WalkDir(filepath.Join(dir, ".git"), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".lock" {
			return os.Remove(path)
		}
		return err
	})
	if err != nil {
		return err
	}
	said := ""
	for _, args := range [][]string{
		append([]string{w.tools.mainstay, "--data", w.data, "image", "load"}, w.tools.images...),
		{w.tools.mainstay, "--data", w.data, "remote", "add"},
		{"git", "commit", "-q", "--allow-empty", "-m", "a change"},
		{"git", "push", "mainstay", "main"},
	} {
		c := w.command(ctx, args[0], args[1:]...)
		c.Dir = dir
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // git's children end with it
		c.Cancel = func() error { return unix.Kill(-c.Process.Pid, unix.SIGKILL) }
		out, err := c.CombinedOutput()
		if said = string(out); err != nil {
			return fmt.Errorf("%v: %w\n%s", args, err, said)
		}
	}
	if !strings.Contains(said, "healthy in") {
		return fmt.Errorf("the push says\n%s", said)
	}
	return nil
}
