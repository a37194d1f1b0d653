package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/process"
)

const (
	pauseUser  = 65535 // nobody's: no container reaches the process by having its user
	pauseGroup = "pause"
)

// A halfPause is a pause process that does nothing yet: it ends when its input is closed, and stays when it was told to.
type halfPause struct {
	pid   int
	input *os.File
}

// forkPause starts the first process of a new PID namespace, from a thread that is in the namespaces of the pod and ends
// after it. It sees no file but its program: what containers find under /proc/1/root is that and nothing else.
func forkPause(dir string) (*halfPause, error) {
	program := pauseProgram(goruntime.GOARCH)
	if program == nil {
		return nil, fmt.Errorf("containers cannot share processes on %s", goruntime.GOARCH)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	if err := emptyRoot(dir, program); err != nil {
		write.Close()
		return nil, err
	}
	pid, err := syscall.ForkExec("/pause", []string{"/pause"}, &syscall.ProcAttr{
		Dir:   "/",
		Files: []uintptr{read.Fd()},
		Sys: &syscall.SysProcAttr{
			Setsid: true, Cloneflags: syscall.CLONE_NEWPID, Credential: &syscall.Credential{Uid: pauseUser, Gid: pauseUser},
		},
	})
	if err != nil {
		write.Close()
		return nil, fmt.Errorf("start pause process: %w", err)
	}
	return &halfPause{pid, write}, nil
}

// emptyRoot moves the thread to a file system that holds only a program, in a mount namespace of its own. dir is any folder.
func emptyRoot(dir string, program []byte) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make mount namespace: %w", err)
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"keep mounts to itself", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"mount its root", func() error { return unix.Mount("pause", dir, "tmpfs", flags, "size=64k,mode=755") }},
		{"write its program", func() error { return os.WriteFile(filepath.Join(dir, "pause"), program, 0o555) }},
		{"enter its root", func() error { return unix.Chdir(dir) }},
		{"change its root", func() error { return unix.PivotRoot(".", ".") }},
		{"leave the old root", func() error { return unix.Unmount(".", unix.MNT_DETACH) }},
		{"protect its root", func() error { return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY|flags, "") }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("pause process: %s: %w", step.what, err)
		}
	}
	return nil
}

// settle puts the process where it belongs, pins its PID namespace, and lets it stay.
func (h *halfPause) settle(tree *cgroup.Tree, group, pin string, oomScore int) (*process.Process, error) {
	p, err := process.Open(h.pid)
	if err != nil {
		return nil, errors.Join(err, h.input.Close())
	}
	err = tree.Enter(group, h.pid)
	if err == nil {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", h.pid), []byte(strconv.Itoa(oomScore)), 0o644) // as far as it may
		err = pinFile(fmt.Sprintf("/proc/%d/ns/pid", h.pid), pin)
	}
	if err == nil {
		_, err = h.input.Write([]byte{1})
	}
	if err = errors.Join(err, h.input.Close()); err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return nil, errors.Join(err, p.Signal(unix.SIGKILL), p.Wait(ctx), p.Close())
	}
	return p, nil
}

// findPause is the process that keeps a pinned PID namespace; nil if it has ended.
func findPause(pid int, pin string) *process.Process {
	p, err := process.Open(pid) // first: what the descriptor stands for cannot change any more
	if err != nil {
		return nil
	}
	if !sameFile(fmt.Sprintf("/proc/%d/ns/pid", pid), pin) {
		p.Close()
		return nil
	}
	return p
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
