package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// small is a zone with a bit of everything.
func small() string {
	return file(
		Record{"dns-version.cluster.local.", "TXT", "1.1.0"},
		Record{"hello.pod.cluster.local.", Pods, ""},
		Record{"web.hello.svc.cluster.local.", "A", "10.96.0.10"},
		Record{"_http._tcp.web.hello.svc.cluster.local.", "SRV", "0 100 80 web.hello.svc.cluster.local."},
		Record{"10.0.96.10.in-addr.arpa.", "PTR", "web.hello.svc.cluster.local."},
		Record{"web-1.hello.svc.cluster.local.", "A", "10.96.0.11"},
		Record{"db.hello.svc.cluster.local.", "A", "10.244.0.5"},
		Record{"db.hello.svc.cluster.local.", "A", "10.244.0.6"},
		Record{"db-0.db.hello.svc.cluster.local.", "A", "10.244.0.5"},
		Record{"alias.hello.svc.cluster.local.", "CNAME", "web.hello.svc.cluster.local."},
		Record{"away.hello.svc.cluster.local.", "CNAME", "www.example.com."},
		Record{"round.hello.svc.cluster.local.", "CNAME", "about.hello.svc.cluster.local."},
		Record{"about.hello.svc.cluster.local.", "CNAME", "round.hello.svc.cluster.local."},
		Record{"lost.hello.svc.cluster.local.", "CNAME", "nowhere.hello.svc.cluster.local."},
	)
}

// file is the text of a file with records.
func file(records ...Record) string {
	var lines []string
	for _, r := range records {
		lines = append(lines, r.String())
	}
	slices.Sort(lines)
	h := Header{"cluster.local.", []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("10.244.0.0/16")}}
	return h.String() + "\n" + strings.Join(lines, "\n") + "\n"
}

func newHandler(t testing.TB, text string, upstream ...string) *handler {
	t.Helper()
	path := filepath.Join(t.TempDir(), "records")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h := &handler{cfg: Config{File: path}, ctx: t.Context(), upstream: newUpstream("", nil)}
	h.upstream.servers = upstream
	return h
}

func ask(name string, kind uint16) *dns.Msg { return new(dns.Msg).SetQuestion(name, kind) }

// show is an answer as text: its code, then its records, without TTL and class.
func show(m *dns.Msg) string {
	words := []string{dns.RcodeToString[m.Rcode]}
	for section, rrs := range map[string][]dns.RR{"": m.Answer, "+": m.Extra} {
		var lines []string
		for _, rr := range rrs {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				lines = append(lines, section+h.Name+" "+dns.TypeToString[h.Rrtype]+" "+strings.TrimPrefix(rr.String(), h.String()))
			}
		}
		slices.Sort(lines)
		words = append(words, lines...)
	}
	if len(m.Ns) == 1 && m.Ns[0].Header().Rrtype == dns.TypeSOA && m.Ns[0].Header().Name == "cluster.local." {
		words = append(words, "SOA")
	}
	slices.Sort(words[1:])
	return strings.Join(words, "\n")
}

