// Package keeper is the small process that outlives the daemon. It holds the FIFOs through which containers write, so that
// what they write while no daemon runs is not lost, and does one piece of work that it is given: it answers DNS. It has no
// state of its own, and nobody but root can talk to it.
//
// A Server is the process, a Keeper the daemon's side. When the daemon is of another version than the process, it starts
// a new one, which takes over from the old: first it holds what the old one holds, and has its sockets; then the old one
// ends.
package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/fifo"
)

// FilesEnv says how many descriptors a keeper inherits, from 3 on, or that it gets them from its predecessor.
const (
	FilesEnv        = "MAINSTAY_KEEPER_FILES"
	fromPredecessor = "from predecessor"
)

// A Server is the keeper process.
type Server struct {
	Socket  string // where it listens
	Version string // of what it runs; a daemon that has another replaces it
	// Work runs until ctx ends, with the sockets that the daemon opened for it; then it answers what it has read, and returns.
	// If it ends before, it is run again after a second. It owns files; a successor has them too, so it must not shut the
	// sockets down. nil: none.
	Work func(ctx context.Context, files []*os.File) error
	Log  *slog.Logger

	mu    sync.Mutex
	held  map[string]*fifo.Held
	files []*os.File // kept for a successor
	woe   string     // why Work ended last
	end   context.CancelFunc
}

// Run takes over from the keeper that listens at the socket, if there is one, and serves until ctx ends or a successor has
// taken over.
func (s *Server) Run(ctx context.Context) error {
	ctx, s.end = context.WithCancel(ctx)
	defer s.end()
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // it has little to do, and all day to do it
	debug.FreeOSMemory()                             // what the start of the program took
	s.held = map[string]*fifo.Held{}
	defer s.drop()
	listener, err := s.takeOver(ctx)
	if err != nil {
		return fmt.Errorf("run keeper: %w", err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer s.end()
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	if s.Work != nil {
		wg.Go(func() { s.work(ctx) })
	}
	for {
		conn, err := listener.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("run keeper: %w", err)
		}
		wg.Go(func() { s.serve(ctx, conn) })
	}
}

// takeOver gets hold of all that the predecessor has, listens in its place, and has it end. What goes wrong before that
// leaves the predecessor as it was.
func (s *Server) takeOver(ctx context.Context) (*net.UnixListener, error) {
	old, err := dial(ctx, s.Socket)
	if err != nil { // there is none
		if s.files, err = inherited(); err != nil {
			return nil, err
		}
		return listen(s.Socket)
	}
	defer old.Close()
	answer, files, err := old.ask(ctx, request{Verb: handOver})
	if err != nil {
		return nil, err
	}
	s.files = files
	if err := s.hold(answer.Held); err != nil {
		return nil, err
	}
	listener, err := listen(s.Socket)
	if err != nil {
		return nil, err
	}
	if _, _, err := old.ask(ctx, request{Verb: finish}); err != nil {
		s.Log.Warn("the last keeper did not say that it ends", "err", err)
	}
	return listener, nil
}

// listen makes a socket that is never seen half made, in the place of any that is there.
func listen(path string) (*net.UnixListener, error) {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false) // it may be a successor's by then
	if err := errors.Join(os.Chmod(fresh, 0o600), os.Rename(fresh, path)); err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
}

// inherited are the descriptors that the daemon passed on.
func inherited() ([]*os.File, error) {
	text := os.Getenv(FilesEnv)
	switch text {
	case "":
		return nil, nil
	case fromPredecessor:
		return nil, errors.New("the keeper to take over from is gone")
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 64 {
		return nil, fmt.Errorf("%s=%q is no number of descriptors", FilesEnv, text)
	}
	var out []*os.File
	for fd := 3; fd < 3+n; fd++ {
		unix.CloseOnExec(fd)
		out = append(out, os.NewFile(uintptr(fd), "inherited"))
	}
	return out, nil
}

// work runs Work again and again, each time with descriptors of its own.
func (s *Server) work(ctx context.Context) {
	for {
		err := s.workOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		s.Log.Error("the keeper's work ended, running it again", "err", err)
		s.mu.Lock()
		s.woe = fmt.Sprint(err)
		s.mu.Unlock()
		timer := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (s *Server) workOnce(ctx context.Context) error {
	var own []*os.File
	for _, f := range s.files {
		fd, err := dup(f)
		if err != nil {
			return err
		}
		own = append(own, fd)
	}
	return s.Work(ctx, own)
}

func dup(f *os.File) (*os.File, error) {
	fd, err := dupFD(f)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// dupFD does not ask File.Fd, which would make the socket block for all who share it.
func dupFD(f *os.File) (int, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var fd int
	var failed error
	err = conn.Control(func(raw uintptr) { fd, failed = unix.FcntlInt(raw, unix.F_DUPFD_CLOEXEC, 3) })
	return fd, errors.Join(err, failed)
}

// serve answers one connection, which only root, or who runs this, may open.
func (s *Server) serve(ctx context.Context, raw *net.UnixConn) {
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	c := newConn(raw)
	defer c.Close()
	if uid, err := c.peer(); err != nil || uid != 0 && uid != os.Geteuid() {
		s.Log.Warn("a stranger called", "uid", uid, "err", err)
		return
	}
	for {
		r, err := c.read()
		if err != nil {
			if !errors.Is(err, io.EOF) && ctx.Err() == nil {
				s.Log.Warn("a call broke off", "err", err)
			}
			return
		}
		answer, files := s.answer(r)
		if err := c.reply(answer, files); err != nil {
			s.Log.Warn("a call broke off", "err", err)
			return
		}
		if r.Verb == finish {
			s.end()
			return
		}
	}
}

func (s *Server) answer(r request) (answer, []*os.File) {
	a := answer{Version: s.Version, PID: os.Getpid()}
	var err error
	switch r.Verb {
	case hello:
		s.forgetGone()
	case hold:
		err = s.hold(r.Paths)
	case release:
		s.release(r.Paths)
	case handOver, finish:
	default:
		err = fmt.Errorf("unknown verb %q", r.Verb)
	}
	if err != nil {
		a.Error = err.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a.Work = s.woe
	if r.Verb == hello || r.Verb == handOver {
		a.Held = slices.Sorted(maps.Keys(s.held))
	}
	if r.Verb == handOver {
		return a, s.files
	}
	return a, nil
}

// hold opens FIFOs. One that is held already, or is gone, is no error.
func (s *Server) hold(paths []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, path := range paths {
		if s.held[path] != nil {
			continue
		}
		h, err := fifo.Hold(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			errs = append(errs, err)
		default:
			s.held[path] = h
		}
	}
	return errors.Join(errs...)
}

func (s *Server) release(paths []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, path := range paths {
		if h := s.held[path]; h != nil {
			h.Close()
			delete(s.held, path)
		}
	}
}

// forgetGone lets go of FIFOs that a daemon removed before it could say so.
func (s *Server) forgetGone() {
	s.mu.Lock()
	var gone []string
	for path := range s.held {
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			gone = append(gone, path)
		}
	}
	s.mu.Unlock()
	s.release(gone)
}

// drop gives all descriptors back.
func (s *Server) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.held {
		h.Close()
	}
	for _, f := range s.files {
		f.Close()
	}
}
