package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/gitsource/receive"
	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/gitsource/trigger"
	"github.com/mainstay-gitops/mainstay/nodes/agent"
	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/access/policy"
	"github.com/mainstay-gitops/mainstay/reconcile/access/rbac"
	"github.com/mainstay-gitops/mainstay/reconcile/access/signing"
	"github.com/mainstay-gitops/mainstay/reconcile/api"
	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/autoscale"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/delivery"
	"github.com/mainstay-gitops/mainstay/reconcile/disruption"
	"github.com/mainstay-gitops/mainstay/reconcile/lifecycle"
	"github.com/mainstay-gitops/mainstay/reconcile/network"
	"github.com/mainstay-gitops/mainstay/reconcile/patch"
	"github.com/mainstay-gitops/mainstay/reconcile/schedule"
	"github.com/mainstay-gitops/mainstay/reconcile/schedule/plugin"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/storage"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/disk"
	"github.com/mainstay-gitops/mainstay/reconcile/store/seal"
	"github.com/mainstay-gitops/mainstay/reconcile/workload"
)

// A house is all of Mainstay on one machine: every part built, and introduced to its neighbours. What is below is the only
// place that knows them all.
type house struct {
	o         *upOptions
	log       *slog.Logger
	endpoints endpoints
	objects   int
	revision  store.Revision
	nodeRange netip.Prefix

	control *controlPlane
	node    *node
	runs    []func(context.Context) error
	closers []func() error
}

// controlPlane is the reconcile floor, and the Git floor below it.
type controlPlane struct {
	scheme    *scheme.Scheme
	store     *store.Memory
	codec     seal.Codec // of what is kept
	backend   timed
	addresses network.Addresses // of services, given inside the transaction that writes them
	applier   *apply.Applier
	carrier   *control.Carrier
	hosted    *repo.Hosted
	authority *access.Authority
	issuer    *access.Issuer
	delivery  *delivery.Delivery
}

func (c *controlPlane) uid() types.UID {
	return control.UID(mathrand.New(mathrand.NewPCG(mathrand.Uint64(), mathrand.Uint64())))
}

func (h *house) runner(run func(context.Context) error) { h.runs = append(h.runs, run) }
func (h *house) closer(c func() error)                  { h.closers = append(h.closers, c) }

// build makes all parts, in the order in which they need each other. What it returns is to be closed even if it fails.
func build(ctx context.Context, o *upOptions, log *slog.Logger) (*house, error) {
	h := &house{o: o, log: log, nodeRange: netip.PrefixFrom(o.podRange.Masked().Addr(), 24)}
	if err := errors.Join(o.wholeData(), disk.MakeRoom(o.under("store"))); err != nil {
		return h, err
	}
	n, err := prepareNode(o, log)
	if err != nil {
		return h, err
	}
	h.node = n
	var g errgroup.Group
	g.Go(func() error { return n.startContainerd(ctx) })
	g.Go(func() (err error) { h.control, err = openControlPlane(o, log); return err })
	err = g.Wait()
	if h.control != nil {
		h.closer(h.control.store.Close)
		h.closer(h.control.hosted.Close)
	}
	h.closer(n.close)
	if err != nil {
		return h, err
	}
	s := h.control.store.Snapshot()
	h.revision = s.Revision()
	for _, k := range s.Stored() {
		h.objects += s.Len(k)
	}
	if err := n.open(ctx, h.control.store, h.nodeRange, &agent.Local{Store: h.control.store, UID: h.control.uid, Now: time.Now}, h.control.issuer); err != nil {
		return h, err
	}
	if err := h.serve(ctx); err != nil {
		return h, err
	}
	h.runner(trimMemory)
	h.runner(h.control.backend.Run)
	h.runner(h.sealSecrets)
	h.runner((&daily{h.backups(), h.control.backend.HasRoom, log}).Run)
	h.work()
	n.followManifests(o.manifestFolder(h.control.scheme), h.runner)
	n.runners(h.runner)
	return h, firstSource(ctx, h.control.store, h.control, o)
}

