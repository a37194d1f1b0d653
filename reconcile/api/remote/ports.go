package remote

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
	clientforward "k8s.io/client-go/tools/portforward"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// Ports are those of a pod. Name and uid are for errors; Wanted is empty where the client names ports as it goes.
type Ports struct {
	Pod, UID string
	Wanted   []int32
	Dial     Dial
}

// ServePorts answers a request to forward connections to ports of a pod. It goes on until the client goes, or closing is
// closed.
func ServePorts(w http.ResponseWriter, r *http.Request, closing <-chan struct{}, p Ports) {
	h, r := hijack(w, r, closing)
	defer h.end()
	f := &forwarder{ctx: r.Context(), dial: p.Dial}
	defer f.open.Wait()
	defer h.cancel()
	var to http.ResponseWriter = h
	if wsstream.IsWebSocketRequestWithTunnelingProtocol(r) {
		t := &tunnel{ResponseWriter: h, r: r}
		to, r = t, t.request()
	}
	portforward.ServePortForward(to, r, f, p.Pod, p.UID, &portforward.V4Options{Ports: p.Wanted}, idleFor, openWithin, portforward.SupportedProtocols)
}

// A forwarder connects the streams of one client.
type forwarder struct {
	ctx  context.Context
	dial Dial
	open sync.WaitGroup
}

// PortForward implements portforward.PortForwarder: it carries one connection until both sides have ended it.
func (f *forwarder) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	f.open.Add(1)
	defer f.open.Done()
	c, err := f.dial(f.ctx, uint16(port))
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(f.ctx, func() { c.Close() })
	defer stop()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, err := io.Copy(c, stream)
		if half, ok := c.(interface{ CloseWrite() error }); ok && err == nil {
			_ = half.CloseWrite() // fails where the pod has gone already
			return
		}
		c.Close()
	}()
	_, _ = io.Copy(stream, c) // a connection that breaks is no failure of the forwarding: the client sees its end
	_ = stream.Close()        // only what is written to it
	<-sent
	return nil
}

// A tunnel is SPDY inside a WebSocket: what upstream's server takes for the connection of a SPDY request.
type tunnel struct {
	http.ResponseWriter
	r *http.Request
}

const tunnelPrefix = "SPDY/3.1+"

// request is the SPDY request that is tunneled.
func (t *tunnel) request() *http.Request {
	r := t.r.Clone(t.r.Context())
	r.Header.Set(httpstream.HeaderUpgrade, spdy.HeaderSpdy31)
	r.Header.Del(httpstream.HeaderProtocolVersion)
	for _, p := range websocket.Subprotocols(t.r) {
		if inner, ok := strings.CutPrefix(p, tunnelPrefix); ok {
			r.Header.Add(httpstream.HeaderProtocolVersion, inner)
		}
	}
	return r
}

// WriteHeader implements http.ResponseWriter. The upgrade to SPDY is told by that to a WebSocket, in Hijack.
func (t *tunnel) WriteHeader(code int) {
	if code != http.StatusSwitchingProtocols {
		t.ResponseWriter.WriteHeader(code)
	}
}

// Hijack implements http.Hijacker: it accepts the WebSocket.
func (t *tunnel) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	protocol := t.Header().Get(httpstream.HeaderProtocolVersion) // that upstream's server has chosen
	for _, name := range []string{httpstream.HeaderConnection, httpstream.HeaderUpgrade, httpstream.HeaderProtocolVersion} {
		t.Header().Del(name)
	}
	upgrader := websocket.Upgrader{
		CheckOrigin:  func(*http.Request) bool { return true }, // a client certificate or a token is no cookie
		Subprotocols: []string{tunnelPrefix + protocol},
	}
	ws, err := upgrader.Upgrade(t.ResponseWriter, t.r, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("accept a WebSocket: %w", err)
	}
	c := clientforward.NewTunnelingConnectionWithLogger(klog.FromContext(t.r.Context()), ws)
	return c, bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c)), nil
}
