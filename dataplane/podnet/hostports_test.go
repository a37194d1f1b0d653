package podnet_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/dataplane/internal/kerneltest"
	"github.com/mainstay-gitops/mainstay/dataplane/podnet"
	"github.com/mainstay-gitops/mainstay/dataplane/service"
)

func hostPort(protocol service.Protocol, from, to string) podnet.HostPort {
	return podnet.HostPort{Key: frontend(protocol, from), Value: netip.MustParseAddrPort(to)}
}

func frontend(protocol service.Protocol, at string) service.Frontend {
	return service.Frontend{AddrPort: netip.MustParseAddrPort(at), Protocol: protocol}
}

// lead sets the machine's host ports.
func (m *machine) lead(t testing.TB, ports ...podnet.HostPort) {
	t.Helper()
	m.ns.Do(t, func() error { return m.SetHostPorts(t.Context(), ports) })
}

// led are the machine's host ports.
func (m *machine) led(t testing.TB) (ports []podnet.HostPort) {
	t.Helper()
	m.ns.Do(t, func() (err error) {
		ports, err = m.HostPorts(t.Context())
		return err
	})
	return ports
}

// echo answers each datagram with name and its sender's address, until the test ends.
func echo(t testing.TB, ns *kerneltest.Netns, name, addr string) {
	t.Helper()
	ns.Do(t, func() error {
		c, err := net.ListenPacket("udp4", addr)
		if err != nil {
			return err
		}
		t.Cleanup(func() { c.Close() })
		go func() {
			b := make([]byte, 100)
			for {
				_, from, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				c.WriteTo([]byte(name+" "+from.(*net.UDPAddr).IP.String()), from)
			}
		}()
		return nil
	})
}

// A caller asks over one UDP socket.
func newCaller(t testing.TB, ns *kerneltest.Netns, to string) func() (string, error) {
	t.Helper()
	var c net.Conn
	ns.Do(t, func() (err error) {
		c, err = net.Dial("udp4", to)
		return err
	})
	t.Cleanup(func() { c.Close() })
	return func() (string, error) {
		b := make([]byte, 100)
		if _, err := c.Write([]byte("x")); err != nil {
			return "", err
		}
		c.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := c.Read(b)
		return string(b[:n]), err
	}
}

func TestAHostPortLeadsToItsPodFromEverywhere(t *testing.T) {
	m := newMachine(t)
	server, addr := m.attach(t, "server")
	client, clientAddr := m.attach(t, "client")
	gateway := m.Gateway().String()
	listen(t, server, ":80")
	listen(t, client, ":8080")
	echo(t, server, "server", ":53")
	m.lead(t, hostPort(service.TCP, "0.0.0.0:8080", addr.String()+":80"), hostPort(service.TCP, "127.0.0.1:8083", addr.String()+":80"),
		hostPort(service.TCP, "192.168.9.1:8081", addr.String()+":80"), hostPort(service.UDP, "0.0.0.0:5353", addr.String()+":53"))
	for _, row := range []struct {
		says string
		from *kerneltest.Netns
		to   string
		seen string // whom the pod sees; empty: the call is refused
	}{
		{"from outside, with the caller's address", m.outside, "192.168.9.1:8080", "192.168.9.9"},
		{"from the node by its address", m.ns, "192.168.9.1:8080", "192.168.9.1"},
		{"from the node by its loopback, from the gateway", m.ns, "127.0.0.1:8080", gateway},
		{"from the node by the gateway", m.ns, gateway + ":8080", gateway},
		{"from another pod, with its address", client, "192.168.9.1:8080", clientAddr.String()},
		{"from another pod by the gateway", client, gateway + ":8080", clientAddr.String()},
		{"from the pod itself, from the gateway", server, "192.168.9.1:8080", gateway},
		{"directly, as ever", client, addr.String() + ":80", clientAddr.String()},
		{"directly from the node, as ever", m.ns, addr.String() + ":80", gateway},
		{"a pod's own loopback stays its own", client, "127.0.0.1:8080", "127.0.0.1"},
		{"at the address that it names", m.outside, "192.168.9.1:8081", "192.168.9.9"},
		{"and at no other", m.ns, "127.0.0.1:8081", ""},
		{"at the loopback alone", m.ns, "127.0.0.1:8083", gateway},
		{"which nobody else reaches", m.outside, "192.168.9.1:8083", ""},
		{"not at other addresses of the loopback", m.ns, "127.0.0.53:8080", ""},
	} {
		t.Run(row.says, func(t *testing.T) {
			if seen, err := call(row.from, row.to); seen != row.seen || (err == nil) != (row.seen != "") {
				t.Errorf("%s saw %q, %v; want %q", row.to, seen, err, row.seen)
			}
		})
	}
	for _, from := range []*kerneltest.Netns{m.outside, m.ns, client} {
		if got, err := newCaller(t, from, "192.168.9.1:5353")(); err != nil || !strings.HasPrefix(got, "server ") {
			t.Errorf("over UDP: %q, %v", got, err)
		}
	}
}

