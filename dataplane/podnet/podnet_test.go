package podnet_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/dataplane/internal/kerneltest"
	"github.com/mainstay-gitops/mainstay/dataplane/podnet"
	"github.com/mainstay-gitops/mainstay/dataplane/target"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// A machine is a network namespace that stands for a whole machine, with a neighbour outside.
type machine struct {
	*podnet.Network
	cfg     podnet.Config
	ns      *kerneltest.Netns
	outside *kerneltest.Netns // 192.168.9.9; the machine is 192.168.9.1 and its gateway to everything
	spaces  *target.Memory[podnet.Cookie, netip.Addr]
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	m := bareMachine(t)
	m.open(t)
	t.Cleanup(func() { m.Close() })
	return m
}

// bareMachine has not opened its network.
func bareMachine(t testing.TB) *machine {
	t.Helper()
	m := &machine{ns: kerneltest.NewNetns(t), outside: kerneltest.NewNetns(t), spaces: target.NewMemory[podnet.Cookie, netip.Addr]()}
	m.cfg = podnet.Config{
		PodRange:     netip.MustParsePrefix("10.244.0.0/24"),
		ClusterRange: netip.MustParsePrefix("10.244.0.0/16"),
		ServiceRange: netip.MustParsePrefix("10.96.0.0/12"),
		Run:          t.TempDir(),
		Namespaces:   m.spaces,
	}
	f, err := os.Open(m.outside.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m.ns.Do(t, func() error {
		up := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up0", MTU: 1400, TxQLen: -1}, PeerName: "up0", PeerNamespace: netlink.NsFd(int(f.Fd()))}
		return errors.Join(netlink.LinkAdd(up), configure("up0", "192.168.9.1/24"),
			netlink.RouteAdd(&netlink.Route{Dst: parseNet("0.0.0.0/0"), Gw: net.ParseIP("192.168.9.9")}))
	})
	m.outside.Do(t, func() error { return configure("up0", "192.168.9.9/24") })
	return m
}

func parseNet(s string) *net.IPNet {
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return n
}

func configure(device, addr string) error {
	l, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(addr)
	if err != nil {
		return err
	}
	return errors.Join(netlink.AddrAdd(l, a), netlink.LinkSetUp(l))
}

func (m *machine) open(t testing.TB) {
	t.Helper()
	m.ns.Do(t, func() (err error) {
		m.Network, err = podnet.Open(t.Context(), m.cfg)
		return err
	})
}

// attach makes a pod.
func (m *machine) attach(t testing.TB, uid types.UID) (*kerneltest.Netns, netip.Addr) {
	t.Helper()
	ns := kerneltest.NewNetns(t)
	addr, err := m.Attach(t.Context(), podnet.Pod{UID: uid, NetNS: ns.Path()})
	if err != nil {
		t.Fatal(err)
	}
	return ns, addr
}

// listen answers with the address of who called, until the test ends.
func listen(t testing.TB, ns *kerneltest.Netns, addr string) {
	t.Helper()
	ns.Do(t, func() error {
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(c, c.RemoteAddr().(*net.TCPAddr).IP)
				c.Close()
			}
		}()
		return nil
	})
}

