package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-cmp/cmp"
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
// healthy, deletes all by a commit, and gives everything back; N times. It fails if anything of the pods is left when they are
// deleted, or anything at all after a round.
func cmdRounds(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	seed := uint64(time.Now().UnixNano())
	ts.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	ts.Check(w.restart())
	r := round{world: w, dir: ts.MkAbs(args[1])}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patienceOfStories)
	defer cancel()
	ts.Check(r.pushAll(ctx, r.dir))
	ts.Check(r.deleteAll(ctx))
	r.bare = w.traces(ts)
	ts.Check(w.down())
	for i := range n {
		r.moment = time.Duration(rng.Int64N(int64(4 * time.Second)))
		if err := r.run(ts); err != nil {
			log, _ := w.up.out.text()
			ts.Fatalf("round %d, killed after %v: %v\nthe daemon says\n%s", i, r.moment, err, log[max(len(log)-4000, 0):])
		}
		if found := w.left(ts); len(found) > 0 {
			ts.Fatalf("round %d, killed after %v: left on the machine:\n%s", i, r.moment, strings.Join(found, "\n"))
		}
		if n > 10 { // it takes long
			fmt.Fprintf(os.Stderr, "%d of %d rounds, nothing left\n", i+1, n)
		}
	}
	ts.Logf("%d rounds, nothing left", n)
}

// A round of up, push, kill -9, up, delete, down.
type round struct {
	*world
	dir    string        // what is pushed
	moment time.Duration // when the daemon is killed
	bare   []string      // the traces of a node that was never killed, when its pods are deleted
}

func (r *round) run(ts *testscript.TestScript) error {
	if err := r.firstHalf(); err != nil {
		return err
	}
	if err := r.restart(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patienceOfStories)
	defer cancel()
	if err := r.pushAll(ctx, r.dir); err != nil {
		return err
	}
	if err := r.deleteAll(ctx); err != nil {
		return err
	}
	for traces := r.traces(ts); !slices.Equal(traces, r.bare); traces = r.traces(ts) {
		if ctx.Err() != nil {
			return fmt.Errorf("left of the pods:\n%s", cmp.Diff(r.bare, traces))
		}
		<-time.After(50 * time.Millisecond) // between questions
	}
	return r.down()
}

// firstHalf ends with the death of the daemon.
func (r *round) firstHalf() error {
	kill := time.After(r.moment)
	d, err := r.startUp()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	pushed := make(chan struct{})
	go func() {
		defer close(pushed)
		if d.awaitLine(ready) == nil {
			_ = r.pushAll(ctx, r.dir) // it is meant to be cut
		}
	}()
	<-kill
	err = d.signal(syscall.SIGKILL)
	cancel()
	<-pushed
	return err
}

var ready = regexp.MustCompile(`(?m)^ready in`)

func (w *world) startUp() (*daemon, error) {
	d, err := w.start(w.tools.mainstay, w.upArgs()...)
	if err == nil {
		w.up = d
	}
	return d, err
}

func (w *world) restart() error {
	d, err := w.startUp()
	if err != nil {
		return err
	}
	return d.awaitLine(ready)
}

// down gives everything back.
func (w *world) down() error {
	ctx, cancel := context.WithTimeout(context.Background(), patienceOfStories)
	defer cancel()
	out, err := w.command(ctx, w.tools.mainstay, "--data", w.data, "down", "--purge").CombinedOutput()
	if err != nil {
		return fmt.Errorf("down: %w\n%s", err, out)
	}
	<-w.up.done
	if _, err := os.Stat(w.data); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is still there", w.data)
	}
	return nil
}

// traces are what the pods of a node leave traces in while they are there: cgroups, mounts, links, routes, pins, files,
// containers, tasks and writable snapshots.
func (w *world) traces(ts *testscript.TestScript) []string {
	tree, err := cgroup.Open()
	ts.Check(err)
	all := w.groups(tree)
	run := place{w.data}.run()
	mounts, err := os.ReadFile("/proc/self/mounts")
	ts.Check(err)
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); strings.HasPrefix(f[1], run+"/") || strings.HasPrefix(f[1], w.data+"/") {
			all = append(all, "mount "+f[1])
		}
	}
	for _, dir := range []string{filepath.Join(run, "runtime"), filepath.Join(run, "bpf"), filepath.Join(run, "memory"), filepath.Join(w.data, "pods")} {
		filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				all = append(all, path)
			}
			return nil
		})
	}
	ctr := []string{"ctr", "--address", filepath.Join(run, "containerd", "containerd.sock"), "--namespace", "mainstay-" + w.node}
	hardware := regexp.MustCompile(` [0-9a-f:]{17} `)
	for _, args := range [][]string{
		{"ip", "-br", "link"}, {"ip", "route"}, slices.Concat(ctr, []string{"containers", "list", "--quiet"}),
		slices.Concat(ctr, []string{"tasks", "list", "--quiet"}), {"sh", "-c", strings.Join(ctr, " ") + " snapshots list | grep Active || true"},
	} {
		out, err := w.command(context.Background(), args[0], args[1:]...).CombinedOutput()
		if err != nil {
			ts.Fatalf("%v: %v\n%s", args, err, out)
		}
		for line := range strings.Lines(string(out)) {
			all = append(all, args[0]+" "+strings.Join(strings.Fields(hardware.ReplaceAllString(line, " ")), " "))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// deleteAll pushes a commit without any manifest.
func (r *round) deleteAll(ctx context.Context) error {
	c := r.command(ctx, "sh", "-c", `git push -o prune mainstay "$(git commit-tree "$(git mktree </dev/null)" -p main -m none)":main`)
	c.Dir = r.dir
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("push without manifests: %w\n%s", err, out)
	}
	for {
		out, err := r.command(ctx, r.tools.mainstay, "--data", r.data, "kubectl", "get", "pods", "-o", "name").CombinedOutput()
		if err == nil && len(out) == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("pods are not deleted: %s", out)
		}
		<-time.After(50 * time.Millisecond) // between questions
	}
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
