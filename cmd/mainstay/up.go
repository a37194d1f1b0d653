package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/lifecycle"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/disk"
)

// upOptions are what one can say to mainstay up.
type upOptions struct {
	place
	node       string
	api, git   string
	pods       string
	services   string
	containerd string
	source     string
	sourcePath string
	registries string
	images     image.Thresholds
	acceptLoss bool
	reserve    string
	manifests  string
	share      share
	openID     access.OpenID

	unsafeSysctls         []string
	logLevel              string
	auditLog, auditPolicy string

	podRange, serviceRange netip.Prefix
	reserved               int64 // bytes
}

func defaultUpOptions() *upOptions {
	host, err := os.Hostname()
	if err != nil {
		host = "node"
	}
	return &upOptions{node: strings.ToLower(host), images: image.DefaultThresholds()}
}

func (o *upOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.node, "node", o.node, "name of this node")
	f.StringVar(&o.api, "api", "127.0.0.1:6443", "where the Kubernetes API listens (port 0: any that is free)")
	f.StringVar(&o.git, "git", "127.0.0.1:7420", "where the push server and webhooks listen (port 0: any that is free)")
	f.StringVar(&o.pods, "pod-range", "10.42.0.0/16", "addresses of pods; this node takes the first 256")
	f.StringVar(&o.services, "service-range", "10.43.0.0/16", "cluster addresses of services")
	f.StringVar(&o.registries, "registry-config", "", "folder that says how registries are reached: HOST/hosts.toml, as containerd has it (default: registries in the data folder)")
	f.IntVar(&o.images.High, "image-gc-high", o.images.High, "images that nobody uses are removed when so many percent of their disk are in use (100: never)")
	f.IntVar(&o.images.Low, "image-gc-low", o.images.Low, "until only so many percent are")
	f.DurationVar(&o.images.MaxAge, "image-gc-max-age", o.images.MaxAge, "images that nobody used for so long are removed even so (0: never)")
	f.DurationVar(&o.images.MinAge, "image-gc-min-age", o.images.MinAge, "images that came later than so long ago are kept")
	f.StringSliceVar(&o.unsafeSysctls, "allowed-unsafe-sysctls", nil, "sysctls that pods may set beside the safe ones, as kernel.msg* or net.core.somaxconn")
	f.StringVar(&o.containerd, "containerd", "", "socket of a containerd that runs already (default: Mainstay runs one of its own)")
}

