package podnet_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/dataplane/internal/kerneltest"
	"github.com/mainstay-gitops/mainstay/dataplane/podnet"
)

// devices are the names of the machine's network devices.
func (m *machine) devices(t testing.TB) (names []string) {
	t.Helper()
	m.ns.Do(t, func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			names = append(names, l.Attrs().Name)
		}
		return err
	})
	slices.Sort(names)
	return names
}

// everything that Open and Attach may change, as text.
func (m *machine) everything(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintln(&b, m.devices(t))
	m.ns.Do(t, func() error {
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
		for _, r := range routes {
			fmt.Fprintln(&b, r)
		}
		forward, _ := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
		fmt.Fprintf(&b, "forward %s", forward)
		return err
	})
	return b.String() + m.rules(t)
}

// rules are the machine's, as nft shows them.
func (m *machine) rules(t testing.TB) (rules string) {
	t.Helper()
	m.ns.Do(t, func() error {
		out, err := exec.Command("nft", "list", "ruleset").Output()
		rules = string(out)
		return err
	})
	return rules
}

func nft(script string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// BenchmarkAttach attaches a pod, and detaches it.
func BenchmarkAttach(b *testing.B) {
	m := newMachine(b)
	ns := kerneltest.NewNetns(b)
	pod := podnet.Pod{UID: "a", NetNS: ns.Path()}
	for b.Loop() {
		if _, err := m.Attach(b.Context(), pod); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := m.Detach(b.Context(), pod.UID); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkAttachFifty attaches fifty pods with two workers.
func BenchmarkAttachFifty(b *testing.B) {
	m := newMachine(b)
	for b.Loop() {
		b.StopTimer()
		work := make(chan podnet.Pod, 50)
		for i := range 50 {
			work <- podnet.Pod{UID: types.UID(fmt.Sprint(i)), NetNS: kerneltest.NewNetns(b).Path()}
		}
		close(work)
		b.StartTimer()
		done := make(chan error, 2)
		for range 2 {
			go func() {
				var err error
				for pod := range work {
					if _, e := m.Attach(b.Context(), pod); e != nil {
						err = e
					}
				}
				done <- err
			}()
		}
		for range 2 {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		if err := m.Prune(b.Context(), func(types.UID) bool { return false }); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkOpen opens a network that is there already, with thirty pods.
func BenchmarkOpen(b *testing.B) {
	m := newMachine(b)
	for i := range 30 {
		m.attach(b, types.UID(fmt.Sprint(i)))
	}
	for b.Loop() {
		m.Close()
		m.open(b)
	}
}
