package bpf_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/mainstay-gitops/mainstay/dataplane/bpf"
	"github.com/mainstay-gitops/mainstay/dataplane/internal/kerneltest"
	"github.com/mainstay-gitops/mainstay/dataplane/podnet"
	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/dataplane/target"
	"github.com/mainstay-gitops/mainstay/dataplane/target/targettest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// A node is a dataplane with one network namespace of its own, where its tests' servers and clients are.
type node struct {
	*bpf.Dataplane
	cfg bpf.Config
	ns  *kerneltest.Netns
	ids service.ID
}

func newNode(t testing.TB) *node {
	t.Helper()
	kerneltest.NeedRoot(t)
	n := &node{cfg: bpf.Config{Cgroup: kerneltest.Cgroup(t), Run: t.TempDir()}, ns: kerneltest.NewNetns(t)}
	t.Cleanup(func() {
		n.Close()
		if err := bpf.Remove(n.cfg); err != nil {
			t.Error(err)
		}
	})
	n.open(t)
	return n
}

// open opens the dataplane, again after Close.
func (n *node) open(t testing.TB) {
	t.Helper()
	d, err := bpf.Open(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Dataplane = d
	if err := d.Namespaces.Put(t.Context(), podnet.Cookie(n.ns.Cookie()), netip.MustParseAddr("10.244.0.1")); err != nil {
		t.Fatal(err)
	}
}

// lead lets a frontend such as "10.96.0.10:80/TCP" lead to addresses.
func (n *node) lead(t testing.TB, frontend string, to ...string) {
	t.Helper()
	n.ids++
	set := service.Set{ID: n.ids, Count: uint32(len(to))}
	for i, addr := range to {
		n.ids++
		put(t, n.Services.Backends, n.ids, service.Backend{AddrPort: netip.MustParseAddrPort(addr)})
		put(t, n.Services.Slots, service.Slot{Set: set.ID, Index: uint32(i)}, n.ids)
	}
	put(t, n.Services.Frontends, parseFrontend(frontend), set)
}

func parseFrontend(s string) service.Frontend {
	addr, protocol, _ := strings.Cut(s, "/")
	f := service.Frontend{AddrPort: netip.MustParseAddrPort(addr), Protocol: service.TCP}
	if protocol == "UDP" {
		f.Protocol = service.UDP
	}
	return f
}

func put[K target.Key[K], V comparable](t testing.TB, table target.Target[K, V], k K, v V) {
	t.Helper()
	if err := table.Put(t.Context(), k, v); err != nil {
		t.Fatal(err)
	}
}

func TestTheMapsAreTargets(t *testing.T) {
	n := newNode(t)
	addr := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, 0, byte(i)}), uint16(1000*i))
	}
	t.Run("frontends", func(t *testing.T) {
		targettest.Run(t, empty(n.Services.Frontends),
			func(i int) service.Frontend {
				return service.Frontend{AddrPort: addr(i / 2), Protocol: []service.Protocol{service.TCP, service.UDP}[i%2]}
			},
			func(i int) service.Set { return service.Set{ID: service.ID(i) << 33, Count: uint32(i)} })
	})
	t.Run("slots", func(t *testing.T) {
		targettest.Run(t, empty(n.Services.Slots),
			func(i int) service.Slot { return service.Slot{Set: service.ID(i/4) << 33, Index: uint32(i % 4)} },
			func(i int) service.ID { return service.ID(i) })
	})
	t.Run("backends", func(t *testing.T) {
		targettest.Run(t, empty(n.Services.Backends),
			func(i int) service.ID { return service.ID(i) },
			func(i int) service.Backend { return service.Backend{AddrPort: addr(i / 2), Terminating: i%2 == 0} })
	})
	t.Run("namespaces", func(t *testing.T) {
		targettest.Run(t, empty(n.Namespaces),
			func(i int) podnet.Cookie { return podnet.Cookie(i) },
			func(i int) netip.Addr { return addr(i).Addr() })
	})
}

// empty hands out one table again and again, emptied.
func empty[K target.Key[K], V comparable](table target.Target[K, V]) func(*testing.T) target.Target[K, V] {
	return func(t *testing.T) target.Target[K, V] {
		if err := target.Sync(t.Context(), table, nil); err != nil {
			t.Fatal(err)
		}
		return table
	}
}

func TestWhatIsPinnedIsTakenOverWithItsRows(t *testing.T) {
	n := newNode(t)
	n.serve(t, "tcp4", "127.0.0.1:8080", "a")
	n.lead(t, "10.96.0.10:80/TCP", "127.0.0.1:8080")
	for range 3 {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		n.asks(t, "tcp4", "10.96.0.10:80", "a") // nobody has it open
		n.open(t)
		n.asks(t, "tcp4", "10.96.0.10:80", "a")
		rows, err := service.Read(t.Context(), n.Services)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := rows.Resolved(), "10.96.0.10:80/TCP: 127.0.0.1:8080\n"; got != want {
			t.Errorf("the tables lead %q, want %q", got, want)
		}
		n.attachedOnce(t)
	}
}

// attachedOnce checks that each of our programs is at the node's cgroup, once.
func (n *node) attachedOnce(t *testing.T) {
	t.Helper()
	for name, ids := range attached(t, n.cfg.Cgroup) {
		if len(ids) != 1 {
			t.Errorf("%s is attached %d times", name, len(ids))
		}
	}
}