func TestAnswers(t *testing.T) {
	h := newHandler(t, small(), world(t, "udp"))
	for _, row := range []struct {
		says, name string
		kind       uint16
		want       []string
	}{
		{"a service has its address", "web.hello.svc.cluster.local.", dns.TypeA, []string{"NOERROR", "web.hello.svc.cluster.local. A 10.96.0.10"}},
		{"a question may be spelled in any case", "WEB.hello.svc.Cluster.Local.", dns.TypeA, []string{"NOERROR", "WEB.hello.svc.Cluster.Local. A 10.96.0.10"}},
		{"a name that exists has no IPv6 address, and exists", "web.hello.svc.cluster.local.", dns.TypeAAAA, []string{"NOERROR", "SOA"}},
		{"a headless service has those of its endpoints", "db.hello.svc.cluster.local.", dns.TypeA,
			[]string{"NOERROR", "db.hello.svc.cluster.local. A 10.244.0.5", "db.hello.svc.cluster.local. A 10.244.0.6"}},
		{"an endpoint has its own", "db-0.db.hello.svc.cluster.local.", dns.TypeA, []string{"NOERROR", "db-0.db.hello.svc.cluster.local. A 10.244.0.5"}},
		{"a port has a number, and the address comes with it", "_http._tcp.web.hello.svc.cluster.local.", dns.TypeSRV,
			[]string{"NOERROR", "+web.hello.svc.cluster.local. A 10.96.0.10", "_http._tcp.web.hello.svc.cluster.local. SRV 0 100 80 web.hello.svc.cluster.local."}},
		{"an address has a name", "10.0.96.10.in-addr.arpa.", dns.TypePTR, []string{"NOERROR", "10.0.96.10.in-addr.arpa. PTR web.hello.svc.cluster.local."}},
		{"an address of the cluster that nobody has has none", "9.9.244.10.in-addr.arpa.", dns.TypePTR, []string{"NXDOMAIN", "SOA"}},
		{"what is not there is not there", "nothing.hello.svc.cluster.local.", dns.TypeA, []string{"NXDOMAIN", "SOA"}},
		{"a search path makes such names", "www.example.com.hello.svc.cluster.local.", dns.TypeA, []string{"NXDOMAIN", "SOA"}},
		{"a part of a name is no name", "eb.hello.svc.cluster.local.", dns.TypeA, []string{"NXDOMAIN", "SOA"}},
		{"a name with names below it exists", "hello.svc.cluster.local.", dns.TypeA, []string{"NOERROR", "SOA"}},
		{"so does the protocol of a port", "_tcp.web.hello.svc.cluster.local.", dns.TypeA, []string{"NOERROR", "SOA"}},
		{"a name with a dash after another one is not below it", "_tcp.web-1.hello.svc.cluster.local.", dns.TypeA, []string{"NXDOMAIN", "SOA"}},
		{"a pod's address is a name", "10-244-0-9.hello.pod.cluster.local.", dns.TypeA, []string{"NOERROR", "10-244-0-9.hello.pod.cluster.local. A 10.244.0.9"}},
		{"but not in a namespace that is not there", "10-244-0-9.other.pod.cluster.local.", dns.TypeA, []string{"NXDOMAIN", "SOA"}},
		{"and nothing else is", "10-244-0.hello.pod.cluster.local.", dns.TypeA, []string{"NXDOMAIN", "SOA"}},
		{"another name for a service leads to its address", "alias.hello.svc.cluster.local.", dns.TypeA,
			[]string{"NOERROR", "alias.hello.svc.cluster.local. CNAME web.hello.svc.cluster.local.", "web.hello.svc.cluster.local. A 10.96.0.10"}},
		{"that it is another name can be asked for", "alias.hello.svc.cluster.local.", dns.TypeCNAME,
			[]string{"NOERROR", "alias.hello.svc.cluster.local. CNAME web.hello.svc.cluster.local."}},
		{"a name for something outside is followed there", "away.hello.svc.cluster.local.", dns.TypeA,
			[]string{"NOERROR", "away.hello.svc.cluster.local. CNAME www.example.com.", "www.example.com. A 192.0.2.7"}},
		{"a name for nothing exists itself", "lost.hello.svc.cluster.local.", dns.TypeA,
			[]string{"NOERROR", "lost.hello.svc.cluster.local. CNAME nowhere.hello.svc.cluster.local."}},
		{"the version can be asked for", "dns-version.cluster.local.", dns.TypeTXT, []string{"NOERROR", `dns-version.cluster.local. TXT "1.1.0"`}},
		{"the domain has a server", "cluster.local.", dns.TypeNS, []string{"NOERROR", "cluster.local. NS ns.dns.cluster.local."}},
		{"the rest of the world is asked for elsewhere", "www.example.com.", dns.TypeA, []string{"NOERROR", "www.example.com. A 192.0.2.7"}},
		{"also in reverse", "7.2.0.192.in-addr.arpa.", dns.TypePTR, []string{"NOERROR"}},
		{"what is not there elsewhere is not there", "gone.example.com.", dns.TypeA, []string{"NXDOMAIN"}},
	} {
		t.Run(row.says, func(t *testing.T) {
			slices.Sort(row.want[1:])
			if d := cmp.Diff(strings.Join(row.want, "\n"), show(h.respond(ask(row.name, row.kind)))); d != "" {
				t.Errorf("%s (-want +got):\n%s", row.name, d)
			}
		})
	}
}

