package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// runInside runs registry, node and tests in the namespace that this process is in. Everything is below dir.
func runInside(ctx context.Context, at place, dir string, o options) (err error) {
	addr, err := at.serveImages(ctx, dir)
	if err != nil {
		return fmt.Errorf("serve images: %w", err)
	}
	registries := filepath.Join(dir, "registries", "_default")
	if err := os.MkdirAll(registries, 0o755); err != nil {
		return err
	}
	mirror := fmt.Sprintf("[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", "http://"+addr)
	if err := os.WriteFile(filepath.Join(registries, "hosts.toml"), []byte(mirror), 0o644); err != nil {
		return err
	}
	n := node{place: at, dir: dir}
	if err := n.start(o.debug); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.end()) }()
	for _, part := range []part{{name: "parallel", filter: "Conformance && !Serial", procs: o.procs}, {name: "serial", filter: "Conformance && Serial", procs: 1}} {
		if o.only != "" && o.only != part.name {
			continue
		}
		if err := n.run(ctx, part, o); err != nil {
			return err
		}
	}
	return nil
}

// serveImages serves those of the cache by HTTP on loopback, for as long as this process lives.
func (p place) serveImages(ctx context.Context, dir string) (addr string, err error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(p.built("blobs"), 0o755); err != nil {
		return "", err
	}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(p.built("blobs"))))
	go http.Serve(l, handler)
	index, err := layout.ImageIndexFromPath(p.built("images-" + recipes))
	if err != nil {
		return "", err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return "", err
	}
	for _, d := range manifest.Manifests {
		ref, err := name.NewTag(l.Addr().String() + "/" + d.Annotations[nameAnnotation])
		if err != nil {
			return "", err
		}
		image, err := index.Image(d.Digest)
		if err != nil {
			return "", err
		}
		if err := remote.Write(ref, image, remote.WithContext(ctx)); err != nil {
			return "", fmt.Errorf("push %s: %w", ref, err)
		}
	}
	return l.Addr().String(), nil
}

// A node is one Mainstay, and what its tests leave behind.
type node struct {
	place
	dir    string
	daemon *exec.Cmd
}

func (n *node) data() string { return filepath.Join(n.dir, "data") }

func (n *node) start(debug bool) error {
	level := "warn"
	if debug {
		level = "debug"
	}
	logs, err := os.Create(filepath.Join(n.dir, "node.log"))
	if err != nil {
		return err
	}
	defer logs.Close()
	c := exec.Command(n.mainstay(), "--data", n.data(), "up", "--node", filepath.Base(n.dir), "--api", "127.0.0.1:0", "--git", "127.0.0.1:0",
		"--registry-config", filepath.Join(n.dir, "registries"), "--eviction-hard", "memory.available<100Mi", "--log-level", level)
	c.Stderr = logs
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // ^C ends the tests, then the node is ended in order
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("start the node (make build): %w", err)
	}
	n.daemon = c
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "ready") {
			go io.Copy(io.Discard, out)
			return nil
		}
	}
	said, _ := os.ReadFile(logs.Name())
	return fmt.Errorf("the node ended: %w\n%s", c.Wait(), said)
}

// end gives back what the node took.
func (n *node) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, n.mainstay(), "--data", n.data(), "down", "--purge").CombinedOutput()
	if err != nil {
		return fmt.Errorf("end the node: %w\n%s", err, out)
	}
	n.daemon.Wait() // down has ended it; how it ended is no news
	return nil
}

// A part of the suite runs in one go.
type part struct {
	name, filter string
	procs        int
}

// run runs the tests of a part. That some fail is no error: the report says it.
func (n *node) run(ctx context.Context, p part, o options) error {
	fmt.Printf("running the %s tests\n", p.name)
	logs, err := os.Create(filepath.Join(n.dir, p.name+".log"))
	if err != nil {
		return err
	}
	defer logs.Close()
	args := []string{"run", "-v", "--no-color", "--keep-going", "--timeout=" + o.within.String(), "--procs=" + strconv.Itoa(p.procs), "--label-filter=" + p.filter,
		"--output-dir=" + n.dir, "--json-report=" + p.name + ".json"}
	if o.focus != "" {
		args = append(args, "--focus="+o.focus)
	}
	if o.skip != "" {
		args = append(args, "--skip="+o.skip)
	}
	if o.again {
		all, err := readResults(resultsFile)
		if err != nil {
			return err
		}
		for name, o := range all {
			if o == passed {
				args = append(args, "--skip="+regexp.QuoteMeta(name))
			}
		}
	}
	args = append(args, n.built("e2e.test"), "--", "--provider=skeleton", "--kubeconfig="+filepath.Join(n.data(), "kubeconfig"), "--kubectl-path="+n.built("kubectl"),
		"--dump-logs-on-failure=false", "--disable-log-dump", "--num-nodes=1", "--system-daemonsets-startup-timeout=1s")
	c := exec.CommandContext(ctx, n.built("ginkgo"), args...)
	c.Dir, c.Stdout, c.Stderr = n.dir, logs, logs
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGINT) } // ginkgo cleans up and still reports
	c.WaitDelay = time.Minute
	c.Env = append(os.Environ(), "HOME="+n.dir)
	err = c.Run()
	if _, missing := os.Stat(filepath.Join(n.dir, p.name+".json")); missing != nil {
		said, _ := os.ReadFile(logs.Name())
		return fmt.Errorf("the suite wrote no report: %w\n%s", err, said[max(0, len(said)-4<<10):])
	}
	return ctx.Err()
}