func newUpCommand(at *place) *cobra.Command {
	o := defaultUpOptions()
	c := &cobra.Command{
		Use:   "up",
		Short: "Start the control plane and this machine as its node; ^C leaves the pods running",
		Long: `Starts Mainstay in the foreground. What runs goes on running when it ends, by ^C or by a crash, and is
found again by the next mainstay up. mainstay down gives everything back.

If another version runs with the same data, this one takes over from it: containers, connections and DNS go on. What is
stored in a format that this version does not know is refused before anything is ended.`,
		Example: `  mainstay up
  mainstay up --data ~/mainstay --api 127.0.0.1:0 --git 127.0.0.1:0
  mainstay up --source https://github.com/example/shop --source-path deploy`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.place = *at
			return up(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.flags(c)
	o.share.flags(c)
	f := c.Flags()
	openIDFlags(f, &o.openID)
	f.StringVar(&o.source, "source", "", "URL of a Git repository to follow from the start")
	f.StringVar(&o.sourcePath, "source-path", "", "folder in that repository that holds the manifests")
	f.BoolVar(&o.acceptLoss, "accept-loss", false, "start with a damaged store, without what is missing in it")
	f.StringVar(&o.reserve, "disk-reserve", "96Mi", "free disk below which writes are refused, while reads go on")
	f.StringVar(&o.auditLog, "audit-log", "", "file to which a line is added for each request to the API (-: standard output; default: none is kept)")
	f.StringVar(&o.auditPolicy, "audit-policy", "", "file that says which requests, and how much of them: a Policy of audit.k8s.io/v1 (default: metadata of all)")
	f.StringVar(&o.manifests, "manifests", "", "folder of pods that this node runs by itself (default: manifests in the data folder)")
	f.StringVar(&o.logLevel, "log-level", "warn", "debug, info, warn or error")
	return c
}

// complete checks what was said.
func (o *upOptions) complete() (err error) {
	if o.data, err = filepath.Abs(o.data); err != nil {
		return err
	}
	if o.podRange, err = netip.ParsePrefix(o.pods); err != nil || !o.podRange.Addr().Is4() || o.podRange.Bits() > 24 {
		return fmt.Errorf("--pod-range %q: want an IPv4 range of /24 or larger, such as 10.42.0.0/16", o.pods)
	}
	if o.serviceRange, err = netip.ParsePrefix(o.services); err != nil || !o.serviceRange.Addr().Is4() || o.serviceRange.Bits() > 28 {
		return fmt.Errorf("--service-range %q: want an IPv4 range of /28 or larger, such as 10.43.0.0/16", o.services)
	}
	if err := pod.CheckUnsafeSysctls(o.unsafeSysctls); err != nil {
		return fmt.Errorf("--allowed-unsafe-sysctls: %w", err)
	}
	if o.podRange.Overlaps(o.serviceRange) {
		return fmt.Errorf("--pod-range %s and --service-range %s overlap", o.podRange, o.serviceRange)
	}
	if err := o.images.Validate(); err != nil {
		return fmt.Errorf("--image-gc-high, --image-gc-low, --image-gc-max-age: %w", err)
	}
	if err := o.share.complete(); err != nil {
		return err
	}
	if o.registries == "" {
		o.registries = o.under("registries")
	}
	o.registries, err = filepath.Abs(o.registries)
	return err
}

// reserveRoom reads --disk-reserve.
func (o *upOptions) reserveRoom() error {
	q, err := resource.ParseQuantity(o.reserve)
	if err != nil || q.Value() < disk.Reserve {
		return fmt.Errorf("--disk-reserve %q: want at least %dMi, such as 1Gi", o.reserve, disk.Reserve>>20)
	}
	o.reserved = q.Value()
	return nil
}

func up(ctx context.Context, o *upOptions, out, logs io.Writer) error {
	started := time.Now()
	if err := needRoot("up"); err != nil {
		return err
	}
	if err := o.complete(); err != nil {
		return err
	}
	if err := o.reserveRoom(); err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return fmt.Errorf("--log-level: %w", err)
	}
	log := slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: level}))
	quietLibraries(log)
	taken, err := takeOver(ctx, o, out)
	if err != nil {
		return err
	}
	h, err := build(ctx, o, log)
	if err != nil {
		if taken {
			err = fmt.Errorf("%w\nthe version that ran before was ended, and its pods run on: mainstay up of either version goes on with them", err)
		}
		return errors.Join(err, h.close())
	}
	fmt.Fprintf(out, "mainstay %s, node %s, data in %s\n", version, o.node, o.data)
	fmt.Fprintf(out, "  store        %d objects, revision %d\n", h.objects, h.revision)
	fmt.Fprintf(out, "  network      pods %s, services %s\n", h.nodeRange, o.serviceRange)
	fmt.Fprintf(out, "  API          %s   kubeconfig %s\n", h.endpoints.API, o.kubeconfig())
	fmt.Fprintf(out, "  Git          %s\n", h.endpoints.Git)
	done := make(chan error, 1)
	go func() { done <- h.run(ctx) }()
	if h.awaitReady(ctx) {
		fmt.Fprintf(out, "ready in %.2fs; next, in a Git repository with manifests: mainstay remote add && git push mainstay main\n", time.Since(started).Seconds())
	}
	err = <-done
	pods := h.running()
	err = errors.Join(err, h.close())
	if ctx.Err() != nil {
		fmt.Fprintf(out, "\nstopped; %s\n", stillRunning(pods))
	}
	return err
}

// quietLibraries sends what the Kubernetes libraries log to the debug level: they tell much that is no news here, and what
// concerns users they also return as errors.
func quietLibraries(log *slog.Logger) {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	if log.Enabled(context.Background(), slog.LevelDebug) {
		klog.SetSlogLogger(log)
	}
}

func stillRunning(pods int) string {
	switch pods {
	case 0:
		return "no pods were running"
	case 1:
		return "1 pod keeps running: mainstay up takes it over again, mainstay down ends it"
	}
	return fmt.Sprintf("%d pods keep running: mainstay up takes them over again, mainstay down ends them", pods)
}

// firstSource makes the source that was asked for on the command line, if it is not there yet.
func firstSource(ctx context.Context, st store.Store, c *controlPlane, o *upOptions) error {
	if o.source == "" {
		return nil
	}
	name := repositoryName(strings.TrimSuffix(filepath.Base(strings.TrimRight(o.source, "/")), ".git"))
	g := &v1alpha1.GitSource{
		ObjectMeta: metav1.ObjectMeta{Namespace: lifecycle.SystemNamespace, Name: name},
		Spec:       v1alpha1.GitSourceSpec{URL: o.source, Path: o.sourcePath},
	}
	kind := c.scheme.Of(g)
	kind.PrepareCreate(g, c.uid(), time.Now())
	if errs := kind.Validate(g); len(errs) > 0 {
		return fmt.Errorf("--source: %w", errs.ToAggregate())
	}
	_, err := st.Update(ctx, "up", func(tx *store.Tx) error {
		if err := tx.Create(g); !errors.Is(err, store.ErrExists) {
			return err
		}
		live, _ := store.Get[*v1alpha1.GitSource](tx.Snapshot, g.Namespace, g.Name)
		if live.Spec.URL != g.Spec.URL {
			return fmt.Errorf("--source: there is a source %s/%s of %s already", g.Namespace, g.Name, live.Spec.URL)
		}
		return nil
	})
	return err
}
