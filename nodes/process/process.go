// Package process runs programs that outlive the daemon: each in a session and a cgroup of its own, its output in a file,
// and found again by its pid file, by a later daemon that is not its parent.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
)

// A Spec is a program to run.
type Spec struct {
	Args    []string   // the program and its arguments
	Env     []string   // as in os.Environ
	Files   []*os.File // it has them from descriptor 3 on
	PIDFile string     // says which process it is
	Log     string     // gets what it writes; the last run's is kept beside it, as NAME.1
	Tree    *cgroup.Tree
	Group   string // cgroup to be in; empty: that of the caller
}

// A Process is one that runs, or did. Close gives its descriptor back, and leaves it running.
type Process struct {
	PID int
	fd  *os.File // pidfd: readable once it has ended
}

// Start starts a program.
func Start(s Spec) (*Process, error) {
	log, err := openLog(s.Log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Args[0], err)
	}
	defer log.Close()
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Env, cmd.ExtraFiles = s.Env, s.Files
	cmd.Stdout, cmd.Stderr = log, log // a pipe would end with its reader, and the program by SIGPIPE
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Args[0], err)
	}
	p, err := adopt(s, cmd.Process.Pid)
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, fmt.Errorf("start %s: %w", s.Args[0], err)
	}
	_ = cmd.Process.Release()
	return p, nil
}

// adopt puts a new process where it belongs and notes it down.
func adopt(s Spec, pid int) (*Process, error) {
	if s.Group != "" {
		if err := s.Tree.Enter(s.Group, pid); err != nil {
			return nil, err
		}
	}
	p, err := Open(pid)
	if err != nil {
		return nil, err
	}
	// The system ends others first when it lacks memory, where this process may ask for that.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("-999"), 0o644)
	started, ok := startTime(pid)
	if !ok {
		p.Close()
		return nil, errors.New("it ended at once; see " + s.Log)
	}
	if err := replace(s.PIDFile, fmt.Sprintf("%d %s\n", pid, started)); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// openLog moves the log of the last run aside, so that it never grows for longer than a run.
func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := os.Rename(path, path+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// TrimLog moves what is in a log aside, as Start does, when it is longer than most. The program goes on writing to it; a
// line that it writes in that moment may be lost.
func TrimLog(path string, most int64) error {
	log, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("trim log: %w", err)
	}
	defer log.Close()
	if st, err := log.Stat(); err != nil || st.Size() <= most {
		return err
	}
	aside, err := os.OpenFile(path+".1", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("trim log: %w", err)
	}
	defer aside.Close()
	if _, err := io.Copy(aside, log); err != nil {
		return fmt.Errorf("trim log: %w", err)
	}
	return log.Truncate(0)
}

// Find returns the process that a pid file names, if it runs. The file also has the time at which it started, so that
// another process with the same id is not taken for it.
func Find(pidFile string) (*Process, bool) {
	data, err := os.ReadFile(pidFile)
	if err != nil {
		return nil, false
	}
	id, started, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
	pid, err := strconv.Atoi(id)
	if err != nil {
		return nil, false
	}
	p, err := Open(pid) // first: what the descriptor stands for cannot change any more
	if err != nil {
		return nil, false
	}
	if now, ok := startTime(pid); !ok || now != started {
		p.Close()
		return nil, false
	}
	return p, true
}

// Open takes hold of a process by its id: the caller knows that it runs.
func Open(pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	return &Process{PID: pid, fd: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// Wait returns nil when the process has ended, or the error of ctx. One call at a time; the other methods may be called
// meanwhile.
func (p *Process) Wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = p.fd.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() {
			_ = p.fd.SetReadDeadline(time.Time{})
		}
	}()
	conn, err := p.fd.SyscallConn()
	if err != nil {
		return err
	}
	err = conn.Read(func(fd uintptr) bool { return ended(int(fd)) })
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ctx.Err()
	}
	return err
}

// ended also reaps the process, if it is a child of this one.
func ended(pidfd int) bool {
	poll := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, 0); n == 0 || err != nil {
		return false
	}
	_ = unix.Waitid(unix.P_PIDFD, pidfd, nil, unix.WEXITED|unix.WNOHANG, nil)
	return true
}

// Running tells whether it has not ended yet.
func (p *Process) Running() bool {
	running := false
	if conn, err := p.fd.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { running = !ended(int(fd)) })
	}
	return running
}

// Signal sends a signal. To one that has ended it does nothing.
func (p *Process) Signal(sig syscall.Signal) error {
	conn, err := p.fd.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = conn.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	if errors.Is(sent, unix.ESRCH) {
		sent = nil
	}
	return errors.Join(err, sent)
}

// Stop asks it to end, waits for that as long as grace, kills it then, and returns when it has ended.
func (p *Process) Stop(ctx context.Context, grace time.Duration) error {
	if err := p.Signal(unix.SIGTERM); err != nil {
		return err
	}
	asked, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if p.Wait(asked) == nil {
		return nil
	}
	if err := p.Signal(unix.SIGKILL); err != nil {
		return err
	}
	return p.Wait(ctx)
}

// Close gives the descriptor back.
func (p *Process) Close() error { return p.fd.Close() }

// startTime is field 22 of /proc/PID/stat; false for a process that has ended.
func startTime(pid int) (string, bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", false
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndex(text, ")")+1:]) // its name, in brackets, may hold anything
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return "", false
	}
	return fields[19], true
}

// replace writes a file in one step.
func replace(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
