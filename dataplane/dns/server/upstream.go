package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

const (
	tryTimeout = 2 * time.Second // for one server to answer
	askTimeout = 5 * time.Second // for all of them
	maxAsking  = 512             // questions under way, so that a flood, or a loop, has an end
)

var errNobody = errors.New("no name server is known for the rest of the world")

// upstream asks the servers that a resolv.conf names. The same question is asked once, however many ask it: so a loop
// through another server back to this one ends with a timeout, and does not grow.
type upstream struct {
	resolv string
	self   map[netip.Addr]bool // where this server listens
	asking chan struct{}
	flight singleflight.Group

	mu      sync.Mutex
	stamp   stamp
	servers []string
}

func newUpstream(resolv string, self []netip.Addr) *upstream {
	u := &upstream{resolv: resolv, self: map[netip.Addr]bool{}, asking: make(chan struct{}, maxAsking)}
	for _, a := range self {
		u.self[a] = true
	}
	return u
}

// ask returns the answer to a question: a message of its own for each caller.
func (u *upstream) ask(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	v, err, _ := u.flight.Do(flightKey(q), func() (any, error) { return u.askOnce(ctx, q) })
	if err != nil {
		return nil, err
	}
	return v.(*dns.Msg).Copy(), nil
}

// flightKey is the same for questions that have the same answer.
func flightKey(q *dns.Msg) string {
	o := q.IsEdns0()
	return fmt.Sprint(strings.ToLower(q.Question[0].Name), " ", q.Question[0].Qtype, q.RecursionDesired, q.CheckingDisabled, o != nil && o.Do())
}

func (u *upstream) askOnce(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	select {
	case u.asking <- struct{}{}:
		defer func() { <-u.asking }()
	default:
		return nil, errors.New("too many questions are under way")
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	err := errNobody
	for _, server := range u.known() {
		var m *dns.Msg
		if m, err = exchange(ctx, q, server); err == nil && m.Rcode != dns.RcodeServerFailure {
			return m, nil
		} else if err == nil {
			err = fmt.Errorf("%s could not answer", server)
		}
	}
	return nil, err
}

// exchange asks one server, over TCP if the answer does not fit into a datagram.
func exchange(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
	for _, network := range []string{"udp", "tcp"} {
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		out := q.Copy()
		out.Id = dns.Id()
		c := dns.Client{Net: network, Timeout: tryTimeout}
		m, _, err := c.ExchangeContext(try, out, server)
		cancel()
		switch {
		case err != nil:
			return nil, err
		case len(m.Question) != 1 || !strings.EqualFold(m.Question[0].Name, q.Question[0].Name) || m.Question[0].Qtype != q.Question[0].Qtype:
			return nil, fmt.Errorf("%s answered another question", server)
		case !m.Truncated:
			return m, nil
		}
	}
	return nil, fmt.Errorf("%s cuts its answer off", server)
}

// known are the servers of the resolv.conf, read again when it changed, without this one.
func (u *upstream) known() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := stampOf(u.resolv)
	if now == u.stamp {
		return u.servers
	}
	if c, err := dns.ClientConfigFromFile(u.resolv); err == nil { // otherwise the last good one stays
		u.servers = nil
		for _, s := range c.Servers {
			if addr, err := netip.ParseAddr(s); err == nil && !u.self[addr.WithZone("").Unmap()] {
				u.servers = append(u.servers, net.JoinHostPort(s, c.Port))
			}
		}
		u.stamp = now
	}
	return u.servers
}

// A stamp tells two versions of a file apart. The zero stamp is a file that is not there.
type stamp struct {
	modified syscall.Timespec
	size     int64
	inode    uint64
}

func stampOf(path string) stamp {
	var s syscall.Stat_t
	if err := syscall.Stat(path, &s); err != nil {
		return stamp{}
	}
	return stamp{s.Mtim, s.Size, s.Ino}
}