func TestHostPortsOutliveTheDaemonAndGoWithTheNetwork(t *testing.T) {
	m := bareMachine(t)
	before := m.rules(t)
	m.open(t)
	defer func() { m.Close() }()
	server, addr := m.attach(t, "server")
	listen(t, server, ":80")
	ports := []podnet.HostPort{hostPort(service.TCP, "0.0.0.0:8080", addr.String()+":80"), hostPort(service.UDP, "0.0.0.0:8080", addr.String()+":80"),
		hostPort(service.TCP, "192.168.9.1:8081", addr.String()+":80")}
	m.lead(t, ports...)
	m.Close()
	m.open(t)
	if diff := cmp.Diff(ports, m.led(t), cmpopts.EquateComparable(netip.AddrPort{}, service.Frontend{})); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	if _, err := call(m.outside, "192.168.9.1:8080"); err != nil {
		t.Error(err)
	}
	m.lead(t)
	if left := m.led(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := call(m.outside, "192.168.9.1:8080"); err == nil {
		t.Error("a port that was given back still leads to the pod")
	}
	m.ns.Do(t, func() error { return podnet.Remove(t.Context(), m.cfg) })
	if after := m.rules(t); after != before {
		t.Errorf("rules are left: %s", after)
	}
}

func TestACallerOverUDPArrivesAtTheNewPod(t *testing.T) {
	m := newMachine(t)
	a, addrA := m.attach(t, "a")
	b, addrB := m.attach(t, "b")
	echo(t, a, "a", ":53")
	echo(t, b, "b", ":53")
	ask := newCaller(t, m.outside, "192.168.9.1:5353")
	if got, err := ask(); err == nil {
		t.Fatalf("nobody is there, but %q answers", got)
	}
	for _, to := range []struct {
		name string
		addr netip.Addr
	}{{"a", addrA}, {"b", addrB}} {
		m.lead(t, hostPort(service.UDP, "0.0.0.0:5353", to.addr.String()+":53"))
		if got, err := ask(); err != nil || !strings.HasPrefix(got, to.name+" ") {
			t.Errorf("led to %s, %q answers, %v", to.name, got, err)
		}
	}
}

func TestAPortThatAProcessOfTheMachineHasIsFound(t *testing.T) {
	m := bareMachine(t)
	m.cfg.Own = []uint16{53}
	m.open(t)
	defer m.Close()
	gateway := m.Gateway().String()
	listen(t, m.ns, "0.0.0.0:80")
	listen(t, m.ns, "192.168.9.1:81")
	listen(t, m.ns, "127.0.0.53:82")
	listen(t, m.ns, gateway+":53")
	listen(t, m.ns, gateway+":83")
	echo(t, m.ns, "x", "0.0.0.0:84")
	m.ns.Do(t, func() error {
		l, err := net.Listen("tcp", "[::]:85")
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	})
	for _, row := range []struct {
		port service.Frontend
		at   string
	}{
		{frontend(service.TCP, "0.0.0.0:80"), "0.0.0.0:80"},
		{frontend(service.TCP, "127.0.0.1:80"), "0.0.0.0:80"},
		{frontend(service.UDP, "0.0.0.0:80"), ""},
		{frontend(service.TCP, "0.0.0.0:81"), "192.168.9.1:81"},
		{frontend(service.TCP, "127.0.0.1:81"), ""},
		{frontend(service.TCP, "0.0.0.0:82"), ""},
		{frontend(service.TCP, "0.0.0.0:53"), ""},
		{frontend(service.TCP, "0.0.0.0:83"), gateway + ":83"},
		{frontend(service.UDP, "0.0.0.0:84"), "0.0.0.0:84"},
		{frontend(service.TCP, "0.0.0.0:84"), ""},
		{frontend(service.TCP, "0.0.0.0:85"), "[::]:85"},
		{frontend(service.TCP, "0.0.0.0:86"), ""},
	} {
		var at netip.AddrPort
		var taken bool
		m.ns.Do(t, func() (err error) {
			at, taken, err = m.Listener(row.port)
			return err
		})
		if got := fmt.Sprint(at); taken != (row.at != "") || taken && got != row.at {
			t.Errorf("%s: %s listens (%t), want %q", row.port, got, taken, row.at)
		}
	}
}

func TestTheNodesOwnPortsAreNotLedAway(t *testing.T) {
	m := bareMachine(t)
	m.cfg.Own = []uint16{53, 6443}
	m.open(t)
	defer m.Close()
	server, addr := m.attach(t, "server")
	client, _ := m.attach(t, "client")
	listen(t, m.ns, m.Gateway().String()+":6443")
	echo(t, m.ns, "node", m.Gateway().String()+":53")
	echo(t, server, "server", ":53")
	m.lead(t, hostPort(service.TCP, "0.0.0.0:6443", addr.String()+":80"), hostPort(service.UDP, "0.0.0.0:53", addr.String()+":53"))
	if _, err := call(client, m.Gateway().String()+":6443"); err != nil {
		t.Error(err)
	}
	for to, want := range map[string]string{m.Gateway().String(): "node", "192.168.9.1": "server"} {
		if got, err := newCaller(t, client, to+":53")(); err != nil || !strings.HasPrefix(got, want+" ") {
			t.Errorf("%s answers at %s, %v; want %s", got, to, err, want)
		}
	}
}

func TestAPodDoesNotReachTheMachinesLoopback(t *testing.T) {
	m := newMachine(t)
	pod, addr := m.attach(t, "a")
	m.lead(t, hostPort(service.TCP, "0.0.0.0:8080", addr.String()+":80")) // so that its device lets 127.0.0.1 pass
	arrived := make(chan string, 8)
	hear(t, m.ns, "127.0.0.1:99", arrived)
	hear(t, m.ns, m.Gateway().String()+":99", arrived)
	pod.Do(t, func() error { return leaveByDevice("127.0.0.1", addr.AsSlice()) })
	say := func(to string) {
		t.Helper()
		pod.Do(t, func() error {
			c, err := net.Dial("udp4", to)
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte(to))
			return err
		})
	}
	say("127.0.0.1:99")
	say(m.Gateway().String() + ":99") // on the same way, after it
	if got := <-arrived; got != m.Gateway().String()+":99" {
		t.Errorf("what a pod sends to %s arrives", got)
	}
	m.ns.Do(t, func() error { return nft("flush chain ip mainstay untracked-in") })
	say("127.0.0.1:99")
	if got := <-arrived; got != "127.0.0.1:99" { // nothing but the rule stops it
		t.Errorf("%s arrives", got)
	}
}