func TestNamesThatLeadToEachOtherEnd(t *testing.T) {
	m := newHandler(t, small()).respond(ask("round.hello.svc.cluster.local.", dns.TypeA))
	if len(m.Answer) != maxChase {
		t.Errorf("%d records, want %d", len(m.Answer), maxChase)
	}
}

func TestQuestionsThatAreNoneAreRefused(t *testing.T) {
	h := newHandler(t, small())
	two := ask("a.", dns.TypeA)
	two.Question = append(two.Question, two.Question[0])
	chaos := ask("version.bind.", dns.TypeTXT)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	notify := new(dns.Msg).SetNotify("cluster.local.")
	edns := ask("web.hello.svc.cluster.local.", dns.TypeA).SetEdns0(4096, false)
	edns.IsEdns0().SetVersion(1)
	for rcode, q := range map[int]*dns.Msg{dns.RcodeFormatError: two, dns.RcodeRefused: chaos, dns.RcodeNotImplemented: notify, dns.RcodeBadVers: edns} {
		if m := h.respond(q); m.Rcode != rcode {
			t.Errorf("%v: %s, want %s", q.Question, dns.RcodeToString[m.Rcode], dns.RcodeToString[rcode])
		}
	}
}

// world is a server elsewhere that knows www.example.com, and what big.example.com is only over TCP. It returns its address.
func world(t testing.TB, networks ...string) string {
	t.Helper()
	udp, tcp, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		network := w.RemoteAddr().Network()
		switch name := q.Question[0].Name; {
		case !slices.Contains(networks, network):
			return // no answer at all
		case name == "big.example.com." && network == "udp":
			m.Truncated = true
		case name == "big.example.com.":
			for i := range 100 {
				m.Answer = append(m.Answer, Record{name, "A", fmt.Sprintf("192.0.2.%d", i)}.rr(name))
			}
		case name == "www.example.com.":
			m.Answer = append(m.Answer, Record{name, "A", "192.0.2.7"}.rr(name))
		case name == "gone.example.com.":
			m.Rcode = dns.RcodeNameError
		case name == "broken.example.com.":
			m.Rcode = dns.RcodeServerFailure
		}
		w.WriteMsg(m)
	})
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: serve}, {Listener: tcp, Handler: serve}} {
		started, done := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { defer close(done); s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { s.Shutdown(); <-done })
	}
	return udp.LocalAddr().String()
}

// start runs a server of its own sockets, and returns their address.
func start(t testing.TB, cfg Config) string {
	t.Helper()
	udp, tcp, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.UDP, cfg.TCP = []net.PacketConn{udp}, []net.Listener{tcp}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the server ended with %v", err)
		}
	})
	return udp.LocalAddr().String()
}

