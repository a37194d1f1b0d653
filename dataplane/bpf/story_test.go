package bpf_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/dataplane/bpf"
	"github.com/mainstay-gitops/mainstay/dataplane/internal/kerneltest"
	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func newStore(t testing.TB) *store.Memory {
	t.Helper()
	kinds := store.Kinds{}
	kinds.Add(corev1.SchemeGroupVersion.WithKind("Service"), &corev1.Service{})
	kinds.Add(discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), &discoveryv1.EndpointSlice{})
	s, err := store.Open(store.NewVolatile(kinds), kinds, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// set makes o the object of its key.
func set(t testing.TB, s *store.Memory, objects ...store.Object) store.Revision {
	t.Helper()
	r, err := s.Update(context.Background(), "test", func(tx *store.Tx) error {
		for _, o := range objects {
			write := tx.Create
			if _, ok := tx.Get(tx.Key(o)); ok {
				write = tx.Update
			}
			if err := write(o); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newService(name, ip string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "hello", Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

// newSlice has endpoints at port 8080 of ips.
func newSlice(svc string, ips ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "hello", Name: svc, Labels: map[string]string{discoveryv1.LabelServiceName: svc}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: new(int32(8080))}},
	}
	for _, ip := range ips {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{ip}})
	}
	return s
}

// follow runs a loop from s to the node's tables until the test ends, or stop is called.
func (n *node) follow(t testing.TB, s store.Reader) (l *service.Loop, stop func()) {
	t.Helper()
	l, err := service.New(t.Context(), service.Config{Store: s, Node: "mine", Tables: n.Services, Grace: n.Grace})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return l, stop
}

// hammer connects again and again from the node's namespace, and returns how often, and how often in vain.
func (n *node) hammer(t testing.TB, addr string) (stop func() (connects, failed int64)) {
	t.Helper()
	var end atomic.Bool
	var connects, failed int64
	done := make(chan error, 1)
	go func() {
		done <- n.ns.Try(func() error {
			for !end.Load() {
				connects++
				if err := connectOnce(addr); err != nil {
					failed++
				}
			}
			return nil
		})
	}()
	return func() (int64, int64) {
		end.Store(true)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return connects, failed
	}
}

// connectOnce connects over TCP and resets the connection, so that none is left waiting.
func connectOnce(addr string) error {
	s, err := newSock(unix.AF_INET, unix.SOCK_STREAM)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := unix.SetsockoptLinger(int(s), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	return unix.Connect(int(s), to(unix.AF_INET, addr))
}

// serveTCP accepts connections at addresses in the node's namespace, and nothing else.
func (n *node) serveTCP(t testing.TB, addrs ...string) {
	t.Helper()
	for _, addr := range addrs {
		n.serve(t, "tcp4", addr, "")
	}
}

func TestAServiceInTheStoreIsServedByTheKernel(t *testing.T) {
	n, s := newNode(t), newStore(t)
	n.serve(t, "tcp4", "127.0.0.1:8080", "a")
	n.serve(t, "tcp4", "127.0.0.2:8080", "b")
	l, _ := n.follow(t, s)
	synced := func(r store.Revision) {
		t.Helper()
		if err := l.Synced(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	refused := func() {
		t.Helper()
		if err := n.ns.Try(func() error { return connectOnce("10.96.0.10:80") }); err != unix.ECONNREFUSED {
			t.Errorf("%v, want %v", err, unix.ECONNREFUSED)
		}
	}
	synced(set(t, s, newService("web", "10.96.0.10")))
	refused()
	synced(set(t, s, newSlice("web", "127.0.0.1")))
	n.asks(t, "tcp4", "10.96.0.10:80", "a")
	set(t, s, newSlice("web", "127.0.0.2"))
	if err := l.Withdrawn(t.Context(), netip.MustParseAddr("127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		n.asks(t, "tcp4", "10.96.0.10:80", "b")
	}
	synced(set(t, s, newSlice("web")))
	refused()
}

func TestNoConnectFailsWhileTheSetIsReplacedAgainAndAgain(t *testing.T) {
	n, s := newNode(t), newStore(t)
	ips := []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"}
	for _, ip := range ips {
		n.serveTCP(t, ip+":8080")
	}
	l, _ := n.follow(t, s)
	if err := l.Synced(t.Context(), set(t, s, newService("web", "10.96.0.10"), newSlice("web", ips...))); err != nil {
		t.Fatal(err)
	}
	stop := n.hammer(t, "10.96.0.10:80")
	const updates = 5000
	var last store.Revision
	for i := range updates {
		some := append(append([]string{}, ips[i%4:]...), ips[:i%4]...)[:[]int{4, 1, 3, 2}[i%4]]
		last = set(t, s, newSlice("web", some...))
		if i%10 == 0 {
			if err := l.Synced(t.Context(), last); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Synced(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	connects, failed := stop()
	t.Logf("%d updates of the store, %d connects, %d failed", updates, connects, failed)
	if failed > 0 || connects < 100 {
		t.Errorf("%d of %d connects failed", failed, connects)
	}
	kerneltest.Eventually(t, "only one set is left", func() bool {
		rows, err := service.Read(t.Context(), n.Services)
		return err == nil && len(rows.Slots) == 2 && len(rows.Backends) == 2
	})
}

func TestNoConnectFailsWhileTheOwnerIsKilledAndTheNextOneTakesOver(t *testing.T) {
	if run := os.Getenv(asOwner); run != "" {
		own(t, bpf.Config{Cgroup: kerneltest.Cgroup(t), Run: run})
		return
	}
	n, s := newNode(t), newStore(t)
	n.serveTCP(t, "127.0.0.1:8080", "127.0.0.2:8080")
	l, stopLoop := n.follow(t, s)
	if err := l.Synced(t.Context(), set(t, s, newService("web", "10.96.0.10"), newSlice("web", "127.0.0.1", "127.0.0.2"))); err != nil {
		t.Fatal(err)
	}
	stopLoop()
	n.Close()
	stop := n.hammer(t, "10.96.0.10:80")
	for range 8 {
		owner := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
		owner.Env = append(os.Environ(), asOwner+"="+n.cfg.Run)
		owner.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := owner.StdoutPipe()
		if err == nil {
			err = owner.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 5)
		if _, err := out.Read(line); err != nil || string(line) != "owner" {
			t.Errorf("the owner said %q, %v", line, err)
		}
		owner.Process.Kill()
		owner.Wait()
	}
	connects, failed := stop()
	t.Logf("%d connects, %d failed", connects, failed)
	if failed > 0 || connects < 100 {
		t.Errorf("%d of %d connects failed", failed, connects)
	}
	n.open(t)
	n.attachedOnce(t)
}

const asOwner = "MAINSTAY_TEST_OWNER"

// own opens the dataplane, lets the service flip between two sets, says so, and goes on until it is killed.
func own(t *testing.T, cfg bpf.Config) {
	d, err := bpf.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := newStore(t)
	set(t, s, newService("web", "10.96.0.10"), newSlice("web", "127.0.0.1", "127.0.0.2"))
	l, _ := (&node{Dataplane: d, cfg: cfg}).follow(t, s)
	for i := 0; ; i++ {
		r := set(t, s, newSlice("web", []string{"127.0.0.1", "127.0.0.2"}[i%2]))
		if err := l.Synced(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if i == 20 {
			fmt.Println("owner")
		}
	}
}

func TestAThousandServicesComeAndGoAndLeaveNothing(t *testing.T) {
	n, s := newNode(t), newStore(t)
	var objects []store.Object
	for i := range 1000 {
		name := fmt.Sprint("web", i)
		objects = append(objects, newService(name, fmt.Sprintf("10.96.%d.%d", 1+i/250, 1+i%250)), newSlice(name, "10.244.0.5", "10.244.0.6"))
	}
	l, _ := n.follow(t, s)
	if err := l.Synced(t.Context(), set(t, s, objects...)); err != nil {
		t.Fatal(err)
	}
	rows, err := service.Read(t.Context(), n.Services)
	if err != nil || len(rows.Frontends) != 1000 || len(rows.Slots) != 2000 || len(rows.Backends) != 2000 {
		t.Errorf("%d frontends, %d slots, %d backends, %v", len(rows.Frontends), len(rows.Slots), len(rows.Backends), err)
	}
	if missing := strings.Count(rows.Resolved(), "no backend"); missing > 0 {
		t.Errorf("%d slots lead nowhere", missing)
	}
	if _, err := s.Update(t.Context(), "test", func(tx *store.Tx) error {
		for _, o := range objects {
			if err := tx.Delete(tx.Key(o)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := l.Withdrawn(t.Context(), netip.MustParseAddr("10.244.0.5")); err != nil {
		t.Fatal(err)
	}
	kerneltest.Eventually(t, "the tables are empty", func() bool {
		rows, err := service.Read(t.Context(), n.Services)
		return err == nil && rows.String() == ""
	})
}
