package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patienceOfStories is how long something may take to become so in a story.
const patienceOfStories = 60 * time.Second

// A world is where one story plays.
type world struct {
	tools     *tools
	work      string
	data      string
	netns     string
	node      string
	up        *daemon
	loads     map[string]*daemon
	watcher   *daemon
	processes []*daemon
}

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// verbs are what stories can do beside testscript's own, which win where a name is the same (so none is called stop). All
// that they run, runs in the story's network namespace.
var verbs = map[string]func(*testscript.TestScript, bool, []string){
	"up":        cmdUp,
	"upgrade":   cmdUpgrade,
	"kill9":     cmdKill,
	"reboot":    cmdReboot,
	"rounds":    cmdRounds,
	"interrupt": cmdInterrupt,
	"in":        cmdIn,
	"mainstay":  cmdMainstay,
	"kubectl":   cmdKubectl,
	"each":      cmdEach,
	"until":     cmdUntil,
	"call":      cmdCall,
	"hook":      cmdHook,
	"load":      cmdLoad,
	"serve":     cmdServe,
	"watch":     cmdWatch,
	"push":      cmdPush,
	"replace":   cmdReplace,
	"request":   cmdRequest,
	"left":      cmdLeft,
}

// command is a program in the world's namespace.
func (w *world) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + w.netns, program}, args...)...)
	c.Dir = w.work
	c.Env = append(os.Environ(), w.vars()...)
	return c
}

// A daemon is a process that runs while the story goes on.
type daemon struct {
	cmd  *exec.Cmd
	out  *watched
	done chan struct{}
	err  error
}

// start runs a program in the background, in a session of its own.
func (w *world) start(program string, args ...string) (*daemon, error) {
	d := &daemon{cmd: w.command(context.Background(), program, args...), out: &watched{changed: make(chan struct{})}, done: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.out
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.done)
	}()
	w.processes = append(w.processes, d)
	return d, nil
}

// signal sends a signal and waits for the end.
func (d *daemon) signal(s os.Signal) error {
	if err := d.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-d.done:
		return nil
	case <-time.After(30 * time.Second):
		return fmt.Errorf("%v does not end", d.cmd.Args)
	}
}

func (d *daemon) stop() { d.signal(syscall.SIGKILL) }

// awaitLine waits until the daemon has written something that matches.
func (d *daemon) awaitLine(re *regexp.Regexp) error {
	return d.await(re.String(), re.MatchString)
}

// awaitLines waits until it has written n more lines.
func (d *daemon) awaitLines(n int) error {
	text, _ := d.out.text()
	n += strings.Count(text, "\n")
	return d.await(fmt.Sprintf("%d lines", n), func(text string) bool { return strings.Count(text, "\n") >= n })
}

func (d *daemon) await(what string, enough func(string) bool) error {
	deadline := time.After(patienceOfStories)
	for {
		text, changed := d.out.text()
		if enough(text) {
			return nil
		}
		select {
		case <-changed:
		case <-d.done:
			return fmt.Errorf("%v ended (%v):\n%s", d.cmd.Args, d.err, text)
		case <-deadline:
			return fmt.Errorf("%v never wrote %s:\n%s", d.cmd.Args, what, text)
		}
	}
}

// upArgs start Mainstay in the world. Stories do not depend on how full the disk of this machine is.
func (w *world) upArgs() []string {
	return []string{"--data", w.data, "up", "--node", w.node, "--log-level", "info", "--eviction-hard", "memory.available<100Mi"}
}

// up [FLAG...] starts Mainstay, waits until it is ready, and loads the images.
func cmdUp(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	first := w.up == nil
	d, err := w.start(w.tools.mainstay, append(w.upArgs(), args...)...)
	ts.Check(err)
	w.up = d
	err = d.awaitLine(regexp.MustCompile(`(?m)^ready in`))
	if neg {
		if err == nil {
			ts.Fatalf("it came up")
		}
		return
	}
	ts.Check(err)
	if first {
		ts.Check(ts.Exec("nsenter", append([]string{"--net=" + w.netns, w.tools.mainstay, "--data", w.data, "image", "load"}, w.tools.images...)...))
	}
}

// upgrade VERSION [FLAG...] starts Mainstay of another version over the one that runs, and waits until it is ready and the old
// one has ended. The version "first" is the one that up starts.
func cmdUpgrade(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	next := filepath.Join(w.work, "mainstay-"+args[0])
	if args[0] == "first" {
		next = w.tools.mainstay
	}
	if _, err := os.Stat(next); err != nil {
		c := exec.Command("go", "build", "-ldflags", "-s -w -X main.version="+args[0], "-o", next, ".")
		c.Dir = w.tools.source
		if text, err := c.CombinedOutput(); err != nil {
			ts.Fatalf("build mainstay: %v\n%s", err, text)
		}
	}
	d, err := w.start(next, append(w.upArgs(), args[1:]...)...)
	ts.Check(err)
	err = d.awaitLine(regexp.MustCompile(`(?m)^ready in`))
	text, _ := d.out.text()
	fmt.Fprint(ts.Stdout(), text)
	if neg {
		if err == nil {
			ts.Fatalf("it came up")
		}
		return
	}
	ts.Check(err)
	old := w.up
	w.up = d
	select {
	case <-old.done:
	case <-time.After(patienceOfStories):
		ts.Fatalf("the old one still runs")
	}
	if text, _ := old.out.text(); old.err != nil || !strings.Contains(text, "stopped;") {
		ts.Fatalf("the old one ended with %v:\n%s", old.err, text)
	}
}

