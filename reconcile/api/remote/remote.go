// Package remote carries streams between a client of the API and a pod: those of a command (exec, attach) and those of
// connections to its ports (port-forward). Clients speak WebSocket or SPDY; whoever runs the pod sees readers and writers.
package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"k8s.io/streaming/pkg/httpstream/wsstream"
)

const (
	idleFor     = 4 * time.Hour    // a connection on which nothing moves is closed, as Kubernetes does
	openWithin  = 30 * time.Second // for a client to open all streams that it asked for
	lingerFor   = time.Second      // for a client to take what was written before the connection is closed
	statusWrite = 10 * time.Second // for the last message
)

// Wanted is which streams a client asks for.
type Wanted struct{ Stdin, Stdout, Stderr, TTY bool }

// Check tells what is wrong with w.
func (w Wanted) Check() error {
	if !w.Stdin && !w.Stdout && !w.Stderr {
		return fmt.Errorf("you must specify at least 1 of stdin, stdout, stderr")
	}
	return nil
}

// Size of a terminal, in characters.
type Size struct{ Width, Height uint16 }

// Streams are those of a client. What it did not ask for is nil. Writes fail and reads end once the client has gone.
type Streams struct {
	Stdin          io.Reader // ends where the client ends it
	Stdout, Stderr io.Writer
	TTY            bool
	Resize         <-chan Size // sizes of the client's terminal; closed at the latest when it has gone
}

// An ExitError is the exit code, not 0, of a command that was run.
type ExitError struct{ Code int }

// Error implements error, in the words that kubectl knows.
func (e *ExitError) Error() string {
	return fmt.Sprintf("command terminated with exit code %d", e.Code)
}

// A Run runs a command, or joins one that runs, until its end or that of ctx, which ends when the client has gone.
type Run func(ctx context.Context, s Streams) error

// A Dial opens a connection to a port of a pod.
type Dial func(ctx context.Context, port uint16) (net.Conn, error)

// ServeExec answers a request to run a command: it opens the client's streams, runs run, and tells the client how that
// ended. It ends early when closing is closed.
func ServeExec(w http.ResponseWriter, r *http.Request, closing <-chan struct{}, want Wanted, run Run) {
	serve(w, r, closing, command{"executing command in container", want, run}, serveSPDYExec)
}

// ServeAttach is ServeExec for joining a command that runs.
func ServeAttach(w http.ResponseWriter, r *http.Request, closing <-chan struct{}, want Wanted, run Run) {
	serve(w, r, closing, command{"attaching to container", want, run}, serveSPDYAttach)
}

// A command is what a client is to be connected with.
type command struct {
	doing string // for errors
	want  Wanted
	run   Run
}

func serve(w http.ResponseWriter, r *http.Request, closing <-chan struct{}, c command, spdy func(*hijacked, *http.Request, command)) {
	c.want.Stderr = c.want.Stderr && !c.want.TTY // a terminal has only one output
	h, r := hijack(w, r, closing)
	defer h.end()
	run := c.run
	c.run = func(ctx context.Context, s Streams) error {
		err := run(ctx, s)
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			err = cause // it is why the command ended
		}
		return err
	}
	if wsstream.IsWebSocketRequest(r) {
		serveChannels(h, r, c)
		return
	}
	spdy(h, r, c)
}

// Closing has h answer, and ends what it is about when closing is closed, also if h took the connection over.
func Closing(h http.Handler, closing <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		taken, r := hijack(w, r, closing)
		defer taken.end()
		h.ServeHTTP(taken, r)
	})
}
