package keeper

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// What is said over the socket: a line of JSON, and a line in return, in turn. The answer to handOver carries descriptors.
type request struct {
	Verb  string
	Paths []string `json:",omitempty"`
}

type answer struct {
	Version string
	PID     int
	Held    []string `json:",omitempty"`
	Files   int      `json:",omitempty"`
	Work    string   `json:",omitempty"`
	Error   string   `json:",omitempty"`
}

// Verbs.
const (
	hello    = "hello"    // who are you, and what do you hold?
	hold     = "hold"     // Paths
	release  = "release"  // Paths
	handOver = "handover" // what do you hold? and give me your sockets
	finish   = "finish"   // end
)

// patience is how long a call may take. The other side does nothing that waits.
const patience = 10 * time.Second

// A conn is one end of a connection.
type conn struct {
	*net.UnixConn
	in    *bufio.Reader
	files []*os.File // that came with what was read last
}

func newConn(raw *net.UnixConn) *conn {
	c := &conn{UnixConn: raw}
	c.in = bufio.NewReader(readerFunc(c.receive))
	return c
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func dial(ctx context.Context, socket string) (*conn, error) {
	raw, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	return newConn(raw.(*net.UnixConn)), nil
}

// receive also takes descriptors.
func (c *conn) receive(p []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(64*4))
	n, oobn, flags, _, err := c.ReadMsgUnix(p, oob)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil || oobn == 0 {
		return max(n, 0), err
	}
	if flags&unix.MSG_CTRUNC != 0 {
		return n, errors.New("not all descriptors came")
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return n, err
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return n, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			c.files = append(c.files, os.NewFile(uintptr(fd), "handed over"))
		}
	}
	return n, nil
}

func (c *conn) read() (request, error) {
	line, err := c.in.ReadBytes('\n')
	if err != nil {
		return request{}, err
	}
	var r request
	return r, json.Unmarshal(line, &r)
}

// reply writes an answer, with files.
func (c *conn) reply(a answer, files []*os.File) error {
	a.Files = len(files)
	line, err := json.Marshal(a)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if len(files) == 0 {
		_, err = c.Write(line)
		return err
	}
	var fds []int
	for _, f := range files {
		fd, err := dupFD(f)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		fds = append(fds, fd)
	}
	n, _, err := c.WriteMsgUnix(line, unix.UnixRights(fds...), nil)
	if err == nil {
		_, err = io.Copy(c.UnixConn, bytes.NewReader(line[n:]))
	}
	return err
}

// ask makes a call. What the other side says is wrong is the error.
func (c *conn) ask(ctx context.Context, r request) (answer, []*os.File, error) {
	deadline := time.Now().Add(patience)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	line, err := json.Marshal(r)
	if err != nil {
		return answer{}, nil, err
	}
	if err := c.SetDeadline(deadline); err != nil {
		return answer{}, nil, err
	}
	if _, err := c.Write(append(line, '\n')); err != nil {
		return answer{}, nil, &brokenError{err}
	}
	c.files = nil
	back, err := c.in.ReadBytes('\n')
	if err != nil {
		return answer{}, nil, &brokenError{err}
	}
	var a answer
	if err := json.Unmarshal(back, &a); err != nil {
		return a, nil, &brokenError{err}
	}
	switch {
	case a.Error != "":
		return a, nil, fmt.Errorf("keeper: %s", a.Error)
	case a.Files != len(c.files):
		return a, nil, &brokenError{fmt.Errorf("%d descriptors came, not %d", len(c.files), a.Files)}
	}
	return a, c.files, nil
}

// A brokenError is the end of a connection.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return "connection to the keeper broke: " + e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// peer is the user at the other end.
func (c *conn) peer() (uid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, failed); err != nil {
		return 0, err
	}
	return int(cred.Uid), nil
}