// call returns what listen answers.
func call(ns *kerneltest.Netns, addr string) (seen string, err error) {
	err = ns.Try(func() error {
		c, err := net.DialTimeout("tcp4", addr, 5*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		b, err := io.ReadAll(c)
		seen = string(b)
		return err
	})
	return seen, err
}

func TestPodsReachEachOtherTheNodeAndTheOutside(t *testing.T) {
	m := newMachine(t)
	a, addrA := m.attach(t, "a")
	b, addrB := m.attach(t, "b")
	listen(t, a, ":80")
	listen(t, b, ":80")
	listen(t, m.ns, m.Gateway().String()+":80")
	listen(t, m.ns, "192.168.9.1:80")
	listen(t, m.outside, ":80")
	for _, row := range []struct {
		says string
		from *kerneltest.Netns
		to   string
		seen string // whom the other end sees
	}{
		{"a pod reaches another pod under its own address", a, addrB.String(), addrA.String()},
		{"and the other way round", b, addrA.String(), addrB.String()},
		{"a pod reaches itself", a, addrA.String(), addrA.String()},
		{"a pod reaches its own loopback", a, "127.0.0.1", "127.0.0.1"},
		{"the node reaches a pod, from the gateway's address", m.ns, addrA.String(), m.Gateway().String()},
		{"a pod reaches the gateway's address", a, m.Gateway().String(), addrA.String()},
		{"the node reaches the gateway's address", m.ns, m.Gateway().String(), m.Gateway().String()},
		{"a pod reaches the node's other addresses", a, "192.168.9.1", addrA.String()},
		{"a pod reaches the outside, which sees the node", a, "192.168.9.9", "192.168.9.1"},
	} {
		t.Run(row.says, func(t *testing.T) {
			if seen, err := call(row.from, row.to+":80"); seen != row.seen || err != nil {
				t.Errorf("%s saw %q, %v; want %q", row.to, seen, err, row.seen)
			}
		})
	}
}

func TestWhatNobodyHasDoesNotLeaveTheMachine(t *testing.T) {
	m := newMachine(t)
	pod, _ := m.attach(t, "a")
	for _, addr := range []string{"10.244.0.77:80", "10.244.9.9:80", "10.96.0.10:80"} {
		if _, err := call(pod, addr); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("from a pod to %s: %v, want %v", addr, err, unix.ECONNREFUSED)
		}
		if _, err := call(m.ns, addr); !errors.Is(err, unix.EHOSTUNREACH) {
			t.Errorf("from the node to %s: %v, want %v", addr, err, unix.EHOSTUNREACH)
		}
	}
}

func TestTheGatewayIsOutOfReachFromOutside(t *testing.T) {
	m := newMachine(t)
	listen(t, m.ns, ":80")
	m.outside.Do(t, func() error {
		return netlink.RouteAdd(&netlink.Route{Dst: parseNet("10.244.0.0/24"), Gw: net.ParseIP("192.168.9.1")})
	})
	err := m.outside.Try(func() error {
		c, err := net.DialTimeout("tcp4", m.Gateway().String()+":80", 300*time.Millisecond)
		if err == nil {
			c.Close()
		}
		return err
	})
	if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
		t.Errorf("from outside: %v, want a timeout", err)
	}
	if _, err := call(m.outside, "192.168.9.1:80"); err != nil { // it could have been reached
		t.Error(err)
	}
}

func TestAPodKeepsItsAddress(t *testing.T) {
	m := newMachine(t)
	ns, addr := m.attach(t, "a")
	m.attach(t, "b")
	port := 80
	again := func(ns *kerneltest.Netns) {
		t.Helper()
		port++
		got, err := m.Attach(t.Context(), podnet.Pod{UID: "a", NetNS: ns.Path()})
		if err != nil || got != addr {
			t.Errorf("attached again it has %s, %v; want %s", got, err, addr)
		}
		listen(t, ns, fmt.Sprint(addr, ":", port))
		if _, err := call(m.ns, fmt.Sprint(addr, ":", port)); err != nil {
			t.Error(err)
		}
	}
	t.Run("when it is attached again", func(t *testing.T) { again(ns) })
	t.Run("when the daemon is started again", func(t *testing.T) {
		m.Close()
		m.open(t)
		again(ns)
		if got := len(m.Attachments()); got != 2 {
			t.Errorf("%d attachments, want 2", got)
		}
	})
	t.Run("when its network namespace is another one", func(t *testing.T) { again(kerneltest.NewNetns(t)) })
	t.Run("when its device was removed", func(t *testing.T) {
		other := kerneltest.NewNetns(t)
		m.ns.Do(t, func() error {
			l, err := netlink.LinkByName("ms-0af40002")
			if err != nil {
				return err
			}
			return netlink.LinkDel(l)
		})
		again(other)
	})
}