// openControlPlane opens what lasts.
func openControlPlane(o *upOptions, log *slog.Logger) (*controlPlane, error) {
	c := &controlPlane{scheme: scheme.New(scheme.Options{Unsupported: unsupported, UnsupportedService: service.Unsupported})}
	patcher, err := patch.New(c.scheme)
	if err != nil {
		return nil, err
	}
	c.addresses = network.Addresses{Range: o.serviceRange}
	c.applier = apply.New(c.scheme, patcher, c.addresses.Give)
	c.carrier = control.NewCarrier(c.scheme)
	if c.authority, err = access.LoadAuthority(o.under("pki"), time.Now()); err != nil {
		return nil, err
	}
	if c.issuer, err = access.LoadIssuer(o.under("pki"), time.Now); err != nil {
		return nil, err
	}
	if c.codec, err = o.codec(c.scheme, seal.Load); err != nil {
		return nil, err
	}
	backend, err := disk.Open(o.under("store"), c.codec, disk.Options{AcceptLoss: o.acceptLoss, Reserve: o.reserved, Log: log})
	if err != nil {
		return nil, withSnapshot(o.place, err)
	}
	c.backend = newTimed(backend)
	if c.store, err = store.Open(c.backend, c.scheme.Stored, store.Options{Indexes: []store.Index{apply.Index(), network.Index(), rbac.Index()}}); err != nil {
		return nil, errors.Join(withSnapshot(o.place, err), c.backend.Close())
	}
	if c.hosted, err = repo.OpenHosted(o.under("repositories")); err != nil {
		return nil, errors.Join(err, c.store.Close())
	}
	c.delivery = delivery.New(delivery.Config{
		Store: c.store, Scheme: c.scheme, Applier: c.applier, Carrier: c.carrier, Hosted: c.hosted,
		Mirrors: o.under("mirrors"), Watch: watchFiles, Log: log,
	})
	return c, nil
}

// unsupported is what pods may not ask for yet.
func unsupported(spec *corev1.PodSpec) field.ErrorList {
	return append(pod.Unsupported(spec), schedule.Unsupported(spec)...)
}

// watchFiles looks whenever a local folder changes, or a local repository moves a branch.
func watchFiles(ctx context.Context, path string, changed func()) error {
	for _, git := range []string{filepath.Join(path, ".git"), path} {
		if _, err := os.Stat(filepath.Join(git, "HEAD")); err == nil {
			return trigger.Repository(git, changed).Run(ctx)
		}
	}
	return trigger.Folder(path, changed).Run(ctx)
}

// keys are what controllers sign with. The certificate of the API is signed by the authority.
type keys struct {
	authority *access.Authority
	issuer    *access.Issuer
}

// controllers are all that there are, from began on. used is what autoscalers go by. services is the range of their addresses, of which the service kubernetes has
// the first; api is where that leads.
func controllers(s *scheme.Scheme, used autoscale.Usage, began time.Time, services netip.Prefix, api netip.AddrPort, k keys) []control.Controller {
	ca := k.authority.PEM()
	return []control.Controller{
		lifecycle.System{ServiceAddress: services.Masked().Addr().Next(), API: api}, policy.Defaults{}, policy.Aggregation{},
		signing.Requests{Authority: k.authority}, signing.TokenSecrets{Issuer: k.issuer, CA: ca},
		lifecycle.APIServices{CA: ca, Served: slices.Concat(s.Groups()...)}, lifecycle.Accounts{CA: ca}, lifecycle.Namespaces{}, lifecycle.Garbage{},
		lifecycle.Nodes{Began: began}, lifecycle.TaintEviction{}, lifecycle.Quotas{},
		workload.Deployment{}, workload.ReplicaSet{},
		workload.Job{}, workload.FinishedJobs{}, workload.CronJob{}, disruption.Budgets{Scheme: s}, autoscale.Autoscaler{Scheme: s, Usage: used},
		network.Endpoints{}, network.LegacyEndpoints{}, network.Mirror{}, network.Given{Range: services},
		workload.ReplicationController{}, workload.DaemonSet{}, workload.StatefulSet{},
		storage.Class{}, storage.Claims{}, storage.Volumes{}, storage.Ephemeral{},
	}
}

func (h *house) measured() measured { return measured{h.node.meter, h.o.node, h.control.store} }

// work starts what turns wishes into work.
func (h *house) work() {
	c, opts := h.control, control.Options{Log: h.log}
	samples := &sampler{measured: h.measured(), log: h.log}
	h.runner(samples.Run)
	all := controllers(c.scheme, samples, time.Now(), h.o.serviceRange, netip.AddrPortFrom(h.node.gateway(), apiPort), keys{c.authority, c.issuer})
	h.runner(control.NewEngine(c.store, c.carrier, opts, all...).Run)
	h.runner(schedule.New(c.store, c.carrier, plugin.Default(), opts).Run)
	h.runner(c.delivery.Run)
}

// apiPort is where pods reach the API on the gateway: an address that is only ours, so the port is free.
const apiPort = 6443

