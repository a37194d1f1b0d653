package remote

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A hijacked is a request whose connection is about to be taken over. From then on net/http does not tell any more that the
// client has gone; so the connection itself does.
type hijacked struct {
	http.ResponseWriter
	cancel context.CancelFunc
	conn   *conn // nil: not taken over
	stop   func() bool
	ctx    context.Context
}

var errClosing = errors.New("the server is closing")

// hijack returns w and r, with a context that ends when the client goes or closing is closed.
func hijack(w http.ResponseWriter, r *http.Request, closing <-chan struct{}) (*hijacked, *http.Request) {
	ctx, because := context.WithCancelCause(r.Context())
	cancel := func() { because(nil) }
	h := &hijacked{ResponseWriter: w, cancel: cancel, ctx: ctx}
	go func() { // ends with the request
		select {
		case <-closing:
			because(errClosing)
		case <-ctx.Done():
		}
	}()
	return h, r.WithContext(ctx)
}

// Unwrap is for http.ResponseController.
func (h *hijacked) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// Hijack implements http.Hijacker.
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	raw, buf, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	_ = raw.SetDeadline(time.Time{})
	early := make([]byte, buf.Reader.Buffered())
	if _, err := buf.Read(early); err != nil && len(early) > 0 {
		raw.Close()
		return nil, nil, err
	}
	h.conn = &conn{Conn: raw, early: early, cancel: h.cancel}
	// Whoever is in the middle of a write gets a moment, for the last word.
	h.stop = context.AfterFunc(h.ctx, func() { time.AfterFunc(lingerFor, func() { raw.Close() }) })
	go h.conn.watch(h.ctx)
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// end gives back what the request took. What was written is let through to the client first, as far as it takes it soon.
func (h *hijacked) end() {
	if h.conn != nil {
		h.conn.linger()
		h.stop()
		h.conn.Conn.Close()
	}
	h.cancel()
}

// A conn ends the request's context when its other side has gone. Close only ends what is written, so that what is still
// coming does not make the kernel drop what the client has not read.
type conn struct {
	net.Conn
	early  []byte // was read together with the request
	cancel context.CancelFunc
	half   sync.Once
}

func (c *conn) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	n, err := c.Conn.Read(p)
	if err != nil {
		c.cancel()
	}
	return n, err
}

// Close ends what is written.
func (c *conn) Close() error {
	var err error
	c.half.Do(func() {
		if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
			err = w.CloseWrite()
		}
	})
	return err
}

// linger waits a moment for the client to go, and takes what it still sends.
func (c *conn) linger() {
	_ = c.Close()
	late := time.AfterFunc(lingerFor, func() { c.Conn.Close() })
	defer late.Stop()
	_, _ = io.Copy(io.Discard, c.Conn)
}

const lookEach = 2 * time.Second

// watch notices that the client has gone also while nobody reads: a command that takes no input holds up all that comes.
func (c *conn) watch(ctx context.Context) {
	tick := time.NewTicker(lookEach)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if hungUp(c.Conn) {
				c.cancel()
				return
			}
		}
	}
}

// hungUp tells whether the other side of a connection has closed it.
func hungUp(c net.Conn) bool {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = t.NetConn()
	}
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return true
	}
	up := false
	err = raw.Control(func(fd uintptr) {
		ask := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(ask, 0)
		up = err == nil && n > 0 && ask[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return up || err != nil
}
