package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
)

func TestLocalhostIsTriedInBothFamilies(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		port := uint16(l.Addr().(*net.TCPAddr).Port)
		c, err := Dial(t.Context(), "", port)
		if err != nil {
			t.Error(err)
		} else {
			c.Close()
		}
		c, err = Dial(t.Context(), "/proc/self/ns/none", port)
		if err == nil {
			c.Close()
			t.Error("a namespace that is not there was entered")
		}
		l.Close()
		if _, err := Dial(t.Context(), "", port); err == nil {
			t.Error("nobody listens, and it connected")
		}
	}
}

func TestALogIsAwaited(t *testing.T) {
	path := t.TempDir() + "/0.log"
	l := New(0, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if l.Await(ctx, path) == nil {
		t.Error("there is none")
	}
	awaited := make(chan error)
	go func() { awaited <- l.Await(t.Context(), path) }()
	for begun := false; !begun; wait(t) {
		l.mu.Lock()
		begun = len(l.awaited[path]) == 1
		l.mu.Unlock()
	}
	out, in := io.Pipe()
	done := make(chan error)
	go func() { done <- l.Copy(path, out, nil) }()
	if err := errors.Join(<-awaited, l.Await(t.Context(), path)); err != nil {
		t.Error(err)
	}
	in.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(l.awaited) > 0 {
		t.Error("somebody is remembered for ever")
	}
}