func TestWhatDoesNotFitIntoADatagramIsCutOffAndThereOverTCP(t *testing.T) {
	var records []Record
	for i := range 200 {
		records = append(records, Record{"many.hello.svc.cluster.local.", "A", fmt.Sprintf("10.244.1.%d", i)})
	}
	addr := start(t, Config{File: newHandler(t, file(records...)).cfg.File})
	for _, row := range []struct {
		says, network string
		edns          uint16
		atLeast, most int
		truncated     bool
	}{
		{"over UDP, 512 bytes", "udp", 0, 20, 512, true},
		{"over UDP with EDNS, what passes in one piece", "udp", 4096, 60, 1232, true},
		{"over TCP, all", "tcp", 0, 200, 65535, false},
	} {
		t.Run(row.says, func(t *testing.T) {
			q := ask("many.hello.svc.cluster.local.", dns.TypeA)
			if row.edns > 0 {
				q.SetEdns0(row.edns, true)
			}
			c := dns.Client{Net: row.network, Timeout: 5 * time.Second}
			m, _, err := c.Exchange(q, addr)
			if err != nil {
				t.Fatal(err)
			}
			m.Compress = true
			if len(m.Answer) < row.atLeast || m.Truncated != row.truncated || m.Len() > row.most {
				t.Errorf("%d records, %d bytes, truncated %v", len(m.Answer), m.Len(), m.Truncated)
			}
			if o := m.IsEdns0(); (o != nil) != (row.edns > 0) || o != nil && (!o.Do() || o.UDPSize() != maxDatagram) {
				t.Errorf("EDNS: %v", o)
			}
		})
	}
}

func TestAnAnswerFromElsewhereThatWasCutOffIsAskedForAgainOverTCP(t *testing.T) {
	h := newHandler(t, small(), world(t, "udp", "tcp"))
	if m := h.respond(ask("big.example.com.", dns.TypeA)); len(m.Answer) != 100 {
		t.Errorf("%d records, want 100", len(m.Answer))
	}
}

func TestAServerElsewhereThatIsOutOfReachIsPassedOver(t *testing.T) {
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.LocalAddr().String()
	closed.Close()
	if m := newHandler(t, small(), nobody, world(t, "udp")).respond(ask("www.example.com.", dns.TypeA)); len(m.Answer) != 1 {
		t.Errorf("%s", show(m))
	}
	for _, servers := range [][]string{{nobody}, {}, {world(t, "udp")}} {
		if m := newHandler(t, small(), servers...).respond(ask("broken.example.com.", dns.TypeA)); m.Rcode != dns.RcodeServerFailure {
			t.Errorf("with %v: %s", servers, show(m))
		}
	}
}

func TestALoopThroughAnotherServerEndsAndDoesNotGrow(t *testing.T) {
	var asked atomic.Int32
	h := newHandler(t, small())
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other := &dns.Server{PacketConn: udp, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		asked.Add(1)
		w.WriteMsg(h.respond(q)) // sends it straight back
	})}
	started, done := make(chan struct{}), make(chan struct{})
	other.NotifyStartedFunc = func() { close(started) }
	go func() { defer close(done); other.ActivateAndServe() }()
	<-started
	defer func() { other.Shutdown(); <-done }()
	h.upstream.servers = []string{udp.LocalAddr().String()}
	if m := h.respond(ask("www.example.com.", dns.TypeA)); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("%s", show(m))
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the question went round %d times", n)
	}
}

