package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const dialPatience = 10 * time.Second

// Dial connects with a port of localhost as it is in a network namespace: 127.0.0.1, or else ::1. An empty path is the
// namespace of this process.
func Dial(ctx context.Context, netns string, port uint16) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	if netns == "" {
		return dialLocal(ctx, port)
	}
	ns, err := os.Open(netns)
	if err != nil {
		return nil, fmt.Errorf("enter the network of the pod: %w", err)
	}
	defer ns.Close()
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// The thread ends with this goroutine, which stays locked to it: no other ever runs in that namespace. The dialer
		// makes a socket for an address in the goroutine that calls it.
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{err: fmt.Errorf("enter the network of the pod: %w", err)}
			return
		}
		c, err := dialLocal(ctx, port)
		done <- result{c, err}
	}()
	r := <-done
	return r.conn, r.err
}

func dialLocal(ctx context.Context, port uint16) (net.Conn, error) {
	var d net.Dialer
	c, err4 := d.DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err4 == nil {
		return c, nil
	}
	c, err6 := d.DialContext(ctx, "tcp6", net.JoinHostPort("::1", strconv.Itoa(int(port))))
	if err6 == nil {
		return c, nil
	}
	return nil, errors.Join(err4, err6)
}
