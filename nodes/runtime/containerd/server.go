package containerd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/process"
)

// A Server is the containerd of one node. It outlives the daemon, which finds it again, and runs in a cgroup of its own,
// together with the shims that it starts. Two nodes on one machine have two of them that know nothing of each other.
type Server struct {
	Binary  string // path or name; empty: containerd
	DataDir string // keeps images and snapshots
	RunDir  string // has its socket and what need not survive a boot
	Tree    *cgroup.Tree
	Group   string // its cgroup
	Log     *slog.Logger
}

// Socket is where it listens.
func (s *Server) Socket() string { return filepath.Join(s.RunDir, "containerd.sock") }

// pidFile says which process it is.
func (s *Server) pidFile() string { return filepath.Join(s.RunDir, "containerd.pid") }

// log gets what it and its shims have to say.
func (s *Server) log() string { return filepath.Join(s.DataDir, "containerd.log") }

// Ensure finds the one that an earlier daemon started, or starts one. It does not wait for it to answer: Connect does.
func (s *Server) Ensure() error {
	p, err := s.ensure()
	if err != nil {
		return err
	}
	return p.Close()
}

func (s *Server) ensure() (*process.Process, error) {
	if p, ok := process.Find(s.pidFile()); ok {
		return p, nil
	}
	binary, err := s.find()
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{s.DataDir, s.RunDir} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, fmt.Errorf("start containerd: %w", err)
		}
	}
	config := filepath.Join(s.RunDir, "containerd.toml")
	if err := os.WriteFile(config, []byte(s.config()), 0o600); err != nil {
		return nil, fmt.Errorf("start containerd: %w", err)
	}
	return process.Start(process.Spec{
		Args:    []string{binary, "--config", config},
		Env:     environment(os.Environ()),
		PIDFile: s.pidFile(),
		Log:     s.log(),
		Tree:    s.Tree,
		Group:   s.Group,
	})
}

func (s *Server) find() (string, error) {
	name := s.Binary
	if name == "" {
		name = "containerd"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("start containerd: %w; install the package containerd, or name the socket of a running one", err)
	}
	return filepath.Abs(path)
}

// environment is this process's, with a PATH on which runc is found also where root's has no sbin.
func environment(env []string) []string {
	const folders = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	var out []string
	path := folders
	for _, e := range env {
		if p, ok := strings.CutPrefix(e, "PATH="); ok {
			path = p + ":" + folders
		} else if !strings.HasPrefix(e, "NOTIFY_SOCKET=") { // it would tell systemd that it is the daemon
			out = append(out, e)
		}
	}
	return append(out, "PATH="+path)
}

// config turns off what a node never uses. The runtime plugin io.containerd.runtime.v1.linux stays: containerd 1.6 has no
// task service without it.
func (s *Server) config() string {
	off := []string{
		"io.containerd.grpc.v1.cri",
		"io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
		"io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.native", "io.containerd.snapshotter.v1.blockfile",
		"io.containerd.internal.v1.restart", "io.containerd.internal.v1.opt", "io.containerd.monitor.v1.cgroups",
		"io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing", "io.containerd.nri.v1.nri",
	}
	return fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = [%s]
[grpc]
address = %q
[ttrpc]
address = %q
[debug]
level = "error"
`, filepath.Join(s.DataDir, "root"), filepath.Join(s.RunDir, "state"), `"`+strings.Join(off, `", "`)+`"`, s.Socket(), s.Socket()+".ttrpc")
}

// Run keeps it running until ctx ends: one that ends by itself is started again. It leaves it running when ctx ends.
func (s *Server) Run(ctx context.Context) error {
	for {
		p, err := s.ensure()
		if err == nil {
			err = s.watch(ctx, p)
			p.Close()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.Log.Error("containerd ended, starting it again", "err", err)
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// watch waits for the end of containerd, and sees to it that its log does not grow for ever.
func (s *Server) watch(ctx context.Context, p *process.Process) error {
	const look, longest = 10 * time.Minute, 16 << 20
	for {
		part, cancel := context.WithTimeout(ctx, look)
		err := p.Wait(part)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if err := process.TrimLog(s.log(), longest); err != nil {
			s.Log.Warn("containerd's log", "err", err)
		}
	}
}

// Stop ends it, with all its shims, and removes what it has in its run folder. Images and snapshots stay.
func (s *Server) Stop(ctx context.Context) error {
	if p, ok := process.Find(s.pidFile()); ok {
		defer p.Close()
		if err := p.Stop(ctx, 10*time.Second); err != nil {
			return fmt.Errorf("stop containerd: %w", err)
		}
	}
	if err := s.Tree.Remove(ctx, s.Group); err != nil {
		return fmt.Errorf("stop containerd: %w", err)
	}
	errs := []error{unmountUnder(filepath.Join(s.RunDir, "state"))}
	for _, name := range []string{"containerd.sock", "containerd.sock.ttrpc", "containerd.pid", "containerd.toml", "state"} {
		errs = append(errs, os.RemoveAll(filepath.Join(s.RunDir, name)))
	}
	return errors.Join(errs...)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