func TestTheTableOfNamespacesHoldsTheNodeAndItsPods(t *testing.T) {
	m := bareMachine(t)
	if err := m.spaces.Put(t.Context(), 12345, netip.MustParseAddr("10.244.0.9")); err != nil { // of a pod that is gone
		t.Fatal(err)
	}
	m.open(t)
	defer func() { m.Close() }()
	ns, addr := m.attach(t, "a")
	gone, _ := m.attach(t, "gone")
	check := func(want map[*kerneltest.Netns]netip.Addr) {
		t.Helper()
		rows, err := m.spaces.All(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := map[podnet.Cookie]netip.Addr{}
		for _, r := range rows {
			got[r.Key] = r.Value
		}
		for ns, addr := range want {
			if got[podnet.Cookie(ns.Cookie())] != addr {
				t.Errorf("%v, want %s for %d", got, addr, ns.Cookie())
			}
		}
		if len(got) != len(want) {
			t.Errorf("%v, want %d rows", got, len(want))
		}
	}
	check(map[*kerneltest.Netns]netip.Addr{m.ns: m.Gateway(), ns: addr, gone: netip.MustParseAddr("10.244.0.3")})
	if err := m.Detach(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	check(map[*kerneltest.Netns]netip.Addr{m.ns: m.Gateway(), ns: addr})
	m.Close()
	m.spaces = target.NewMemory[podnet.Cookie, netip.Addr]()
	m.cfg.Namespaces = m.spaces
	m.open(t)
	check(map[*kerneltest.Netns]netip.Addr{m.ns: m.Gateway(), ns: addr})
}

func TestDetachGivesEverythingBack(t *testing.T) {
	m := newMachine(t)
	before := m.devices(t)
	_, _ = m.attach(t, "a")
	for range 2 {
		if err := m.Detach(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if after := m.devices(t); !slices.Equal(before, after) {
		t.Errorf("devices before %v, after %v", before, after)
	}
	if left := m.Attachments(); len(left) > 0 {
		t.Errorf("attachments: %v", left)
	}
}

func TestPruneDetachesWhatNobodyKeeps(t *testing.T) {
	m := newMachine(t)
	m.attach(t, "a")
	m.attach(t, "b")
	if err := m.Prune(t.Context(), func(uid types.UID) bool { return uid == "b" }); err != nil {
		t.Fatal(err)
	}
	if left := m.Attachments(); len(left) != 1 || left[0].Pod != "b" {
		t.Errorf("attachments: %v", left)
	}
}

func TestAPodThatWasHalfAttachedIsRemoved(t *testing.T) {
	m := newMachine(t)
	m.Close()
	m.ns.Do(t, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "ms-0af40002", TxQLen: -1}, PeerName: "x"})
	})
	m.open(t)
	if slices.Contains(m.devices(t), "ms-0af40002") {
		t.Error("the device is still there")
	}
	if _, addr := m.attach(t, "a"); addr.String() != "10.244.0.2" {
		t.Errorf("the address was lost with it: %s", addr)
	}
}