// interrupt ends the daemon as ^C does.
func cmdInterrupt(ts *testscript.TestScript, _ bool, _ []string) {
	d := worldOf(ts).up
	ts.Check(d.signal(os.Interrupt))
	text, _ := d.out.text()
	if d.err != nil || !strings.Contains(text, "stopped;") {
		ts.Fatalf("mainstay up ended with %v:\n%s", d.err, text)
	}
	fmt.Fprint(ts.Stdout(), text)
}

// in PROGRAM ARG... runs a program; its output can be looked at.
func cmdIn(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("nsenter", append([]string{"--net=" + worldOf(ts).netns}, args...)...)
	judge(ts, neg, args, err)
}

func judge(ts *testscript.TestScript, neg bool, args []string, err error) {
	if neg && err == nil {
		ts.Fatalf("%v went well", args)
	}
	if !neg && err != nil {
		ts.Fatalf("%v: %v", args, err)
	}
}

// mainstay ARG... is the real program.
func cmdMainstay(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	cmdIn(ts, neg, append([]string{w.tools.mainstay, "--data", w.data}, args...))
}

// kubectl ARG... is the kubectl that is built in.
func cmdKubectl(ts *testscript.TestScript, neg bool, args []string) {
	cmdMainstay(ts, neg, append([]string{"kubectl"}, args...))
}

// each TEXT runs a shell script with each stock kubectl in turn, as $kubectl; with their version as $version. What both say
// can be looked at.
func cmdEach(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	var all []string
	for _, name := range slices.Sorted(maps.Keys(w.tools.kubectls)) {
		all = append(all, fmt.Sprintf("(kubectl=%s version=%s; %s\n)", w.tools.kubectls[name], strings.TrimPrefix(name, "KUBECTL_"), args[0]))
	}
	link := " && "
	if neg {
		link = " || "
	}
	cmdIn(ts, neg, []string{"sh", "-c", strings.Join(all, link)})
}

// call URL makes one request; the answer can be looked at.
func cmdCall(ts *testscript.TestScript, neg bool, args []string) {
	cmdIn(ts, neg, append([]string{worldOf(ts).tools.helper, helperArg, "call"}, args...))
}

// hook SOURCE SECRET sends a signed webhook for a source.
func cmdHook(ts *testscript.TestScript, neg bool, args []string) {
	cmdIn(ts, neg, append([]string{worldOf(ts).tools.helper, helperArg, "hook"}, args...))
}

// until REGEXP PROGRAM ARG... runs a program, or one of the verbs mainstay, kubectl and call, until its output matches; ! until
// until it does not. It may fail meanwhile.
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	args = args[1:]
	switch args[0] {
	case "kubectl":
		args = append([]string{w.tools.mainstay, "--data", w.data}, args...)
	case "mainstay":
		args = append([]string{w.tools.mainstay, "--data", w.data}, args[1:]...)
	case "call":
		args = append([]string{w.tools.helper, helperArg}, args...)
	}
	deadline := time.Now().Add(patienceOfStories)
	said := ""
	for {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		c := w.command(ctx, args[0], args[1:]...)
		c.Dir = ts.MkAbs(".")
		out, err := c.CombinedOutput()
		cancel()
		if (err == nil && re.Match(out)) != neg {
			return
		}
		if time.Now().After(deadline) {
			status, _ := w.command(context.Background(), w.tools.mainstay, "--data", w.data, "status").CombinedOutput()
			log, _ := w.up.out.text()
			ts.Fatalf("until %q: %v still says\n%s\nmainstay status says\n%s\nthe daemon says\n%s", re, args, said, status, log[max(len(log)-4000, 0):])
		}
		said = fmt.Sprintf("%s(%v)", out, err)
		<-time.After(50 * time.Millisecond) // between questions, not in place of an answer
	}
}

