package api

import (
	"net"
	"net/http"
	"sync"
)

// conns are a server's connections. When it drains, each is closed as soon as no request is under way on it. http.Server's
// Shutdown does so too, but with HTTP/2 only a second after it said goodbye.
type conns struct {
	mu       sync.Mutex
	open     map[net.Conn]http.ConnState
	draining bool
}

// changed is for http.Server.ConnState.
func (c *conns) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
		return
	case http.StateNew, http.StateIdle:
		if c.draining {
			_ = conn.Close()
		}
	}
	if c.open == nil {
		c.open = map[net.Conn]http.ConnState{}
	}
	c.open[conn] = state
}

// drain closes what is idle now, and from now on what becomes idle.
func (c *conns) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	for conn, state := range c.open {
		if state != http.StateActive {
			_ = conn.Close()
		}
	}
}