// attached are the programs at the hooks that are ours, by the name of the hook.
func attached(t *testing.T, cgroup string) map[string][]link.AttachedProgram {
	t.Helper()
	f, err := os.Open(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := map[string][]link.AttachedProgram{}
	for name, at := range map[string]ebpf.AttachType{
		"connect4": ebpf.AttachCGroupInet4Connect, "connect6": ebpf.AttachCGroupInet6Connect,
		"sendmsg4": ebpf.AttachCGroupUDP4Sendmsg, "sendmsg6": ebpf.AttachCGroupUDP6Sendmsg,
		"recvmsg4": ebpf.AttachCGroupUDP4Recvmsg, "recvmsg6": ebpf.AttachCGroupUDP6Recvmsg,
		"getpeername4": ebpf.AttachCgroupInet4GetPeername, "getpeername6": ebpf.AttachCgroupInet6GetPeername,
	} {
		r, err := link.QueryPrograms(link.QueryOptions{Target: int(f.Fd()), Attach: at})
		if err != nil {
			t.Fatal(err)
		}
		found[name] = r.Programs
	}
	return found
}

func TestRemoveLeavesNothing(t *testing.T) {
	n := newNode(t)
	n.lead(t, "10.96.0.10:80/TCP")
	if err := bpf.Remove(n.cfg); err == nil || !strings.Contains(err.Error(), "another process has the dataplane") {
		t.Errorf("removed while it is open: %v", err)
	}
	n.Close()
	for range 2 {
		if err := bpf.Remove(n.cfg); err != nil {
			t.Fatal(err)
		}
	}
	for name, programs := range attached(t, n.cfg.Cgroup) {
		if len(programs) > 0 {
			t.Errorf("%s is still attached", name)
		}
	}
	if left, _ := os.ReadDir(n.cfg.Run); len(left) > 0 {
		t.Errorf("left in the run folder: %v", left)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), n.cfg.Run) {
		t.Error("a mount is left")
	}
}

func TestWhatANewerVersionHasPinnedIsRefusedByName(t *testing.T) {
	n := newNode(t)
	n.Close()
	if err := os.Mkdir(filepath.Join(n.cfg.Run, "bpf", "v7"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := bpf.Open(n.cfg)
	if err == nil || !strings.Contains(err.Error(), "its format is 7") {
		t.Errorf("opened with %v", err)
	}
}

func TestOnlyOneCanHaveItOpen(t *testing.T) {
	n := newNode(t)
	if _, err := bpf.Open(n.cfg); err == nil || !strings.Contains(err.Error(), "another process has the dataplane of this node open") {
		t.Errorf("opened twice, with %v", err)
	}
}

func TestALinkThatEndedIsMadeAnew(t *testing.T) {
	n := newNode(t)
	n.serve(t, "tcp4", "127.0.0.1:8080", "a")
	n.lead(t, "10.96.0.10:80/TCP", "127.0.0.1:8080")
	n.Close()
	pin := filepath.Join(n.cfg.Run, "bpf", "v1", "links", "connect4")
	l, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Detach(), l.Close()); err != nil {
		t.Fatal(err)
	}
	n.open(t)
	n.asks(t, "tcp4", "10.96.0.10:80", "a")
	n.attachedOnce(t)
}

func TestAnotherCgroupIsAttachedToInPlaceOfTheOld(t *testing.T) {
	n := newNode(t)
	n.Close()
	old := n.cfg.Cgroup
	n.cfg.Cgroup = kerneltest.OtherCgroup(t)
	n.open(t)
	n.attachedOnce(t)
	for name, programs := range attached(t, old) {
		if len(programs) > 0 {
			t.Errorf("%s is still at the old cgroup", name)
		}
	}
}

func TestProgramsWhosePinsWereLostAreDetached(t *testing.T) {
	lost := newNode(t)
	here, err := podnet.CookieHere()
	if err != nil {
		t.Fatal(err)
	}
	if err := lost.Namespaces.Put(t.Context(), here, netip.MustParseAddr("10.244.0.1")); err != nil {
		t.Fatal(err)
	}
	lost.Close()
	n := newNode(t) // at the same cgroup, with another run folder
	n.attachedOnce(t)
	n.serve(t, "tcp4", "127.0.0.1:8080", "a")
	n.lead(t, "10.96.0.10:80/TCP", "127.0.0.1:8080")
	n.asks(t, "tcp4", "10.96.0.10:80", "a")
}

func TestNodesThatShareACgroupLeaveEachOtherAlone(t *testing.T) {
	for _, port := range []string{"8080", "8081"} {
		n := newNode(t)
		defer func() {
			n.serve(t, "tcp4", "127.0.0.1:"+port, port)
			n.lead(t, "10.96.0.10:80/TCP", "127.0.0.1:"+port)
			n.asks(t, "tcp4", "10.96.0.10:80", port)
		}()
	}
}

func TestAFullTableSaysSo(t *testing.T) {
	n := newNode(t)
	var err error
	for i := 0; err == nil && i < 1<<20; i++ {
		err = n.Namespaces.Put(t.Context(), podnet.Cookie(i+1e9), netip.MustParseAddr("10.244.0.9"))
	}
	if err == nil || !strings.Contains(err.Error(), "holds 4096 rows and has no room for more") {
		t.Errorf("%v", err)
	}
}

func TestGraceReturns(t *testing.T) {
	n := newNode(t)
	for range 3 {
		if err := n.Grace(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