func TestTheServerNeverAsksItself(t *testing.T) {
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(resolv+".next", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(resolv+".next", resolv); err != nil {
			t.Fatal(err)
		}
	}
	u := newUpstream(resolv, []netip.Addr{netip.MustParseAddr("10.244.0.1")})
	if got := u.known(); len(got) > 0 {
		t.Errorf("without a file: %v", got)
	}
	write("nameserver 10.244.0.1\nnameserver 192.0.2.53\nnameserver ::ffff:10.244.0.1\nsearch example.com\n")
	if got, want := u.known(), []string{"192.0.2.53:53"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	write("nameserver 192.0.2.54\n")
	if got, want := u.known(), []string{"192.0.2.54:53"}; !slices.Equal(got, want) {
		t.Errorf("after the file changed: %v, want %v", got, want)
	}
	if err := os.Remove(resolv); err != nil {
		t.Fatal(err)
	}
	if got, want := u.known(), []string{"192.0.2.54:53"}; !slices.Equal(got, want) {
		t.Errorf("after the file was removed: %v, want %v", got, want)
	}
}

func TestTheFileIsReadAgainWhenItChangesAndTheLastGoodOneCounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	addr := start(t, Config{File: path})
	c := dns.Client{Timeout: 5 * time.Second}
	expect := func(when, want string) {
		t.Helper()
		m, _, err := c.Exchange(ask("web.hello.svc.cluster.local.", dns.TypeA), addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := show(m); got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	put := func(text string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path+".next", []byte(text), 0o600), os.Rename(path+".next", path)); err != nil {
			t.Fatal(err)
		}
	}
	one, two := "NOERROR\nweb.hello.svc.cluster.local. A 10.96.0.1", "NOERROR\nweb.hello.svc.cluster.local. A 10.96.0.2"
	expect("without a file", "SERVFAIL")
	put(file(Record{"web.hello.svc.cluster.local.", "A", "10.96.0.1"}))
	expect("with a file", one)
	put(file(Record{"web.hello.svc.cluster.local.", "A", "10.96.0.2"}))
	expect("with another file", two)
	put("mainstay-dns-9 cluster.local.\n")
	expect("with one of a newer format", two)
	put(strings.TrimSuffix(small(), "\n"))
	expect("with one that is cut off", two)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("with none any more", two)
	put(file(Record{"web.hello.svc.cluster.local.", "A", "10.96.0.1"}))
	expect("with a good one again", one)
}

func TestAddressesComeInAnyOrder(t *testing.T) {
	h := newHandler(t, small())
	first := map[string]bool{}
	for range 64 {
		first[h.respond(ask("db.hello.svc.cluster.local.", dns.TypeA)).Answer[0].String()] = true
	}
	if len(first) != 2 {
		t.Errorf("always the same address first: %v", first)
	}
}

func FuzzQuestion(f *testing.F) {
	for _, q := range []*dns.Msg{ask("web.hello.svc.cluster.local.", dns.TypeA), ask("10.0.96.10.in-addr.arpa.", dns.TypePTR), ask(".", dns.TypeANY), ask("away.hello.svc.cluster.local.", dns.TypeSRV)} {
		packed, err := q.SetEdns0(1232, true).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	z, err := parseZone([]byte(small()))
	if err != nil {
		f.Fatal(err)
	}
	h := &handler{ctx: context.Background(), upstream: newUpstream("", nil), zone: z}
	f.Fuzz(func(t *testing.T, packet []byte) {
		q := new(dns.Msg)
		if q.Unpack(packet) != nil {
			return
		}
		m := h.respond(q)
		fit(m, q, true)
		packed, err := m.Pack()
		if err != nil {
			return // the name in the question cannot be packed again
		}
		if len(packed) > max(maxDatagram, len(packet)) {
			t.Errorf("%d bytes for a question of %d", len(packed), len(packet))
		}
	})
}

func FuzzZone(f *testing.F) {
	f.Add(small(), "web.hello.svc.cluster.local.")
	f.Add(file(), ".")
	f.Fuzz(func(t *testing.T, text, name string) {
		z, err := parseZone([]byte(text))
		if err != nil {
			return
		}
		z.exists(name)
		for _, r := range z.records(name) {
			r.rr(name)
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	var records []Record
	for i := range 10_000 {
		name := fmt.Sprintf("web%d.hello.svc.cluster.local.", i)
		records = append(records, Record{name, "A", "10.96.0.1"}, Record{"_http._tcp." + name, "SRV", "0 100 80 " + name})
	}
	h := newHandler(b, file(records...))
	q := ask("web777.hello.svc.cluster.local.", dns.TypeA)
	for b.Loop() {
		if m := h.respond(q); len(m.Answer) != 1 {
			b.Fatal(m)
		}
	}
}
