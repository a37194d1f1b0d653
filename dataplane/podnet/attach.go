package podnet

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// podPrefix begins the names of pods' devices on the machine; their address follows.
const podPrefix = "ms-"

// gatewayMAC is that of the machine's end of each pod's pair of devices. The pairs share no wire, so it need not differ; and
// since it is known beforehand, a pod never asks for it.
func gatewayMAC() net.HardwareAddr { return net.HardwareAddr{0x02, 'm', 's', 0, 0, 1} }

// podMAC is that of a pod's own end.
func podMAC(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{0x02, 'm', b[0], b[1], b[2], b[3]}
}

func deviceName(a netip.Addr) string { return podPrefix + hex.EncodeToString(a.AsSlice()) }

// podAddr is the address of the pod that a device leads to; false if it is none of ours.
func podAddr(l netlink.Link) (netip.Addr, bool) {
	name, ours := strings.CutPrefix(l.Attrs().Name, podPrefix)
	b, err := hex.DecodeString(name)
	if !ours || err != nil || l.Type() != "veth" {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(b)
}

// alias is what a pod's device says when all is done: whose it is.
func (a Attachment) alias() string { return fmt.Sprintf("%s %d", a.Pod, a.Cookie) }

func parseAlias(s string) (a Attachment, ok bool) {
	uid, cookie, _ := strings.Cut(s, " ")
	c, err := strconv.ParseUint(cookie, 10, 64)
	return Attachment{Pod: types.UID(uid), Cookie: Cookie(c)}, err == nil
}

// Attach gives a pod its network and returns its address. A pod that is attached already keeps it, also in another network
// namespace than before.
func (n *Network) Attach(ctx context.Context, pod Pod) (netip.Addr, error) {
	if err := ctx.Err(); err != nil {
		return netip.Addr{}, err
	}
	addr, err := n.attach(ctx, pod)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("attach pod %s to the network: %w", pod.UID, err)
	}
	return addr, nil
}

func (n *Network) attach(ctx context.Context, pod Pod) (netip.Addr, error) {
	ns, err := os.Open(pod.NetNS)
	if err != nil {
		return netip.Addr{}, err
	}
	defer ns.Close()
	a := Attachment{Pod: pod.UID}
	if a.Cookie, err = cookieOf(ns); err != nil {
		return netip.Addr{}, err
	}
	if old, ok := n.attached(pod.UID); ok {
		if n.stands(old) && old.Cookie == a.Cookie {
			return old.Addr, n.cfg.Namespaces.Put(ctx, old.Cookie, old.Addr)
		}
		if err := n.unlink(ctx, old); err != nil {
			return netip.Addr{}, err
		}
		a.Addr = old.Addr
	} else if a.Addr, err = n.take(); err != nil {
		return netip.Addr{}, err
	}
	if err := n.link(ctx, a, ns); err != nil {
		return netip.Addr{}, errors.Join(err, n.undo(ctx, a))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pods[a.Pod] = a
	return a.Addr, nil
}

func (n *Network) attached(uid types.UID) (Attachment, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a, ok := n.pods[uid]
	return a, ok
}

func (n *Network) take() (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.addresses.take()
}

// stands tells whether the device of a is there. It goes with its peer, and that with the pod's namespace.
func (n *Network) stands(a Attachment) bool {
	_, err := n.handle.LinkByName(deviceName(a.Addr))
	return err == nil
}

// Detach takes a pod's network away. It is no error if it has none.
func (n *Network) Detach(ctx context.Context, uid types.UID) error {
	a, ok := n.attached(uid)
	if !ok {
		return nil
	}
	if err := n.undo(ctx, a); err != nil {
		return fmt.Errorf("detach pod %s from the network: %w", uid, err)
	}
	return nil
}

// undo removes what link made, and gives the address back.
func (n *Network) undo(ctx context.Context, a Attachment) error {
	if err := n.unlink(ctx, a); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pods, a.Pod)
	n.addresses.give(a.Addr)
	return nil
}

