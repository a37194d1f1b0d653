package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/dataplane/bpf"
	"github.com/mainstay-gitops/mainstay/dataplane/dns"
	"github.com/mainstay-gitops/mainstay/dataplane/dns/server"
	"github.com/mainstay-gitops/mainstay/dataplane/hostport"
	"github.com/mainstay-gitops/mainstay/dataplane/podnet"
	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/nodes/agent"
	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/nodes/keeper"
	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/containerd"
	"github.com/mainstay-gitops/mainstay/nodes/static"
	"github.com/mainstay-gitops/mainstay/nodes/stream"
	"github.com/mainstay-gitops/mainstay/nodes/usage"
	"github.com/mainstay-gitops/mainstay/nodes/volume"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const (
	clusterDomain = "cluster.local"
	patience      = 30 * time.Second // for a process that is started to answer
	parallelPulls = 5                // that fetch; a registry is asked at once
	dnsPort       = 53               // on the gateway
)

// A node is the nodes floor and the dataplane floor on this machine.
type node struct {
	o    *upOptions
	log  *slog.Logger
	tree *cgroup.Tree
	pods *cgroup.Pods

	containerd *containerd.Server // nil: it is somebody else's
	client     *containerd.Client
	runtime    *containerd.Runtime
	keeper     *keeper.Keeper
	dataplane  *bpf.Dataplane
	services   *service.Loop
	network    *podnet.Network
	hostPorts  *hostport.Loop
	dns        *dns.Writer
	agent      *agent.Agent
	meter      *usage.Meter
}

// group is a cgroup of this node: of its daemon, its containerd, or its pods.
func (o *upOptions) group(parts ...string) string {
	return filepath.Join(append([]string{"/mainstay-" + o.node}, parts...)...)
}

func (o *upOptions) runDir(parts ...string) string {
	return filepath.Join(append([]string{o.run()}, parts...)...)
}

// prepareNode makes the folders and cgroups, and enters the daemon's own.
func prepareNode(o *upOptions, log *slog.Logger) (*node, error) {
	if err := os.MkdirAll(o.data, 0o711); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.run(), 0o711); err != nil {
		return nil, err
	}
	tree, err := cgroup.Open()
	if err != nil {
		return nil, err
	}
	if err := tree.Make(o.group("daemon")); err != nil {
		return nil, err
	}
	if err := tree.Enter(o.group("daemon"), os.Getpid()); err != nil {
		return nil, err
	}
	n := &node{o: o, log: log, tree: tree, pods: tree.NewPods(o.group("pods"))}
	n.keeper = newKeeper(o, tree, log)
	if o.containerd == "" {
		n.containerd = newContainerd(o, tree, log)
	}
	return n, nil
}

func newContainerd(o *upOptions, tree *cgroup.Tree, log *slog.Logger) *containerd.Server {
	return &containerd.Server{DataDir: o.under("containerd"), RunDir: o.runDir("containerd"), Tree: tree, Group: o.group("containerd"), Log: log}
}

