package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// maxDatagram is how long an answer over UDP may be: what passes every network in one piece.
const maxDatagram = 1232

// Config of a server.
type Config struct {
	File   string // what the daemon writes. Questions about the cluster fail until it is there; then its last good version counts
	Resolv string // the resolv.conf that names who is asked about the rest of the world; empty: nobody
	UDP    []net.PacketConn
	TCP    []net.Listener
	Log    *slog.Logger // nil: none
}

// Listen opens a socket of each kind at addr, such as 10.244.0.1:53.
func Listen(addr string) (net.PacketConn, net.Listener, error) {
	udp, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, nil, err
	}
	tcp, err := net.Listen("tcp", udp.LocalAddr().String())
	if err != nil {
		udp.Close()
		return nil, nil, err
	}
	return udp, tcp, nil
}

// Run answers questions until ctx ends, and returns ctx's error; or until a socket fails, and returns why. It closes the
// sockets.
func Run(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	h := &handler{cfg: cfg, ctx: ctx, upstream: newUpstream(cfg.Resolv, own(cfg))}
	var servers []*dns.Server
	for _, c := range cfg.UDP {
		servers = append(servers, &dns.Server{PacketConn: c, Handler: h, UDPSize: maxDatagram})
	}
	for _, l := range cfg.TCP {
		servers = append(servers, &dns.Server{Listener: l, Handler: h, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second})
	}
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(func() {
			if err := s.ActivateAndServe(); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("serve DNS: %w", err))
			}
		})
	}
	<-ctx.Done()
	now, cancelNow := context.WithCancel(context.Background())
	cancelNow()
	for _, s := range servers {
		s.ShutdownContext(now) // lets go of connections that nobody uses, which Close alone would wait for
	}
	for _, c := range cfg.UDP {
		c.Close()
	}
	for _, l := range cfg.TCP {
		l.Close()
	}
	wg.Wait()
	return context.Cause(ctx)
}

// own are the addresses that the server listens at.
func own(cfg Config) (addrs []netip.Addr) {
	for _, c := range cfg.UDP {
		if a, err := netip.ParseAddrPort(c.LocalAddr().String()); err == nil {
			addrs = append(addrs, a.Addr().Unmap())
		}
	}
	return addrs
}

type handler struct {
	cfg      Config
	ctx      context.Context // ends with the server
	upstream *upstream

	mu    sync.Mutex
	stamp stamp
	zone  *zone
}

// current is the zone of the file, read again when it changed; nil if there never was a good one.
func (h *handler) current() *zone {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := stampOf(h.cfg.File)
	if now == h.stamp {
		return h.zone
	}
	h.stamp = now
	z, err := readZone(h.cfg.File)
	if err == nil {
		h.zone = z
	} else if h.cfg.Log != nil {
		h.cfg.Log.Warn("the file of DNS records cannot be read; what was read before still counts", "file", h.cfg.File, "err", err)
	}
	return h.zone
}

// ServeDNS implements dns.Handler.
func (h *handler) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := h.respond(q)
	fit(m, q, w.RemoteAddr().Network() == "udp")
	if err := w.WriteMsg(m); err != nil && !errors.Is(err, net.ErrClosed) && h.cfg.Log != nil {
		h.cfg.Log.Debug("an answer could not be sent", "to", w.RemoteAddr(), "err", err)
	}
}

// respond is the answer to a question, of any length.
func (h *handler) respond(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	if len(q.Question) != 1 {
		return m.SetRcode(q, dns.RcodeFormatError)
	}
	m.SetReply(q)
	m.RecursionAvailable = true
	switch {
	case q.Opcode != dns.OpcodeQuery:
		m.Rcode = dns.RcodeNotImplemented
		return m
	case q.Question[0].Qclass != dns.ClassINET:
		m.Rcode = dns.RcodeRefused
		return m
	case q.IsEdns0() != nil && q.IsEdns0().Version() != 0:
		m.Rcode = dns.RcodeBadVers
		return m
	}
	z := h.current()
	switch {
	case z == nil:
		m.Rcode = dns.RcodeServerFailure
	case z.ours(strings.ToLower(q.Question[0].Name)):
		if elsewhere := z.answer(m); elsewhere != "" {
			h.follow(m, q, elsewhere)
		}
		shuffle(m.Answer)
	default:
		return h.forward(m, q)
	}
	return m
}

// forward lets another server answer.
func (h *handler) forward(m, q *dns.Msg) *dns.Msg {
	answer, err := h.upstream.ask(h.ctx, q)
	if err != nil {
		m.Rcode = dns.RcodeServerFailure
		return m
	}
	answer.Id = q.Id
	answer.Question = q.Question
	return answer
}

// follow adds what another server says about the name that m's answer ends in.
func (h *handler) follow(m, q *dns.Msg, name string) {
	further := q.Copy()
	further.Question[0].Name = name
	answer, err := h.upstream.ask(h.ctx, further)
	if err != nil {
		m.Rcode = dns.RcodeServerFailure
		return
	}
	m.Rcode = answer.Rcode
	m.Authoritative = false
	m.Answer = append(m.Answer, answer.Answer...)
	m.Ns = append(m.Ns, answer.Ns...)
}

// shuffle orders addresses at random, so that callers that take the first one spread. Other records stay where they are:
// names must come before what they lead to.
func shuffle(rrs []dns.RR) {
	first := 0
	for first < len(rrs) && rrs[first].Header().Rrtype != dns.TypeA {
		first++
	}
	for _, rr := range rrs[first:] {
		if rr.Header().Rrtype != dns.TypeA {
			return
		}
	}
	rand.Shuffle(len(rrs)-first, func(i, j int) { rrs[first+i], rrs[first+j] = rrs[first+j], rrs[first+i] })
}

// fit makes m as long as may be, and gives it what the question's EDNS asks for.
func fit(m, q *dns.Msg, datagram bool) {
	size := dns.MinMsgSize
	m.Extra = deleteOPT(m.Extra)
	if o := q.IsEdns0(); o != nil {
		size = max(size, min(int(o.UDPSize()), maxDatagram))
		m.SetEdns0(maxDatagram, o.Do())
	}
	if !datagram {
		size = dns.MaxMsgSize
	}
	m.Compress = true
	m.Truncate(size)
}

func deleteOPT(rrs []dns.RR) (kept []dns.RR) {
	for _, rr := range rrs {
		if rr.Header().Rrtype != dns.TypeOPT {
			kept = append(kept, rr)
		}
	}
	return kept
}
