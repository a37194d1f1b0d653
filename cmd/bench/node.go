package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// hello is an image of examples/hello.
func hello(version string) string { return "mainstay.local/hello:" + version }

// A node is one Mainstay, with a data folder of its own.
type node struct {
	b    *bench
	name string
	data string
	cmd  *exec.Cmd  // the daemon; nil if it does not run
	done chan error // gets its end

	git     string // URL of the push server
	client  *kubernetes.Clientset
	objects dynamic.Interface
}

func (b *bench) newNode() *node {
	b.nodes++
	return &node{b: b, name: fmt.Sprintf("bench-%d-%d", os.Getpid(), b.nodes), data: b.path(fmt.Sprintf("data-%d", b.nodes))}
}

func (n *node) log() string { return n.data + ".log" }

// up starts the daemon, and returns how long it took from the start of the process to the line that says that it is ready.
func (n *node) up(ctx context.Context) (time.Duration, error) {
	log, err := os.OpenFile(n.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	c := exec.Command(programOf(n.b.dir), "--data", n.data, "up", "--node", n.name, "--eviction-hard", "memory.available<100Mi", "--api", "127.0.0.1:0", "--git", "127.0.0.1:0")
	c.Stderr = log
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a ^C is for this program, which ends the daemon itself
	out, err := c.StdoutPipe()
	if err != nil {
		return 0, err
	}
	started := time.Now()
	if err := c.Start(); err != nil {
		return 0, err
	}
	n.cmd, n.done = c, make(chan error, 1)
	ready := make(chan time.Duration, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "ready in") {
				ready <- time.Since(started)
			}
		}
		n.done <- c.Wait()
	}()
	select {
	case took := <-ready:
		return took, n.readEndpoints()
	case err := <-n.done:
		n.cmd = nil
		return 0, fmt.Errorf("mainstay up ended before it was ready: %w", err)
	case <-time.After(30 * time.Second):
		return 0, errors.New("mainstay up was not ready within 30 s")
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (n *node) readEndpoints() error {
	b, err := os.ReadFile(n.data + "/endpoints.json")
	if err != nil {
		return err
	}
	var e struct {
		Git string `json:"git"`
	}
	err = json.Unmarshal(b, &e)
	n.git = e.Git
	return err
}

// stop ends the daemon, as ^C does. What it has started goes on.
func (n *node) stop() error {
	if n.cmd == nil {
		return nil
	}
	if err := n.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-n.done:
		n.cmd = nil
		return err
	case <-time.After(30 * time.Second):
		return errors.New("mainstay up does not end at an interrupt")
	}
}

// end gives back all that the node has taken. If err says that it was not well, the end of its log is added.
func (n *node) end(ctx context.Context, err error) error {
	if err != nil {
		err = fmt.Errorf("%w%s", err, n.tail())
	}
	if _, statErr := os.Stat(n.data); statErr != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	if n.cmd != nil {
		if stopErr := n.stop(); stopErr != nil {
			n.cmd.Process.Kill()
			err = errors.Join(err, stopErr)
		}
	}
	return errors.Join(err, down(ctx, n.b.dir, n.data))
}

// tail is the end of the daemon's log.
func (n *node) tail() string {
	const most = 2 << 10
	f, err := os.Open(n.log())
	if err != nil {
		return ""
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil {
		f.Seek(max(fi.Size()-most, 0), io.SeekStart)
	}
	b, err := io.ReadAll(f)
	if err != nil || len(b) == 0 {
		return ""
	}
	return fmt.Sprintf("\nthe log of mainstay up:\n%s", b)
}

// mainstay runs one of its verbs.
func (n *node) mainstay(ctx context.Context, stdin io.Reader, args ...string) error {
	c := exec.CommandContext(ctx, programOf(n.b.dir), append([]string{"--data", n.data}, args...)...)
	c.Env, c.Stdin = n.b.environment(), stdin
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("mainstay %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (n *node) loadImages(ctx context.Context) error {
	return n.mainstay(ctx, nil, "image", "load", imageFile(n.b.dir, "v1"), imageFile(n.b.dir, "v2"))
}

// apply creates objects without Git.
func (n *node) apply(ctx context.Context, manifests string) error {
	return n.mainstay(ctx, strings.NewReader(manifests), "kubectl", "apply", "-f", "-")
}

// connect makes the clients of the API.
func (n *node) connect() error {
	cfg, err := clientcmd.BuildConfigFromFlags("", n.data+"/kubeconfig")
	if err != nil {
		return err
	}
	cfg.QPS = -1 // as fast as it goes
	if n.client, err = kubernetes.NewForConfig(cfg); err != nil {
		return err
	}
	n.objects, err = dynamic.NewForConfig(cfg)
	return err
}

// environment keeps the settings of whoever runs this away from Git.
func (b *bench) environment() []string {
	return append(os.Environ(), "HOME="+b.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Bench", "GIT_AUTHOR_EMAIL=bench@example.invalid",
		"GIT_COMMITTER_NAME=Bench", "GIT_COMMITTER_EMAIL=bench@example.invalid")
}
