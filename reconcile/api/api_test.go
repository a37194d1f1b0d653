package api

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/access/policy"
	"github.com/mainstay-gitops/mainstay/reconcile/access/rbac"
	"github.com/mainstay-gitops/mainstay/reconcile/api/registry"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/openapi"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// cluster is an API that is served on loopback, over a store in memory that finds who writes to what it shares.
type cluster struct {
	*Server
	Memory *store.Memory
	Kinds  *scheme.Scheme
	URL    string
	stop   func() // ends Run, and waits for it; may be called more than once
}

type clusterOption func(*Config, *store.Options)

func serve(t testing.TB, opts ...clusterOption) *cluster {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Scheme: scheme.New(scheme.Options{}), Documents: openapi.New(), Listeners: []net.Listener{l},
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}
	if c.Authority, err = access.LoadAuthority(t.TempDir(), time.Now()); err != nil {
		t.Fatal(err)
	}
	so := store.Options{Guard: true, Indexes: []store.Index{rbac.Index()}}
	for _, o := range opts {
		o(&c, &so)
	}
	memory, err := store.Open(store.NewVolatile(c.Scheme.Stored), c.Scheme.Stored, so)
	if err != nil {
		t.Fatal(err)
	}
	c.Store = memory
	server, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() {
		stop()
		if err := memory.Close(); err != nil {
			t.Error(err)
		}
	})
	cl := &cluster{Server: server, Memory: memory, Kinds: c.Scheme, URL: "https://" + l.Addr().String(), stop: stop}
	cl.namespace(t, "default")
	cl.builtIn(t)
	return cl
}

func withLogs(l registry.Logs) clusterOption { return func(c *Config, _ *store.Options) { c.Logs = l } }

// builtIn writes the roles and bindings that every cluster has.
func (c *cluster) builtIn(t testing.TB) {
	t.Helper()
	world := control.World{Snapshot: c.Memory.Snapshot(), Now: time.Now(), Rand: rand.New(rand.NewPCG(1, 2))}
	for _, by := range []control.Controller{policy.Defaults{}, policy.Aggregation{}, policy.Aggregation{}, policy.Aggregation{}} {
		world.Snapshot = c.Memory.Snapshot()
		p, err := by.Plan(world, store.Key{})
		if err != nil {
			t.Fatal(err)
		}
		carry := func(tx *store.Tx) error { return control.NewCarrier(c.Kinds).Carry(tx, world, by.Name(), p) }
		if _, err := c.Memory.Update(context.Background(), "begin", carry); err != nil {
			t.Fatal(err)
		}
	}
}

// namespace makes an active namespace.
func (c *cluster) namespace(t testing.TB, name string) {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	c.Kinds.Of(n).PrepareCreate(n, "uid-"+"1", time.Now())
	if _, err := c.Memory.Update(context.Background(), "begin", func(tx *store.Tx) error { return tx.Create(n) }); err != nil {
		t.Fatal(err)
	}
}

// config is that of a client who is user, in groups.
func (c *cluster) config(t testing.TB, user string, groups ...string) *rest.Config {
	t.Helper()
	certificate, key, err := c.Authority.Client(user, groups, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &rest.Config{Host: c.URL, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: c.Authority.PEM(), CertData: certificate, KeyData: key}}
}

// admin is the config of one who may do anything.
func (c *cluster) admin(t testing.TB) *rest.Config {
	return c.config(t, access.Admin, "system:masters")
}

// client speaks protobuf, which kubectl does not.
func (c *cluster) client(t testing.TB) *kubernetes.Clientset {
	t.Helper()
	config := c.admin(t)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	k, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// kubeconfig writes one for the administrator and returns its path.
func (c *cluster) kubeconfig(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := c.Authority.Kubeconfig(path, c.URL, time.Now()); err != nil {
		t.Fatal(err)
	}
	return path
}
