package dns_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	wire "github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/mainstay-gitops/mainstay/dataplane/dns"
	"github.com/mainstay-gitops/mainstay/dataplane/dns/server"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func newStore(t testing.TB) *store.Memory {
	t.Helper()
	k := store.Kinds{}
	k.Add(corev1.SchemeGroupVersion.WithKind("Service"), &corev1.Service{})
	k.Add(corev1.SchemeGroupVersion.WithKind("Namespace"), &corev1.Namespace{})
	k.Add(corev1.SchemeGroupVersion.WithKind("Pod"), &corev1.Pod{})
	k.Add(discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), &discoveryv1.EndpointSlice{})
	s, err := store.Open(store.NewVolatile(k), k, store.Options{Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t testing.TB, s *store.Memory, fn func(*store.Tx) error) store.Revision {
	t.Helper()
	r, err := s.Update(context.Background(), "test", fn)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// put makes objects those of their keys.
func put(t testing.TB, s *store.Memory, objects ...store.Object) store.Revision {
	t.Helper()
	return write(t, s, func(tx *store.Tx) error {
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
}

func config(t testing.TB, s store.Reader) dns.Config {
	return dns.Config{
		Store: s, Domain: "cluster.local", File: filepath.Join(t.TempDir(), "records"),
		Ranges: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("10.96.0.0/12")},
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Each file of testdata has objects, and the file of records that comes of them.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			story, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := string(txtar.Format(story))
			s := newStore(t)
			put(t, s, parse(t, story.Files[0].Data)...)
			cfg := config(t, s)
			if err := dns.New(cfg).Write(); err != nil {
				t.Fatal(err)
			}
			story.Files = []txtar.File{story.Files[0], {Name: "records", Data: []byte(read(t, cfg.File))}}
			got := string(txtar.Format(story))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got, `go test -update` rewrites):\n%s", d)
			}
		})
	}
}

func parse(t testing.TB, data []byte) (objects []store.Object) {
	t.Helper()
	for doc := range strings.SplitSeq(string(data), "---\n") {
		var o store.Object
		switch {
		case strings.Contains(doc, "kind: Service\n"):
			o = &corev1.Service{}
		case strings.Contains(doc, "kind: Namespace\n"):
			o = &corev1.Namespace{}
		case strings.Contains(doc, "kind: EndpointSlice\n"):
			o = &discoveryv1.EndpointSlice{}
		default:
			t.Fatalf("what is this? %s", doc)
		}
		if err := yaml.UnmarshalStrict([]byte(doc), o); err != nil {
			t.Fatalf("%v in:\n%s", err, doc)
		}
		objects = append(objects, o)
	}
	return objects
}

func newService(name, ip string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "hello", Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
}

func newSlice(svc string, ips ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "hello", Name: svc, Labels: map[string]string{discoveryv1.LabelServiceName: svc}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, ip := range ips {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{ip}})
	}
	return s
}

