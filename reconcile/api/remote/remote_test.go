package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

const patience = 30 * time.Second

// executors are the ways in which clients ask for a command.
func executors(t *testing.T, server *httptest.Server) map[string]remotecommand.Executor {
	t.Helper()
	config := &rest.Config{Host: server.URL}
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	ws, err := remotecommand.NewWebSocketExecutor(config, "GET", server.URL)
	if err != nil {
		t.Fatal(err)
	}
	v4, err := remotecommand.NewWebSocketExecutorForProtocols(config, "GET", server.URL, "v4.channel.k8s.io")
	if err != nil {
		t.Fatal(err)
	}
	sp, err := remotecommand.NewSPDYExecutor(config, "POST", u)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]remotecommand.Executor{"WebSocket v5": ws, "WebSocket v4": v4, "SPDY": sp}
}

// each runs f with a server of run, for each way to ask for a command.
func each(t *testing.T, want Wanted, run Run, f func(t *testing.T, way string, x remotecommand.Executor)) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { ServeExec(w, r, nil, want, run) }))
	t.Cleanup(server.Close)
	for way, x := range executors(t, server) {
		t.Run(way, func(t *testing.T) { f(t, way, x) })
	}
}

func TestWhatACommandReadsAndWritesGoesThroughAsItIs(t *testing.T) {
	data := make([]byte, 3<<20)
	rand.Read(data)
	each(t, Wanted{Stdin: true, Stdout: true, Stderr: true}, func(_ context.Context, s Streams) error {
		if _, err := io.CopyN(s.Stdout, s.Stdin, int64(len(data))); err != nil {
			return err
		}
		_, err := io.WriteString(s.Stderr, "done\n")
		return err
	}, func(t *testing.T, _ string, x remotecommand.Executor) {
		var out, errOut bytes.Buffer
		if err := x.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: bytes.NewReader(data), Stdout: &out, Stderr: &errOut}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), data) || errOut.String() != "done\n" {
			t.Errorf("%d bytes of %d came back, and %q", out.Len(), len(data), &errOut)
		}
	})
}

func TestTheEndOfTheInputIsSeenWhileTheClientStays(t *testing.T) {
	each(t, Wanted{Stdin: true, Stdout: true}, func(_ context.Context, s Streams) error {
		n, err := io.Copy(io.Discard, s.Stdin)
		fmt.Fprintf(s.Stdout, "%d bytes", n)
		return err
	}, func(t *testing.T, way string, x remotecommand.Executor) {
		if way == "WebSocket v4" {
			return // has no word for it
		}
		var out bytes.Buffer
		if err := x.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader("hello"), Stdout: &out}); err != nil {
			t.Fatal(err)
		}
		if out.String() != "5 bytes" {
			t.Errorf("the command says %q", &out)
		}
	})
}

func TestHowACommandEndedIsTold(t *testing.T) {
	for _, row := range []struct {
		name string
		err  error
		want string
		code int
	}{
		{"well", nil, "<nil>", 0},
		{"with an exit code", &ExitError{Code: 7}, "command terminated with exit code 7", 7},
		{"not begun", errors.New("exec nope: no such file or directory"), "Internal error occurred: error executing command in container: exec nope: no such file or directory", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			each(t, Wanted{Stdout: true}, func(context.Context, Streams) error { return row.err }, func(t *testing.T, _ string, x remotecommand.Executor) {
				err := x.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: io.Discard})
				if fmt.Sprint(err) != row.want {
					t.Errorf("the client is told %v, want %s", err, row.want)
				}
				if e, ok := errors.AsType[exec.CodeExitError](err); ok != (row.code != 0) || e.Code != row.code {
					t.Errorf("the exit code is %d", e.Code)
				}
			})
		})
	}
}

// one is a queue with one size.
type one chan remotecommand.TerminalSize

func (o one) Next() *remotecommand.TerminalSize {
	size, ok := <-o
	if !ok {
		return nil
	}
	return &size
}

func TestATerminalHasASizeAndOneOutput(t *testing.T) {
	each(t, Wanted{Stdin: true, Stdout: true, Stderr: true, TTY: true}, func(_ context.Context, s Streams) error {
		size := <-s.Resize
		_, err := fmt.Fprintf(s.Stdout, "%dx%d %v", size.Width, size.Height, s.Stderr == nil)
		return err
	}, func(t *testing.T, _ string, x remotecommand.Executor) {
		var out bytes.Buffer
		sizes := make(one, 1)
		sizes <- remotecommand.TerminalSize{Width: 132, Height: 43}
		in, end := io.Pipe()
		defer end.Close()
		defer close(sizes)
		if err := x.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: in, Stdout: &out, Tty: true, TerminalSizeQueue: sizes}); err != nil {
			t.Fatal(err)
		}
		if out.String() != "132x43 true" {
			t.Errorf("the command says %q", &out)
		}
	})
}

