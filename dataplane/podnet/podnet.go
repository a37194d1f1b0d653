// Package podnet gives pods their network on one machine: an address each, a pair of devices that leads there, routes, and
// what the machine itself must have for it.
//
// All of it is in the kernel, and found again there: a device is named after the address of its pod and says in its alias
// whose it is. So the machine may be killed at any moment, and the next process goes on.
package podnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/dataplane/target"
)

// Config of a node's network. It is set up in the network namespace of the process that opens it.
type Config struct {
	PodRange     netip.Prefix // of this node's pods; the first address is the gateway's
	ClusterRange netip.Prefix // of all pods
	ServiceRange netip.Prefix // of cluster addresses
	MTU          int          // of pods; 0: that of the default route's device, or 1500
	Own          []uint16     // ports of the gateway's address at which the node itself answers: no host port covers them
	Run          string       // folder of the node's state that a restart of the machine may lose

	// Namespaces are told which network namespaces are the node's and its pods'. Nobody else writes to it.
	Namespaces target.Target[Cookie, netip.Addr]

	Log *slog.Logger // what on this machine may stand in the way; nil: none
}

// A Network is that of one node. It is safe for concurrent use; calls for one pod come one at a time.
type Network struct {
	cfg    Config
	handle *netlink.Handle

	mu        sync.Mutex
	addresses *addresses
	pods      map[types.UID]Attachment
}

// A Pod is what is attached.
type Pod struct {
	UID   types.UID
	NetNS string // path of its network namespace
}

// An Attachment is a pod that has a network.
type Attachment struct {
	Pod    types.UID
	Addr   netip.Addr
	Cookie Cookie // of its network namespace
}

// Open sets the machine up, and finds the pods that are attached already. It changes nothing and returns an error if a
// range of the cluster overlaps a route or an address of the machine, if the network of another node is here, or if the
// machine lacks something.
func Open(ctx context.Context, cfg Config) (_ *Network, err error) {
	n := &Network{cfg: cfg, pods: map[types.UID]Attachment{}}
	defer func() {
		if err != nil {
			n.Close()
			err = fmt.Errorf("set up the pod network: %w", err)
		}
	}()
	if n.handle, err = newHandle(); err != nil {
		return nil, err
	}
	links, err := linkList(n.handle)
	if err != nil {
		return nil, err
	}
	if err := n.check(links); err != nil {
		return nil, err
	}
	if err := n.setUpNode(ctx, links); err != nil {
		return nil, err
	}
	if err := n.find(links); err != nil {
		return nil, err
	}
	return n, n.tellNamespaces(ctx)
}

// newHandle opens a way to the network of this thread's namespace, on which nothing hangs for ever.
func newHandle() (*netlink.Handle, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return h, h.SetSocketTimeout(10 * time.Second)
}

// Close lets go of the network. Pods keep theirs.
func (n *Network) Close() {
	if n.handle != nil {
		n.handle.Close()
	}
}

// Gateway is the address of the node as its pods see it. Only they and the node itself can reach it.
func (n *Network) Gateway() netip.Addr { return gatewayOf(n.cfg.PodRange) }

// Attachments are the pods that are attached, in no order.
func (n *Network) Attachments() []Attachment {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.pods))
}

// Prune detaches the pods that keep says no to.
func (n *Network) Prune(ctx context.Context, keep func(types.UID) bool) error {
	var errs []error
	for _, a := range n.Attachments() {
		if !keep(a.Pod) {
			errs = append(errs, n.Detach(ctx, a.Pod))
		}
	}
	return errors.Join(errs...)
}

// find learns of the pods that are attached already, and removes what was left half done.
func (n *Network) find(links []netlink.Link) error {
	var used []netip.Addr
	for _, l := range links {
		addr, ours := podAddr(l)
		if !ours {
			continue
		}
		a, whole := parseAlias(l.Attrs().Alias)
		if _, double := n.pods[a.Pod]; !whole || double || !n.cfg.PodRange.Contains(addr) {
			if err := linkDel(n.handle, l); err != nil {
				return err
			}
			continue
		}
		a.Addr = addr
		n.pods[a.Pod] = a
		used = append(used, addr)
	}
	n.addresses = newAddresses(n.cfg.PodRange, used)
	return nil
}

// tellNamespaces makes the namespaces that of the node and those of its pods, and no others.
func (n *Network) tellNamespaces(ctx context.Context) error {
	own, err := CookieHere()
	if err != nil {
		return err
	}
	want := []target.Entry[Cookie, netip.Addr]{{Key: own, Value: n.Gateway()}}
	for _, a := range n.pods {
		want = append(want, target.Entry[Cookie, netip.Addr]{Key: a.Cookie, Value: a.Addr})
	}
	target.Sort(want)
	return target.Sync(ctx, n.cfg.Namespaces, want)
}

// CookieHere is that of this thread's network namespace.
func CookieHere() (Cookie, error) {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(s)
	c, err := unix.GetsockoptUint64(s, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("read the cookie of the network namespace (it needs Linux 5.14): %w", err)
	}
	return Cookie(c), nil
}

// linkList is all devices. A list that changed while it was read is read again.
func linkList(h *netlink.Handle) (links []netlink.Link, err error) {
	for range 10 {
		if links, err = h.LinkList(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	return links, nil
}

// linkDel removes a device. It is no error if it is gone.
func linkDel(h *netlink.Handle, l netlink.Link) error {
	if err := h.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove device %s: %w", l.Attrs().Name, err)
	}
	return nil
}

// ipNet is p as package net has it.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// host is the range of one address.
func host(a netip.Addr) *net.IPNet { return ipNet(netip.PrefixFrom(a, a.BitLen())) }