func TestTheFileIsWrittenOnlyWhenANameChanged(t *testing.T) {
	s := newStore(t)
	put(t, s, newService("web", "10.96.0.10"), newSlice("web", "10.244.0.5"))
	w := dns.New(config(t, s))
	if err := w.Write(); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		says   string
		change []store.Object
		write  bool
	}{
		{"nothing changes", nil, false},
		{"a pod comes", []store.Object{&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "hello", Name: "web-1"}}}, false},
		{"a service with an address gets another endpoint", []store.Object{newSlice("web", "10.244.0.5", "10.244.0.6")}, false},
		{"a service gets another address", []store.Object{newService("web", "10.96.0.11")}, true},
		{"a headless service comes", []store.Object{newService("db", corev1.ClusterIPNone)}, false},
		{"it gets an endpoint", []store.Object{newSlice("db", "10.244.0.7")}, true},
		{"a namespace comes", []store.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "hello"}}}, true},
	} {
		t.Run(row.says, func(t *testing.T) {
			put(t, s, row.change...)
			if got := w.Look(); got != row.write {
				t.Errorf("to be written: %v, want %v", got, row.write)
			}
			if err := w.Write(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestWhateverHappensTheFileEndsUpAsIfWrittenFromNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	s, err := store.Open(store.NewVolatile(newStore(t).Snapshot().Kinds()), newStore(t).Snapshot().Kinds(), store.Options{Keep: 20})
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t, s)
	w := dns.New(cfg)
	for range 300 {
		for range rng.IntN(8) {
			change(t, s, rng)
		}
		if w.Look() {
			if err := w.Write(); err != nil {
				t.Fatal(err)
			}
		}
		if rng.IntN(5) > 0 {
			continue
		}
		fresh := config(t, s)
		if err := dns.New(fresh).Write(); err != nil {
			t.Fatal(err)
		}
		if w.Look(); w.Write() != nil {
			t.Fatal("it cannot be written")
		}
		if d := cmp.Diff(read(t, fresh.File), read(t, cfg.File)); d != "" {
			t.Fatalf("from nothing and step by step differ (-nothing +steps):\n%s", d)
		}
	}
}

func change(t *testing.T, s *store.Memory, rng *rand.Rand) {
	name := fmt.Sprint("s", rng.IntN(5))
	switch rng.IntN(5) {
	case 0:
		put(t, s, newService(name, []string{"None", "10.96.0.1", "10.96.0.2", ""}[rng.IntN(4)]))
	case 1:
		put(t, s, newSlice(name, []string{"10.244.0.1", "10.244.0.2", "10.244.0.3"}[rng.IntN(3):]...))
	case 2:
		put(t, s, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	default:
		write(t, s, func(tx *store.Tx) error {
			for o := range tx.List(store.Query{}) {
				if rng.IntN(6) == 0 {
					return tx.Delete(tx.Key(o))
				}
			}
			return nil
		})
	}
}

func TestAWriteThatFailsLeavesTheFileAndIsTriedAgain(t *testing.T) {
	s := newStore(t)
	cfg := config(t, s)
	w := dns.New(cfg)
	if err := w.Write(); err != nil {
		t.Fatal(err)
	}
	before := read(t, cfg.File)
	put(t, s, newService("web", "10.96.0.10"))
	if err := os.Mkdir(cfg.File+".next", 0o700); err != nil { // where the next version is to be written
		t.Fatal(err)
	}
	if w.Look(); w.Write() == nil || read(t, cfg.File) != before || !w.Look() {
		t.Error("after a write that failed the file must be the old one, and still to be written")
	}
	if err := errors.Join(os.Remove(cfg.File+".next"), w.Write()); err != nil || read(t, cfg.File) == before {
		t.Errorf("it was not written: %v", err)
	}
}

func TestWhatIsInTheStoreIsAnsweredByTheServer(t *testing.T) {
	s := newStore(t)
	cfg := config(t, s)
	w := dns.New(cfg)
	udp, tcp, err := server.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- w.Run(ctx) }()
	go func() {
		done <- server.Run(ctx, server.Config{File: cfg.File, UDP: []net.PacketConn{udp}, TCP: []net.Listener{tcp}})
	}()
	defer func() { cancel(); <-done; <-done }()
	for i := range 20 {
		ip := fmt.Sprintf("10.96.0.%d", i+1)
		r := put(t, s, newService("web", ip))
		if err := w.Synced(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		m, _, err := (&wire.Client{Timeout: 5 * time.Second}).Exchange(new(wire.Msg).SetQuestion("web.hello.svc.cluster.local.", wire.TypeA), udp.LocalAddr().String())
		if err != nil || len(m.Answer) != 1 || m.Answer[0].(*wire.A).A.String() != ip {
			t.Fatalf("%v, %v, want %s", m, err, ip)
		}
	}
	r := put(t, s, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "hello", Name: "web-1"}})
	if err := w.Synced(t.Context(), r); err != nil {
		t.Error("a revision that changed no name:", err)
	}
}

// BenchmarkWrite changes one of 10,000 services and writes the file.
func BenchmarkWrite(b *testing.B) {
	s := newStore(b)
	var objects []store.Object
	for i := range 10_000 {
		objects = append(objects, newService(fmt.Sprint("web", i), fmt.Sprintf("10.96.%d.%d", i/250, i%250)))
	}
	put(b, s, slices.Clone(objects)...)
	w := dns.New(config(b, s))
	for i := 0; b.Loop(); i++ {
		put(b, s, newService("web77", fmt.Sprintf("10.97.0.%d", i%250)))
		if w.Look(); w.Write() != nil {
			b.Fatal("it cannot be written")
		}
	}
}