func TestACommandIsToldThatItsClientHasGone(t *testing.T) {
	began, told := make(chan struct{}), make(chan error)
	each(t, Wanted{Stdin: true, Stdout: true}, func(ctx context.Context, _ Streams) error { // reads nothing
		began <- struct{}{}
		select {
		case <-ctx.Done():
			told <- nil
		case <-time.After(patience):
			told <- errors.New("it was never told")
		}
		return ctx.Err()
	}, func(t *testing.T, _ string, x remotecommand.Executor) {
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			endless := io.MultiReader(bytes.NewReader(make([]byte, 64<<10)), blocked{ctx})
			if x.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: endless, Stdout: io.Discard}) == nil {
				t.Error("the client is content")
			}
		})
		<-began
		leave()
		if err := <-told; err != nil {
			t.Error(err)
		}
	})
}

// blocked is a reader that never has anything.
type blocked struct{ ctx context.Context }

func (b blocked) Read([]byte) (int, error) {
	<-b.ctx.Done()
	return 0, io.EOF
}

func TestACommandEndsWithTheServer(t *testing.T) {
	closing := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ServeAttach(w, r, closing, Wanted{Stdout: true}, func(ctx context.Context, s Streams) error {
			fmt.Fprint(s.Stdout, "up")
			<-ctx.Done()
			return ctx.Err()
		})
	}))
	defer server.Close()
	x := executors(t, server)["SPDY"]
	var once sync.Once
	err := x.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: writerFunc(func() { once.Do(func() { close(closing) }) })})
	if err == nil {
		t.Error("the client thinks that the command has ended well")
	}
}

type writerFunc func()

func (f writerFunc) Write(p []byte) (int, error) { f(); return len(p), nil }

// echo answers what it reads, and says "bye" when it has read all.
func echo(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
				_, _ = io.WriteString(c, "bye")
			})
		}
	})
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func TestPortsAreForwarded(t *testing.T) {
	port := echo(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ServePorts(w, r, nil, Ports{Pod: "web", UID: "u", Dial: func(ctx context.Context, to uint16) (net.Conn, error) {
			if to != 80 {
				return nil, errors.New("nobody listens")
			}
			return new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		}})
	}))
	defer server.Close()
	config := &rest.Config{Host: server.URL}
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	tunnel, err := portforward.NewSPDYOverWebsocketDialer(u, config)
	if err != nil {
		t.Fatal(err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		t.Fatal(err)
	}
	dialers := map[string]func(stop, ready chan struct{}) (*portforward.PortForwarder, error){
		"WebSocket": func(stop, ready chan struct{}) (*portforward.PortForwarder, error) {
			return portforward.New(tunnel, []string{"0:80", "0:81"}, stop, ready, io.Discard, io.Discard)
		},
		"SPDY": func(stop, ready chan struct{}) (*portforward.PortForwarder, error) {
			d := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", u)
			return portforward.New(d, []string{"0:80", "0:81"}, stop, ready, io.Discard, io.Discard)
		},
	}
	for way, forward := range dialers {
		t.Run(way, func(t *testing.T) {
			stop, ready, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			f, err := forward(stop, ready)
			if err != nil {
				t.Fatal(err)
			}
			go func() { ended <- f.ForwardPorts() }()
			<-ready
			ports, err := f.GetPorts()
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() { exchange(t, ports[0].Local) })
			}
			wg.Wait()
			if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[1].Local)); err != nil {
				t.Error(err)
			} else if text, _ := io.ReadAll(c); len(text) > 0 {
				t.Errorf("a port where nobody listens says %q", text)
			}
			close(stop)
			<-ended // lost, or stopped: both are its end
		})
	}
}

// exchange sends a text to an echo, ends its side, and reads the answer.
func exchange(t *testing.T, port uint16) {
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	text := strings.Repeat("all that is sent comes back. ", 4000)
	go func() {
		_, _ = io.WriteString(c, text)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != text+"bye" {
		t.Errorf("%d bytes came back of %d, %v", len(got), len(text)+3, err)
	}
}
