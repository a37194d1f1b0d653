package remote

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// serveSPDYExec serves a command over SPDY, which has a stream for each of its own.
func serveSPDYExec(h *hijacked, r *http.Request, c command) {
	options := remotecommand.Options(c.want)
	remotecommand.ServeExec(h, r, runner(c.run), "", "", "", nil, &options, idleFor, openWithin, remotecommand.SupportedStreamingProtocols)
}

func serveSPDYAttach(h *hijacked, r *http.Request, c command) {
	options := remotecommand.Options(c.want)
	remotecommand.ServeAttach(h, r, runner(c.run), "", "", "", &options, idleFor, openWithin, remotecommand.SupportedStreamingProtocols)
}

// A runner is a Run as upstream's server wants it.
type runner Run

// ExecInContainer implements remotecommand.Executor.
func (run runner) ExecInContainer(ctx context.Context, name, uid, container string, _ []string, in io.Reader, out, errOut io.WriteCloser, tty bool,
	resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	return run.AttachContainer(ctx, name, uid, container, in, out, errOut, tty, resize)
}

// AttachContainer implements remotecommand.Attacher.
func (run runner) AttachContainer(ctx context.Context, _, _, _ string, in io.Reader, out, errOut io.WriteCloser, tty bool,
	resize <-chan remotecommand.TerminalSize) error {
	s := Streams{Stdin: in, TTY: tty}
	if out != nil {
		s.Stdout = out
		defer out.Close()
	}
	if errOut != nil {
		s.Stderr = errOut
		defer errOut.Close()
	}
	if resize != nil {
		s.Resize = converted(ctx, resize)
	}
	err := run(ctx, s)
	if exit, ok := errors.AsType[*ExitError](err); ok {
		return utilexec.CodeExitError{Err: exit, Code: exit.Code}
	}
	return err
}

func converted(ctx context.Context, in <-chan remotecommand.TerminalSize) <-chan Size {
	out := make(chan Size)
	go func() {
		defer close(out)
		for s := range in { // ends with ctx
			select {
			case out <- Size(s):
			case <-ctx.Done():
			}
		}
	}()
	return out
}