// startContainerd finds containerd or starts it, and returns when it answers.
func (n *node) startContainerd(ctx context.Context) (err error) {
	if n.containerd != nil {
		if err := n.containerd.Ensure(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	n.client, err = containerd.Connect(ctx, n.o.socket(), n.o.namespace())
	return err
}

func (o *upOptions) socket() string {
	if o.containerd != "" {
		return o.containerd
	}
	return (&containerd.Server{RunDir: o.runDir("containerd")}).Socket()
}

// namespace is what keeps two nodes apart that share a containerd.
func (o *upOptions) namespace() string { return "mainstay-" + o.node }

// open opens the dataplane and the runtime, and makes the agent.
func (n *node) open(ctx context.Context, st store.Reader, nodeRange netip.Prefix, w agent.Writer, tokens volume.Tokens) (err error) {
	if n.dataplane, err = bpf.Open(n.o.bpf(n.tree)); err != nil {
		return err
	}
	if n.network, err = podnet.Open(ctx, n.o.podnet(nodeRange, n.dataplane, n.log)); err != nil {
		return err
	}
	n.services, err = service.New(ctx, service.Config{Store: st, Node: n.o.node, Tables: n.dataplane.Services, Grace: n.dataplane.Grace, Log: n.log})
	if err != nil {
		return err
	}
	n.dns = dns.New(dns.Config{Store: st, Domain: clusterDomain, Ranges: []netip.Prefix{n.o.podRange, n.o.serviceRange}, File: n.o.zoneFile(), Log: n.log})
	n.keeper.Args = append(n.keeper.Args, "--dns", n.gateway().String()+":53")
	n.keeper.Files = func() ([]*os.File, error) { return dnsSockets(n.gateway().String() + ":53") }
	if err := n.keeper.Ensure(ctx); err != nil {
		return err
	}
	images := containerd.NewImages(n.client)
	images.Registries = n.o.registries
	n.runtime, err = containerd.Open(ctx, n.client, images, containerd.Config{RunDir: n.o.runDir("runtime"), Tree: n.tree, Pods: n.pods, Holder: n.keeper, Seccomp: n.o.under("seccomp"), Log: n.log})
	if err != nil {
		return err
	}
	n.meter = &usage.Meter{Runtime: n.runtime, Tree: n.tree, Proc: "/proc", Now: time.Now}
	volumes, err := volume.Open(n.o.under("pods"), n.o.runDir("memory"))
	if err != nil {
		return err
	}
	describe := n.describe(ctx, nodeRange)
	guard, err := n.guard(&describe, volumes)
	if err != nil {
		return err
	}
	n.agent, err = agent.New(agent.Config{
		Node: describe, Guard: guard, Reader: st, Writer: w, Runtime: n.runtime, Network: podNetwork{n.network, n.services},
		Images: image.NewPuller(images, parallelPulls), Keep: n.o.images, Volumes: volumes, Tokens: tokens, Logs: stream.New(0, 0), Log: n.log,
	})
	if err != nil {
		return err
	}
	n.hostPorts = hostport.New(hostport.Config{Store: st, Node: n.o.node, Machine: n.network, Log: n.log, Taken: func(p *corev1.Pod, message string) {
		n.agent.Event(p, pod.Event{Type: corev1.EventTypeWarning, Reason: "HostPortTaken", Message: message})
	}})
	return nil
}

// bpf is attached at the top, so that every process of the machine reaches services. The programs themselves leave alone
// what is in network namespaces that are not this node's.
func (o *upOptions) bpf(tree *cgroup.Tree) bpf.Config {
	return bpf.Config{Cgroup: tree.Unified("/"), Run: o.run()}
}

func (o *upOptions) podnet(nodeRange netip.Prefix, d *bpf.Dataplane, log *slog.Logger) podnet.Config {
	c := podnet.Config{PodRange: nodeRange, ClusterRange: o.podRange, ServiceRange: o.serviceRange, Own: []uint16{dnsPort, apiPort}, Run: o.run(), Log: log}
	if d != nil {
		c.Namespaces = d.Namespaces
	}
	return c
}

func (o *upOptions) zoneFile() string { return o.runDir("zone") }

// dnsSockets are those that the keeper answers DNS on.
func dnsSockets(addr string) ([]*os.File, error) {
	udp, tcp, err := server.Listen(addr)
	if err != nil {
		return nil, err
	}
	defer udp.Close()
	defer tcp.Close()
	u, err := udp.(*net.UDPConn).File()
	if err != nil {
		return nil, err
	}
	t, err := tcp.(*net.TCPListener).File()
	if err != nil {
		u.Close()
		return nil, err
	}
	return []*os.File{u, t}, nil
}

func (n *node) gateway() netip.Addr { return n.network.Gateway() }

// describe is how this machine presents itself.
func (n *node) describe(ctx context.Context, nodeRange netip.Prefix) agent.Node {
	runtime := "containerd"
	if v, err := n.client.Version(ctx); err == nil {
		runtime = "containerd://" + v.Version
	}
	return agent.Node{
		Name: n.o.node, Address: hostAddress(n.gateway()), PodRange: nodeRange.String(), Version: version, Runtime: runtime,
		DataDir: n.o.data, DNS: []netip.Addr{n.gateway()}, Domain: clusterDomain,
		Features: n.runtime.Features(), UnsafeSysctls: n.o.unsafeSysctls,
	}
}

// hostAddress is the address that the machine uses towards others; the gateway if it knows no others.
func hostAddress(gateway netip.Addr) netip.Addr {
	c, err := net.Dial("udp4", "192.0.2.1:9") // nothing is sent: the kernel only picks the source
	if err != nil {
		return gateway
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
}

// runners hands over what is to run.
func (n *node) runners(run func(func(context.Context) error)) {
	if n.containerd != nil {
		run(n.containerd.Run)
	}
	run(n.keeper.Run)
	run(n.runtime.Run)
	run(n.services.Run)
	run(n.hostPorts.Run)
	run(n.dns.Run)
	run(n.agent.Run)
}

// followManifests has the agent run the pods of this node's own: those that are there before anything else runs.
func (n *node) followManifests(f *static.Folder, run func(func(context.Context) error)) {
	pods, wrong, _ := f.Read()
	n.agent.SetStatic(pods, wrong)
	run(func(ctx context.Context) error { return f.Run(ctx, n.agent.SetStatic) })
}

// close lets go of everything; what runs goes on.
func (n *node) close() error {
	var errs []error
	if n.network != nil {
		n.network.Close()
	}
	if n.dataplane != nil {
		errs = append(errs, n.dataplane.Close())
	}
	if n.client != nil {
		errs = append(errs, n.client.Close())
	}
	return errors.Join(errs...)
}

// podNetwork is the agent's view of the dataplane.
type podNetwork struct {
	*podnet.Network
	services *service.Loop
}

var _ agent.Network = podNetwork{}

func (p podNetwork) Attach(ctx context.Context, uid types.UID, netns string) (netip.Addr, error) {
	return p.Network.Attach(ctx, podnet.Pod{UID: uid, NetNS: netns})
}

func (p podNetwork) Attached(context.Context) ([]types.UID, error) {
	var all []types.UID
	for _, a := range p.Attachments() {
		all = append(all, a.Pod)
	}
	return all, nil
}

func (p podNetwork) Withdrawn(ctx context.Context, addr netip.Addr) error {
	return p.services.Withdrawn(ctx, addr)
}

// newKeeper is the daemon's side of the keeper process, which is this program too.
func newKeeper(o *upOptions, tree *cgroup.Tree, log *slog.Logger) *keeper.Keeper {
	self, err := os.Executable()
	if err != nil {
		self = "/proc/self/exe"
	}
	return &keeper.Keeper{
		Args:    []string{self, "keeper", "--run", o.runDir(), "--zone", o.zoneFile()},
		Version: buildID(), RunDir: o.runDir(), Tree: tree, Group: o.group("keeper"), Log: log,
	}
}

// buildID is another one for each build, so that a keeper never runs what the daemon does not know.
func buildID() string {
	fi, err := os.Stat("/proc/self/exe")
	if err != nil {
		return version
	}
	return fmt.Sprintf("%s %d %d", version, fi.Size(), fi.ModTime().UnixNano())
}
