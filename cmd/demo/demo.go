package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mainstay-gitops/mainstay/cmd/internal/sandbox"
)

// A demo is one play.
type demo struct {
	dir  string // holds all of it
	bin  string // the mainstay program
	repo string // the user's Git repository
	talk bool   // show what happens

	applied, ready time.Duration // of the first push
	answers        map[string]int
}

func newDemo(dir string) *demo {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return &demo{dir: dir, bin: filepath.Join(filepath.Dir(self), "mainstay"), repo: filepath.Join(dir, "hello"), answers: map[string]int{}}
}

func (d *demo) mainstay(args ...string) []string {
	return append([]string{d.bin, "--data", filepath.Join(d.dir, "data")}, args...)
}

// play is the whole story.
func (d *demo) play(ctx context.Context) error {
	for _, step := range []func(context.Context) error{d.start, d.images, d.repository, d.firstPush, d.callAll, d.greet, d.update} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// roomy keeps the demo running on a disk that is nearly full.
const roomy = "memory.available<100Mi"

func (d *demo) start(ctx context.Context) error {
	d.say("Start Mainstay on this machine, in a network namespace of its own.")
	args := d.mainstay("up", "--eviction-hard", roomy, "--node", "demo")
	if !d.talk {
		args = d.mainstay("up", "--eviction-hard", roomy, "--node", filepath.Base(d.dir), "--api", "127.0.0.1:0", "--git", "127.0.0.1:0")
	}
	d.prompt(args)
	log, err := os.Create(filepath.Join(d.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	c := exec.Command(args[0], args[1:]...)
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	c.Stderr = log
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it goes on when the demo ends
	if err := c.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		d.print(lines.Text())
		if strings.HasPrefix(lines.Text(), "ready") {
			go io.Copy(log, out)
			return nil
		}
	}
	return fmt.Errorf("mainstay up ended: %w; see %s", c.Wait(), log.Name())
}

// images builds the example and loads it, in two versions.
func (d *demo) images(ctx context.Context) error {
	d.say("Build the image of the example, in two versions, and load it. No registry is needed.")
	for _, v := range []string{"v1", "v2"} {
		file := filepath.Join(d.dir, "hello-"+v+".tar")
		if err := sandbox.BuildImage(ctx, "./examples/hello", "mainstay.local/hello:"+v, v, file); err != nil {
			return err
		}
		if err := d.do(ctx, d.dir, d.mainstay("image", "load", file)...); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) repository(ctx context.Context) error {
	d.say("Make a Git repository of the example's manifests, and connect it.")
	if err := os.CopyFS(d.repo, os.DirFS("examples/hello")); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, args := range [][]string{
		{"git", "init", "-q", "-b", "main"},
		{"git", "config", "user.name", "Demo"},
		{"git", "config", "user.email", "demo@example.invalid"},
		{"git", "add", "."},
		{"git", "commit", "-q", "-m", "Say hello"},
		d.mainstay("remote", "add"),
	} {
		if err := d.do(ctx, d.repo, args...); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) firstPush(ctx context.Context) error {
	d.say("Push it.")
	started := time.Now()
	if err := d.push(ctx, func(line string) {
		if strings.Contains(line, "applied") {
			d.applied = time.Since(started)
		}
		if strings.Contains(line, "healthy in") {
			d.ready = time.Since(started)
		}
	}); err != nil {
		return err
	}
	if d.ready == 0 {
		return errors.New("the push did not end healthy")
	}
	return nil
}

// callAll calls the service by its address and by its name, until each replica has answered.
func (d *demo) callAll(ctx context.Context) error {
	d.say("Call the service, by its cluster address and by its DNS name, until each replica has answered.")
	addr, err := d.output(ctx, d.mainstay("kubectl", "get", "service", "-n", "hello", "web", "-o", "jsonpath={.spec.clusterIP}")...)
	if err != nil {
		return err
	}
	urls := []string{"http://" + addr + "/", "http://web.hello.svc.cluster.local/"}
	for n := 0; len(d.answers) < 3 || n < 2; n++ {
		if n == 200 {
			return fmt.Errorf("after %d calls only %v have answered", n, d.answers)
		}
		body, err := call(ctx, urls[n%2])
		if err != nil {
			return err
		}
		_, from, _ := strings.Cut(body, " from ")
		pod, _, _ := strings.Cut(from, ",")
		if d.answers[pod]++; d.answers[pod] == 1 || n < 2 {
			d.prompt([]string{"curl", urls[n%2]})
			d.print(strings.TrimSpace(body))
		}
	}
	return nil
}

func (d *demo) greet(ctx context.Context) error {
	d.say("Change the greeting: a ConfigMap that is mounted is updated in the running containers.")
	if err := d.edit("greeting: Hello", "greeting: Good evening"); err != nil {
		return err
	}
	if err := d.commitAndPush(ctx, "Greet more politely"); err != nil {
		return err
	}
	return d.await(ctx, "Good evening")
}

func (d *demo) update(ctx context.Context) error {
	d.say("Change the image: the replicas are replaced one after the other.")
	if err := d.edit("hello:v1", "hello:v2"); err != nil {
		return err
	}
	if err := d.commitAndPush(ctx, "Update to version 2"); err != nil {
		return err
	}
	return d.await(ctx, "version v2")
}

func (d *demo) edit(old, new string) error {
	path := filepath.Join(d.repo, "manifests", "hello.yaml")
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(b), old) {
		return fmt.Errorf("%s has no %q", path, old)
	}
	d.prompt([]string{"sed", "-i", "s/" + old + "/" + new + "/", "manifests/hello.yaml"})
	return os.WriteFile(path, []byte(strings.Replace(string(b), old, new, 1)), 0o644)
}

func (d *demo) commitAndPush(ctx context.Context, message string) error {
	if err := d.do(ctx, d.repo, "git", "commit", "-q", "-a", "-m", message); err != nil {
		return err
	}
	return d.push(ctx, func(string) {})
}

// push pushes, and shows each line of it.
func (d *demo) push(ctx context.Context, line func(string)) error {
	d.prompt([]string{"git", "push", "mainstay", "main"})
	c := exec.CommandContext(ctx, "git", "push", "mainstay", "main")
	c.Dir = d.repo
	out, err := c.StderrPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	s := bufio.NewScanner(out)
	for s.Scan() {
		text := strings.TrimRight(s.Text(), " ")
		line(text)
		d.print(text)
	}
	return c.Wait()
}

// await calls until the answer has a text in it.
func (d *demo) await(ctx context.Context, text string) error {
	const url = "http://web.hello.svc.cluster.local/"
	for deadline := time.Now().Add(30 * time.Second); ; {
		body, err := call(ctx, url)
		if err != nil {
			return err
		}
		if strings.Contains(body, text) {
			d.prompt([]string{"curl", url})
			d.print(strings.TrimSpace(body))
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the service never answered with %q, but with %q", text, body)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// do shows a command and runs it; its output is shown too.
func (d *demo) do(ctx context.Context, dir string, args ...string) error {
	d.prompt(args)
	return d.command(ctx, dir, args...)
}

func (d *demo) command(ctx context.Context, dir string, args ...string) error {
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		d.print(strings.TrimRight(line, "\n"))
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (d *demo) output(ctx context.Context, args ...string) (string, error) {
	d.prompt(args)
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, exit.Stderr)
	}
	if err != nil {
		return "", err
	}
	d.print(string(out))
	return string(out), nil
}

func (d *demo) say(text string) {
	if d.talk {
		fmt.Printf("\n\033[1m# %s\033[0m\n", text)
	}
}

func (d *demo) prompt(args []string) {
	if d.talk {
		fmt.Printf("\033[36m$ %s\033[0m\n", strings.Join(args, " "))
	}
}

func (d *demo) print(line string) {
	if d.talk {
		fmt.Println(line)
	}
}

// howToGoOn prints lines that work as they stand.
func (d *demo) howToGoOn() {
	enter := "nsenter --net=" + namespaceOf(d.dir) + " "
	fmt.Printf(`
It goes on running. From here, as root:

  %s%s kubectl get pods -A -o wide
  %s%s status
  cd %s    # edit manifests/hello.yaml, git commit -a, then
  %sgit push mainstay main

push URL: %s
end it:   %s end
`, enter, strings.Join(d.mainstay(), " "), enter, strings.Join(d.mainstay(), " "), d.repo, enter, d.pushURL(), os.Args[0])
}

func (d *demo) pushURL() string {
	out, err := exec.Command("git", "-C", d.repo, "remote", "get-url", "mainstay").Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(out))
}

// report prints what was measured.
func (d *demo) report() {
	fmt.Printf("push to applied: %.3f s\n", d.applied.Seconds())
	fmt.Printf("push to ready: %.3f s\n", d.ready.Seconds())
	var per []string
	for _, pod := range slices.Sorted(maps.Keys(d.answers)) {
		per = append(per, fmt.Sprintf("%s %d", pod, d.answers[pod]))
	}
	fmt.Printf("requests per replica: %s\n", strings.Join(per, ", "))
}

// tail prints the end of the daemon's log.
func (d *demo) tail() {
	b, err := os.ReadFile(filepath.Join(d.dir, "log"))
	if err == nil {
		fmt.Fprintf(os.Stderr, "the log of mainstay up:\n%s", b[max(len(b)-8<<10, 0):])
	}
}
