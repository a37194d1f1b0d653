package bpf_test

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/dataplane/internal/kerneltest"
	"github.com/mainstay-gitops/mainstay/dataplane/podnet"
)

// A cluster is a node with a pod network, whose pods have services.
type cluster struct {
	*node
	net *podnet.Network
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	n := newNode(t)
	c := &cluster{node: n}
	cfg := podnet.Config{
		PodRange:     netip.MustParsePrefix("10.244.0.0/24"),
		ClusterRange: netip.MustParsePrefix("10.244.0.0/16"),
		ServiceRange: netip.MustParsePrefix("10.96.0.0/12"),
		Run:          n.cfg.Run,
		Namespaces:   n.Namespaces,
	}
	n.ns.Do(t, func() (err error) {
		c.net, err = podnet.Open(t.Context(), cfg)
		return err
	})
	t.Cleanup(c.net.Close)
	return c
}

func (c *cluster) pod(t testing.TB, uid types.UID) (*kerneltest.Netns, string) {
	t.Helper()
	ns := kerneltest.NewNetns(t)
	addr, err := c.net.Attach(t.Context(), podnet.Pod{UID: uid, NetNS: ns.Path()})
	if err != nil {
		t.Fatal(err)
	}
	return ns, addr.String()
}

func TestPodsAndTheNodeReachServicesOfPods(t *testing.T) {
	c, s := newCluster(t), newStore(t)
	l, _ := c.follow(t, s)
	client, _ := c.pod(t, "client")
	server, addr := c.pod(t, "server")
	server.Do(t, func() error { return serve(t, "tcp4", addr+":8080", "server") })
	set(t, s, newService("empty", "10.96.0.11"))
	if err := l.Synced(t.Context(), set(t, s, newService("web", "10.96.0.10"), newSlice("web", addr))); err != nil {
		t.Fatal(err)
	}
	for who, ns := range map[string]*kerneltest.Netns{"another pod": client, "the pod itself": server, "the node": c.ns} {
		t.Run(who, func(t *testing.T) {
			ns.Do(t, func() error { return asks("tcp4", "10.96.0.10:80", "server") })
			if err := ns.Try(func() error { return connectOnce("10.96.0.11:80") }); err != unix.ECONNREFUSED {
				t.Errorf("a service without endpoints: %v, want %v", err, unix.ECONNREFUSED)
			}
		})
	}
}

func TestSocketsOfAPodThatIsGoneAreLeftAlone(t *testing.T) {
	c := newCluster(t)
	pod, _ := c.pod(t, "pod")
	c.lead(t, "127.0.0.9:80/TCP")
	if err := pod.Try(func() error { return connectOnce("127.0.0.9:80") }); err != unix.ECONNREFUSED {
		t.Errorf("%v, want %v", err, unix.ECONNREFUSED)
	}
	pod.Do(t, func() error { return serve(t, "tcp4", "127.0.0.9:80", "its own") })
	if err := c.net.Detach(t.Context(), "pod"); err != nil {
		t.Fatal(err)
	}
	pod.Do(t, func() error { return asks("tcp4", "127.0.0.9:80", "its own") })
}