func (n *Network) unlink(ctx context.Context, a Attachment) error {
	if err := n.cfg.Namespaces.Delete(context.WithoutCancel(ctx), a.Cookie); err != nil {
		return err
	}
	l, err := n.handle.LinkByName(deviceName(a.Addr))
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
		return nil
	} else if err != nil {
		return err
	}
	return linkDel(n.handle, l)
}

// link makes the pair of devices and all that belongs to it. The alias, by which it is found again, comes last.
func (n *Network) link(ctx context.Context, a Attachment, ns *os.File) error {
	device := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: deviceName(a.Addr), MTU: n.cfg.MTU, HardwareAddr: gatewayMAC(), TxQLen: -1},
		PeerName:         "eth0",
		PeerHardwareAddr: podMAC(a.Addr),
		PeerNamespace:    netlink.NsFd(int(ns.Fd())),
	}
	if err := n.handle.LinkAdd(device); err != nil {
		return fmt.Errorf("add device %s: %w", device.Name, err)
	}
	err := inNamespace(ns, func() error { return setUpPod(a.Addr, n.Gateway()) })
	if err != nil {
		return fmt.Errorf("in the pod's namespace: %w", err)
	}
	if err := n.lead(a, device); err != nil {
		return err
	}
	if err := n.cfg.Namespaces.Put(ctx, a.Cookie, a.Addr); err != nil {
		return err
	}
	return n.handle.LinkSetAlias(device, a.alias())
}

// lead lets the machine reach a pod through its device.
func (n *Network) lead(a Attachment, device netlink.Link) error {
	index := device.Attrs().Index
	if err := n.handle.LinkSetUp(device); err != nil {
		return fmt.Errorf("set it up: %w", err)
	}
	if err := n.handle.NeighSet(neighbour(index, a.Addr, podMAC(a.Addr))); err != nil {
		return fmt.Errorf("add the pod as a neighbour: %w", err)
	}
	route := &netlink.Route{LinkIndex: index, Dst: host(a.Addr), Src: n.Gateway().AsSlice(), Scope: netlink.SCOPE_LINK, Protocol: protocol}
	if err := n.handle.RouteReplace(route); err != nil {
		return fmt.Errorf("add the route to the pod: %w", err)
	}
	return nil
}

// setUpPod configures the devices of this thread's namespace, a pod's.
func setUpPod(addr, gateway netip.Addr) error {
	h, err := newHandle()
	if err != nil {
		return err
	}
	defer h.Close()
	if err := h.LinkSetUp(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 1}}); err != nil { // lo, always
		return fmt.Errorf("set lo up: %w", err)
	}
	eth0, err := h.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	if err := h.AddrReplace(eth0, &netlink.Addr{IPNet: host(addr)}); err != nil {
		return fmt.Errorf("add address %s: %w", addr, err)
	}
	if err := h.LinkSetUp(eth0); err != nil {
		return fmt.Errorf("set eth0 up: %w", err)
	}
	index := eth0.Attrs().Index
	if err := h.NeighSet(neighbour(index, gateway, gatewayMAC())); err != nil {
		return fmt.Errorf("add the gateway as a neighbour: %w", err)
	}
	all := ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	if err := h.RouteReplace(&netlink.Route{LinkIndex: index, Dst: all, Gw: gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}); err != nil {
		return fmt.Errorf("add the default route: %w", err)
	}
	return nil
}

// neighbour is one that need not be asked for its hardware address.
func neighbour(index int, addr netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: index, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: mac}
}

func cookieOf(ns *os.File) (c Cookie, err error) {
	err = inNamespace(ns, func() error {
		c, err = CookieHere()
		return err
	})
	return c, err
}

// inNamespace runs f on a thread that is in the network namespace ns meanwhile.
func inNamespace(ns *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err, back := visit(ns, f)
		if back == nil {
			runtime.UnlockOSThread() // otherwise the thread ends with its goroutine, so that nobody else gets it
		}
		done <- errors.Join(err, back)
	}()
	return <-done
}

// visit runs f with this thread in ns. back is why it could not go back.
func visit(ns *os.File, f func() error) (err, back error) {
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err, nil
	}
	defer own.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network namespace: %w", err), nil
	}
	err = f()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		return err, fmt.Errorf("leave the network namespace: %w", back)
	}
	return err, nil
}
