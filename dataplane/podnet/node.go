package podnet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// gatewayDevice holds the gateway's address. It is a bridge without ports: a device that every kernel with containers
	// on it has.
	gatewayDevice = "mainstay0"
	// protocol marks our routes. It is a number that nobody has registered.
	protocol = netlink.RouteProtocol(77)

	forwarding = "/proc/sys/net/ipv4/ip_forward"
)

// check returns an error if this machine cannot have the network.
func (n *Network) check(links []netlink.Link) error {
	for _, l := range links {
		if a := l.Attrs(); a.Name == gatewayDevice && a.Alias != "" && a.Alias != n.cfg.Run {
			return fmt.Errorf("the network of another node is here: device %s belongs to %s. End that node, or run this one in a network namespace of its own", gatewayDevice, a.Alias)
		}
	}
	uses, err := usesOf(n.handle, links)
	if err != nil {
		return err
	}
	return n.cfg.check(uses)
}

// usesOf are the addresses and routes of the machine that are not ours.
func usesOf(h *netlink.Handle, links []netlink.Link) (uses []use, err error) {
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	ours := func(index int) bool {
		return names[index] == gatewayDevice || strings.HasPrefix(names[index], podPrefix)
	}
	addrs, err := h.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if !ours(a.LinkIndex) {
			uses = append(uses, use{"address", prefixOf(a.IPNet), names[a.LinkIndex]})
		}
	}
	routes, err := h.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst != nil && r.Protocol != protocol && r.Table != unix.RT_TABLE_LOCAL && !ours(r.LinkIndex) {
			uses = append(uses, use{"route", prefixOf(r.Dst), names[r.LinkIndex]})
		}
	}
	return uses, nil
}

func prefixOf(n *net.IPNet) netip.Prefix {
	addr, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits)
}

// setUpNode gives the machine the gateway's address, routes that keep what nobody has from leaving, forwarding, and rules.
func (n *Network) setUpNode(ctx context.Context, links []netlink.Link) error {
	if err := n.setUpGateway(links); err != nil {
		return err
	}
	for _, r := range []netip.Prefix{n.cfg.ClusterRange, n.cfg.ServiceRange} {
		if err := n.handle.RouteReplace(unreachable(r)); err != nil {
			return fmt.Errorf("add the route that makes %s unreachable: %w", r, err)
		}
	}
	if err := n.forward(); err != nil {
		return err
	}
	if err := n.cfg.writeRules(ctx); err != nil {
		return err
	}
	if n.cfg.MTU == 0 {
		n.cfg.MTU = mtuOf(n.handle, links)
	}
	return nil
}

func (n *Network) setUpGateway(links []netlink.Link) error {
	i := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Name == gatewayDevice })
	var device netlink.Link = &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: gatewayDevice}}
	if i >= 0 {
		device = links[i]
	} else if err := n.handle.LinkAdd(device); err != nil {
		return fmt.Errorf("add device %s: %w", gatewayDevice, err)
	}
	if err := n.handle.LinkSetAlias(device, n.cfg.Run); err != nil {
		return fmt.Errorf("name the owner of device %s: %w", gatewayDevice, err)
	}
	addrs, err := n.handle.AddrList(device, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", gatewayDevice, err)
	}
	for _, a := range addrs { // of a range that the node had before
		if prefixOf(a.IPNet).Addr() != n.Gateway() {
			if err := n.handle.AddrDel(device, &a); err != nil {
				return fmt.Errorf("remove address %s from %s: %w", a, gatewayDevice, err)
			}
		}
	}
	if err := n.handle.AddrReplace(device, &netlink.Addr{IPNet: host(n.Gateway())}); err != nil {
		return fmt.Errorf("add address %s to %s: %w", n.Gateway(), gatewayDevice, err)
	}
	if err := n.handle.LinkSetUp(device); err != nil {
		return fmt.Errorf("set %s up: %w", gatewayDevice, err)
	}
	return nil
}

// unreachable is the route of a range. More specific ones lead to pods; what nobody has must not leave by the default route.
func unreachable(r netip.Prefix) *netlink.Route {
	return &netlink.Route{Dst: ipNet(r), Type: unix.RTN_UNREACHABLE, Protocol: protocol, Table: unix.RT_TABLE_MAIN}
}

// found is the file that says how forwarding was set before.
func (c Config) found() string { return filepath.Join(c.Run, "ip_forward.found") }

// forward lets the machine forward packets, and remembers whether it did before.
func (n *Network) forward() error {
	was, err := os.ReadFile(forwarding)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(was)) == "1" {
		return nil
	}
	if err := os.MkdirAll(n.cfg.Run, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(n.cfg.found(), was, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(forwarding, []byte("1"), 0); err != nil {
		return fmt.Errorf("let this machine forward packets: %w", err)
	}
	return nil
}

// mtuOf is that of the device of the default route.
func mtuOf(h *netlink.Handle, links []netlink.Link) int {
	routes, _ := h.RouteList(nil, netlink.FAMILY_V4)
	for _, r := range routes {
		for _, l := range links {
			if (r.Dst == nil || prefixOf(r.Dst).Bits() == 0) && l.Attrs().Index == r.LinkIndex {
				return l.Attrs().MTU
			}
		}
	}
	return 1500
}

// Remove gives back all that Open and Attach took: devices of pods, the gateway, routes, rules, and forwarding as it was
// found. It is no error if nothing is there.
func Remove(ctx context.Context, cfg Config) error {
	h, err := newHandle()
	if err != nil {
		return err
	}
	defer h.Close()
	links, err := linkList(h)
	if err != nil {
		return err
	}
	for _, l := range links {
		if l.Attrs().Name == gatewayDevice && l.Attrs().Alias != cfg.Run {
			return nil // another node's, and so is the rest
		}
	}
	var errs []error
	for _, l := range links {
		if _, pod := podAddr(l); pod || l.Attrs().Name == gatewayDevice {
			errs = append(errs, linkDel(h, l))
		}
	}
	errs = append(errs, removeRoutes(h), removeRules(ctx), restoreForwarding(cfg))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove the pod network: %w", err)
	}
	return nil
}

func removeRoutes(h *netlink.Handle) error {
	routes, err := h.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: protocol}, netlink.RT_FILTER_PROTOCOL)
	for _, r := range routes {
		if err == nil {
			err = h.RouteDel(&r)
		}
		if errors.Is(err, unix.ESRCH) { // it went with its device
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("remove routes: %w", err)
	}
	return nil
}

func restoreForwarding(cfg Config) error {
	was, err := os.ReadFile(cfg.found())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.WriteFile(forwarding, was, 0)
	}
	if err == nil {
		err = os.Remove(cfg.found())
	}
	return err
}