// serve opens the API and the push server.
func (h *house) serve(ctx context.Context) error {
	o, c := h.o, h.control
	local, err := net.Listen("tcp", o.api)
	if err != nil {
		return fmt.Errorf("serve the API: %w (choose another address with --api)", err)
	}
	h.closer(local.Close)
	inside, err := net.Listen("tcp", netip.AddrPortFrom(h.node.gateway(), apiPort).String())
	if err != nil {
		return fmt.Errorf("serve the API to pods: %w", err)
	}
	h.closer(inside.Close)
	others, err := o.openID.Authenticators(ctx)
	if err != nil {
		return err
	}
	server, err := api.New(api.Config{
		Others: others,
		Scheme: c.scheme, Store: c.store, Authority: c.authority, Issuer: c.issuer, Documents: c.scheme.OpenAPI, Assign: c.addresses.Give, Owned: apply.BroughtBy,
		Logs: h.node.agent, Streams: containers{h.node.agent}, Usage: h.measured(), Node: h.node.answering(c.store),
		Listeners: []net.Listener{local, inside}, Handlers: map[string]http.Handler{backupPath: h.backups().handler(h.log), rotatePath: rotateHandler(c)}, Version: version, Log: h.log, Now: time.Now,
		Metrics: c.backend.metrics(), Audit: api.Audit{Log: o.auditLog, Policy: o.auditPolicy},
		Hosts: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", o.serviceRange.Masked().Addr().Next().String()},
	})
	if err != nil {
		return err
	}
	h.runner(server.Run)
	if err := h.serveGit(); err != nil {
		return err
	}
	h.endpoints.PID, h.endpoints.Version, h.endpoints.Node, h.endpoints.Containerd, h.endpoints.Registries = os.Getpid(), version, o.node, o.containerd, o.registries
	h.endpoints.Build = buildID()
	h.endpoints.API = "https://" + local.Addr().String()
	if err := c.authority.Kubeconfig(o.kubeconfig(), h.endpoints.API, time.Now()); err != nil {
		return err
	}
	h.runner(func(ctx context.Context) error {
		return keepKubeconfig(ctx, c.authority, o.kubeconfig(), h.endpoints.API, h.log)
	})
	return o.writeEndpoints(h.endpoints)
}

func (h *house) backups() *backups {
	return &backups{h.o.place, h.control.codec, h.control.store, h.control.hosted, h.o.node}
}

// serveGit opens the push server, with the webhooks and plans beside it.
func (h *house) serveGit() error {
	token, err := ensureToken(h.o.token())
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", h.o.git)
	if err != nil {
		return fmt.Errorf("serve Git: %w (choose another address with --git)", err)
	}
	d := h.control.delivery
	pushes := receive.New(receive.Options{Repositories: h.control.hosted, Access: receive.Token(token), Hooks: delivery.Pushes{Delivery: d}, Log: h.log})
	mux := http.NewServeMux()
	mux.Handle("/hooks/", http.StripPrefix("/hooks", &trigger.Webhooks{Secrets: d, Look: d.Look}))
	mux.Handle(planPath, authenticated(receive.Token(token), planHandler(d)))
	mux.Handle(historyPath, authenticated(receive.Token(token), historyHandler(d)))
	mux.Handle(shutdownPath, authenticated(receive.Token(token), shutdownHandler(h.node.agent)))
	mux.Handle("/", pushes)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(h.log.Handler(), slog.LevelDebug)}
	h.endpoints.Git = "http://" + l.Addr().String()
	h.runner(func(ctx context.Context) error { return serveHTTP(ctx, server, l) })
	h.runner(pushes.Run)
	h.closer(l.Close)
	return nil
}

// serveHTTP serves until ctx ends, and then gives those who are connected a moment.
func serveHTTP(ctx context.Context, server *http.Server, l net.Listener) error {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	server.BaseContext = func(net.Listener) context.Context { return base }
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	cancel() // a push that is being shown ends; what it pushed is applied all the same
	late, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer stop()
	if server.Shutdown(late) != nil {
		server.Close()
	}
	return nil
}

// authenticated lets in who has the token.
func authenticated(who receive.Token, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, token, _ := r.BasicAuth()
		if _, ok := who.Login(r.Context(), user, token); !ok {
			http.Error(w, "a token is needed", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ensureToken reads the token of the push server, or makes one.
func ensureToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(b) > 0 {
		return string(b), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	token := rand.Text()
	return token, replaceFile(path, []byte(token), 0o600)
}

// run runs all parts until ctx ends or one of them fails.
func (h *house) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range h.runs {
		g.Go(func() error {
			err := run(ctx)
			if ctx.Err() != nil {
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

var nodeKind = schema.GroupKind{Kind: "Node"}

// nodeReady tells whether a node says that it is ready.
func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// awaitReady returns when this node is ready; false if ctx ended before.
func (h *house) awaitReady(ctx context.Context) bool {
	st := h.control.store
	for {
		s := st.Snapshot()
		if n, ok := store.Get[*corev1.Node](s, "", h.o.node); ok && nodeReady(n) {
			return true
		}
		b, err := st.Since(s.Revision(), store.Select(nodeKind))
		if err != nil {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-b.More:
		}
	}
}

// running counts the pods of this node that have not ended.
func (h *house) running() int {
	n := 0
	for range store.List[*corev1.Pod](h.control.store.Snapshot(), store.OnNode(h.o.node), store.Active) {
		n++
	}
	return n
}

// close gives back what build took, the last first. Pods run on.
func (h *house) close() error {
	var errs []error
	for i := len(h.closers) - 1; i >= 0; i-- {
		if err := h.closers[i](); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