// hear passes on what it receives, until the test ends.
func hear(t testing.TB, ns *kerneltest.Netns, addr string, to chan<- string) {
	t.Helper()
	ns.Do(t, func() error {
		c, err := net.ListenPacket("udp4", addr)
		if err != nil {
			return err
		}
		t.Cleanup(func() { c.Close() })
		go func() {
			b := make([]byte, 100)
			for {
				n, _, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				to <- string(b[:n])
			}
		}()
		return nil
	})
}

// leaveByDevice has this namespace send what goes to a loopback address out.
func leaveByDevice(addr string, src net.IP) error {
	local, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_LOCAL}, netlink.RT_FILTER_TABLE)
	for _, r := range local {
		if r.Dst != nil && r.Dst.Contains(net.ParseIP(addr)) {
			err = errors.Join(err, netlink.RouteDel(&r))
		}
	}
	eth0, e := netlink.LinkByName("eth0")
	if err := errors.Join(err, e, os.WriteFile("/proc/sys/net/ipv4/conf/eth0/route_localnet", []byte("1"), 0)); err != nil {
		return err
	}
	gw := net.ParseIP("10.244.0.1")
	return netlink.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Dst: parseNet(addr + "/32"), Gw: gw, Src: src, Flags: int(netlink.FLAG_ONLINK)})
}