func TestAnAttachThatFailsLeavesNothing(t *testing.T) {
	m := newMachine(t)
	before := m.devices(t)
	if _, err := m.Attach(t.Context(), podnet.Pod{UID: "a", NetNS: "/nowhere"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, want %v", err, os.ErrNotExist)
	}
	ns := kerneltest.NewNetns(t)
	ns.Do(t, func() error { // the name that the pod's device would have
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth0", TxQLen: -1}})
	})
	if _, err := m.Attach(t.Context(), podnet.Pod{UID: "a", NetNS: ns.Path()}); err == nil {
		t.Error("attached to a namespace that has an eth0 already")
	}
	if after := m.devices(t); !slices.Equal(before, after) {
		t.Errorf("devices before %v, after %v", before, after)
	}
	if rows, _ := m.spaces.All(t.Context()); len(rows) != 1 {
		t.Errorf("namespaces: %v", rows)
	}
}

func TestManyPodsAtOnce(t *testing.T) {
	m := newMachine(t)
	const pods = 30
	var namespaces []*kerneltest.Netns
	for range pods {
		namespaces = append(namespaces, kerneltest.NewNetns(t))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[netip.Addr]bool{}
	for i, ns := range namespaces {
		wg.Go(func() {
			addr, err := m.Attach(t.Context(), podnet.Pod{UID: types.UID(fmt.Sprint(i)), NetNS: ns.Path()})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[addr] = true
		})
	}
	wg.Wait()
	if len(seen) != pods {
		t.Errorf("%d addresses for %d pods", len(seen), pods)
	}
	for i := range pods {
		wg.Go(func() {
			if err := m.Detach(t.Context(), types.UID(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestPodsGetTheMTUOfTheWayOut(t *testing.T) {
	m := newMachine(t)
	ns, _ := m.attach(t, "a")
	ns.Do(t, func() error {
		l, err := netlink.LinkByName("eth0")
		if err == nil && l.Attrs().MTU != 1400 {
			err = fmt.Errorf("its MTU is %d, want 1400", l.Attrs().MTU)
		}
		return err
	})
}

func TestARangeThatOverlapsWhatTheMachineUsesIsRefused(t *testing.T) {
	for _, row := range []struct {
		says, want string
		change     func(*podnet.Config)
		prepare    func() error
	}{
		{"an address", "the pod range 10.244.0.0/16 overlaps the address 10.244.7.1/24 of lo", nil,
			func() error { return configure("lo", "10.244.7.1/24") }},
		{"a route", "the service range 10.96.0.0/12 overlaps the route 10.100.0.0/16 of up0", nil,
			func() error {
				return netlink.RouteAdd(&netlink.Route{Dst: parseNet("10.100.0.0/16"), Gw: net.ParseIP("192.168.9.9")})
			}},
		{"a route that is wider than the range", "the pod range 10.244.0.0/16 overlaps the route 10.0.0.0/8 of up0", nil,
			func() error {
				return netlink.RouteAdd(&netlink.Route{Dst: parseNet("10.0.0.0/8"), Gw: net.ParseIP("192.168.9.9")})
			}},
		{"pods and services", "the pod range 10.244.0.0/16 and the service range 10.244.0.0/20 overlap",
			func(c *podnet.Config) { c.ServiceRange = netip.MustParsePrefix("10.244.0.0/20") }, nil},
		{"the node and the cluster", "the node's pod range 10.9.0.0/24 is no part of the pod range 10.244.0.0/16",
			func(c *podnet.Config) { c.PodRange = netip.MustParsePrefix("10.9.0.0/24") }, nil},
		{"no range", "service range invalid Prefix: it is not a range of IPv4 addresses",
			func(c *podnet.Config) { c.ServiceRange = netip.Prefix{} }, nil},
		{"a tiny range", "10.244.0.0/31 has no room for pods",
			func(c *podnet.Config) { c.PodRange = netip.MustParsePrefix("10.244.0.0/31") }, nil},
	} {
		t.Run(row.says, func(t *testing.T) {
			m := bareMachine(t)
			if row.prepare != nil {
				m.ns.Do(t, row.prepare)
			}
			if row.change != nil {
				row.change(&m.cfg)
			}
			before := m.devices(t)
			err := m.ns.Try(func() error {
				_, err := podnet.Open(t.Context(), m.cfg)
				return err
			})
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v\nwant %s", err, row.want)
			}
			if after := m.devices(t); !slices.Equal(before, after) {
				t.Errorf("devices before %v, after %v", before, after)
			}
		})
	}
}

func TestTheNetworkOfAnotherNodeIsLeftAlone(t *testing.T) {
	m := newMachine(t)
	other := m.cfg
	other.Run = t.TempDir()
	err := m.ns.Try(func() error {
		_, err := podnet.Open(t.Context(), other)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "belongs to "+m.cfg.Run) {
		t.Errorf("%v: want the owner's folder", err)
	}
	m.ns.Do(t, func() error { return podnet.Remove(t.Context(), other) })
	if !slices.Contains(m.devices(t), "mainstay0") {
		t.Error("removing another node's network removed this one's")
	}
}

func TestRemoveGivesEverythingBack(t *testing.T) {
	m := bareMachine(t)
	before := m.everything(t)
	m.open(t)
	m.attach(t, "a")
	m.Close()
	m.open(t)
	m.Close()
	for range 2 {
		m.ns.Do(t, func() error { return podnet.Remove(t.Context(), m.cfg) })
		if after := m.everything(t); before != after {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	}
	if left, _ := os.ReadDir(m.cfg.Run); len(left) > 0 {
		t.Errorf("left in the run folder: %v", left)
	}
}

func TestOtherRulesAreLeftAlone(t *testing.T) {
	m := bareMachine(t)
	const theirs = "table ip theirs {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n\t}\n}\n"
	m.ns.Do(t, func() error { return nft(theirs) })
	m.open(t)
	m.Close()
	if got := m.rules(t); !strings.Contains(got, theirs) || !strings.Contains(got, "table ip mainstay") {
		t.Errorf("the rules are\n%s", got)
	}
	m.ns.Do(t, func() error { return podnet.Remove(t.Context(), m.cfg) })
	if got := m.rules(t); got != theirs {
		t.Errorf("the rules are\n%s", got)
	}
}