// load start NAME URL calls a service without a pause, from a process of its own; load end NAME ends that, and fails if any
// call did. load some NAME waits until it has made some calls, load past NAME N until it has made that many.
func cmdLoad(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if w.loads == nil {
		w.loads = map[string]*daemon{}
	}
	switch args[0] {
	case "start":
		d, err := w.startHelper("load", args[2:]...)
		ts.Check(err)
		w.loads[args[1]] = d
		ts.Check(d.awaitLine(regexp.MustCompile(`(?m)^50 calls`)))
	case "some":
		ts.Check(w.loads[args[1]].awaitLines(3))
	case "past":
		n, err := strconv.Atoi(args[2])
		ts.Check(err)
		ts.Check(w.loads[args[1]].await(args[2]+" calls", func(text string) bool { return strings.Count(text, " calls\n")*50 >= n }))
	case "end":
		d := w.loads[args[1]]
		delete(w.loads, args[1])
		ts.Check(d.signal(os.Interrupt))
		text, _ := d.out.text()
		lines := strings.Split(strings.TrimSpace(text), "\n")
		ts.Logf("load %s: %s", args[1], lines[len(lines)-1])
		if failed := !strings.HasSuffix(text, " calls, 0 failed\n"); failed != neg {
			ts.Fatalf("load %s:\n%s\n...\n%s", args[1], strings.Join(lines[:min(len(lines), 200)], "\n"), lines[len(lines)-1])
		}
	default:
		ts.Fatalf("load start, some or end")
	}
}

func (w *world) stopLoads() {
	for _, d := range w.loads {
		d.stop()
	}
}

// serve git DIR ADDR serves the repositories below DIR over HTTP with git http-backend; serve registry ARCHIVE ADDR
// [USER:PASSWORD] serves an image.
func cmdServe(ts *testscript.TestScript, _ bool, args []string) {
	d, err := worldOf(ts).startHelper(args[0], append([]string{ts.MkAbs(args[1])}, args[2:]...)...)
	ts.Check(err)
	ts.Check(d.awaitLine(regexp.MustCompile(`(?m)^serving`)))
}

// watch start lets a client of the API watch ConfigMaps, and cut and resume it; watch end waits until that has seen 100 of
// them. What it has seen can be looked at.
func cmdWatch(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	if args[0] == "start" {
		d, err := w.startHelper("watch")
		ts.Check(err)
		w.watcher = d
		ts.Check(d.awaitLine(regexp.MustCompile(`(?m)^watching`)))
		return
	}
	<-w.watcher.done // it gives up by itself
	text, _ := w.watcher.out.text()
	fmt.Fprint(ts.Stdout(), text)
	ts.Check(w.watcher.err)
}

// startHelper runs this test program in the world, as one of its helpers.
func (w *world) startHelper(verb string, args ...string) (*daemon, error) {
	return w.start(w.tools.helper, append([]string{helperArg, verb}, args...)...)
}

// push [ARG...] commits all that is in the folder and pushes it; what the push says can be looked at.
func cmdPush(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(ts.Exec("git", "add", "-A"))
	ts.Check(ts.Exec("git", "commit", "-q", "--allow-empty", "-m", "a change"))
	cmdIn(ts, neg, append(append([]string{"git", "push"}, args...), "mainstay", "main"))
}

// replace OLD NEW FILE replaces all of OLD, of which there must be some.
func cmdReplace(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[2])
	b, err := os.ReadFile(path)
	ts.Check(err)
	if !bytes.Contains(b, []byte(args[0])) {
		ts.Fatalf("%s has no %q", args[2], args[0])
	}
	ts.Check(os.WriteFile(path, bytes.ReplaceAll(b, []byte(args[0]), []byte(args[1])), 0o644))
}

// left fails if anything of the node is left on the machine: processes, mounts, cgroups, devices, routes, rules, files.
func cmdLeft(ts *testscript.TestScript, neg bool, _ []string) {
	w := worldOf(ts)
	found := w.left(ts)
	if len(found) > 0 != neg {
		ts.Fatalf("left on the machine:\n%s", strings.Join(found, "\n"))
	}
}

func (w *world) left(ts *testscript.TestScript) []string {
	var found []string
	run := place{w.data}.run()
	if _, err := os.Stat(run); !errors.Is(err, fs.ErrNotExist) {
		found = append(found, run)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	ts.Check(err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, run+"/") || strings.Contains(line, w.data+"/") {
			found = append(found, "mount "+line)
		}
	}
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "mainstay-"+w.node {
			found = append(found, path)
			return filepath.SkipDir
		}
		return nil
	})
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	ts.Check(err)
	for _, p := range procs {
		b, _ := os.ReadFile(p)
		if strings.Contains(string(b), run) || strings.Contains(string(b), w.data+"/") {
			found = append(found, p+" "+strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	for _, args := range [][]string{{"ip", "-o", "link"}, {"ip", "route", "show", "table", "all"}, {"nft", "list", "tables"}} {
		out, err := w.command(context.Background(), args[0], args[1:]...).CombinedOutput()
		ts.Check(err)
		for line := range strings.Lines(string(out)) {
			if !regexp.MustCompile(`\blo\b|^(local|broadcast) |dev lo|^ff00|^fe80|^multicast`).MatchString(line) {
				found = append(found, strings.Join(args, " ")+": "+line)
			}
		}
	}
	return found
}

// watched is what a process has written so far.
type watched struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{} // closed at the next write
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
	return w.buf.Write(p)
}

// text is all of it, and a channel that is closed when there is more.
func (w *watched) text() (string, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String(), w.changed
}
