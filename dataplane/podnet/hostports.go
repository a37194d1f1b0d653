package podnet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/dataplane/target"
)

// Host ports are led by the kernel's own translation of addresses, for callers from outside, from the machine and from pods
// alike. The programs at sockets would spare the last two the translation, but outside needs it in any case, and it knows by
// itself which addresses are the machine's, whenever they change. What stays inside the cluster is otherwise not tracked, so
// the ends of host ports are left out of that; and a call to 127.0.0.1 may leave by a pod's device only where one says so
// (route_localnet), for which pods are kept from the machine's loopback by a rule.
//
// A caller keeps its address, as with the portmap plugin. Only a pod that calls itself this way, and a caller at 127.0.0.1,
// come from the gateway: an answer to their own address would never pass here.

// A HostPort is a port of the machine, at one of its addresses or at 0.0.0.0 for all, and the end of a pod where it leads.
type HostPort = target.Entry[service.Frontend, netip.AddrPort]

// portSets hold the host ports in the node's table of rules.
const portSets = `	map ports { type inet_proto . inet_service : ipv4_addr . inet_service; }
	map ports-at { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
	set port-asked { type inet_proto . inet_service; }
	set port-ends { type ipv4_addr . inet_proto . inet_service; }
	set port-pods { type ipv4_addr . ipv4_addr; }`

// elements is the script that makes the sets hold ports.
func elements(ports []HostPort) string {
	in := map[string][]string{}
	for _, p := range ports {
		proto := strings.ToLower(p.Key.Protocol.String())
		from, to := fmt.Sprintf("%s . %d", proto, p.Key.Port()), fmt.Sprintf("%s . %d", p.Value.Addr(), p.Value.Port())
		if p.Key.Addr().IsUnspecified() {
			in["ports"] = append(in["ports"], from+" : "+to)
		} else {
			in["ports-at"] = append(in["ports-at"], fmt.Sprintf("%s . %s : %s", p.Key.Addr(), from, to))
		}
		in["port-asked"] = append(in["port-asked"], from)
		in["port-ends"] = append(in["port-ends"], fmt.Sprintf("%s . %s . %d", p.Value.Addr(), proto, p.Value.Port()))
		in["port-pods"] = append(in["port-pods"], fmt.Sprintf("%s . %s", p.Value.Addr(), p.Value.Addr()))
	}
	var b strings.Builder
	for _, set := range []struct{ kind, name string }{{"map", "ports"}, {"map", "ports-at"}, {"set", "port-asked"}, {"set", "port-ends"}, {"set", "port-pods"}} {
		fmt.Fprintf(&b, "flush %s ip mainstay %s\n", set.kind, set.name)
		if all := in[set.name]; len(all) > 0 {
			slices.Sort(all)
			fmt.Fprintf(&b, "add element ip mainstay %s { %s }\n", set.name, strings.Join(slices.Compact(all), ", "))
		}
	}
	return b.String()
}

// HostPorts are those that the kernel leads, sorted.
func (n *Network) HostPorts(ctx context.Context) ([]HostPort, error) {
	ports, err := readHostPorts(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the host ports: %w", err)
	}
	return ports, nil
}

// SetHostPorts has the kernel lead ports, sorted and each once, and no others: all at once. What it remembers of calls to
// ports that lead elsewhere now is forgotten, so that callers over UDP arrive at the new pod, and those over TCP are refused
// instead of hanging.
func (n *Network) SetHostPorts(ctx context.Context, ports []HostPort) error {
	old, err := readHostPorts(ctx)
	if err == nil {
		err = n.allowLocal(ports)
	}
	if err == nil {
		_, err = nft(ctx, elements(ports))
	}
	if err == nil {
		err = forgetCalls(target.Plan(old, ports), old)
	}
	if err != nil {
		return fmt.Errorf("set the host ports: %w", err)
	}
	return nil
}

// allowLocal lets calls to 127.0.0.1 leave by the devices of pods that have host ports. It goes with the device.
func (n *Network) allowLocal(ports []HostPort) error {
	for _, p := range ports {
		err := os.WriteFile("/proc/sys/net/ipv4/conf/"+deviceName(p.Value.Addr())+"/route_localnet", []byte("1"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// readHostPorts is what the node's table holds; nothing if there is none.
func readHostPorts(ctx context.Context) (ports []HostPort, err error) {
	out, err := runNFT(ctx, "", "-j", "list", "table", "ip", "mainstay")
	if err != nil && strings.Contains(err.Error(), "No such file or directory") {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Map *struct {
				Name string
				Elem [][2]struct{ Concat []any }
			}
		} `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("read the list of nft: %w", err)
	}
	for _, item := range list.Items {
		if m := item.Map; m != nil && (m.Name == "ports" || m.Name == "ports-at") {
			for _, e := range m.Elem {
				p, err := parseHostPort(e[0].Concat, e[1].Concat)
				if err != nil {
					return nil, err
				}
				ports = append(ports, p)
			}
		}
	}
	target.Sort(ports)
	return ports, nil
}

// parseHostPort reads an element of the maps: the address is missing in that of all addresses.
func parseHostPort(from, to []any) (p HostPort, err error) {
	if len(from) == 2 {
		from = append([]any{netip.IPv4Unspecified()}, from...)
	}
	if len(from) != 3 || len(to) != 2 {
		return p, fmt.Errorf("a host port of unknown form: %v: %v", from, to)
	}
	var asked, got netip.AddrPort
	if asked, err = netip.ParseAddrPort(fmt.Sprintf("%v:%v", from[0], from[2])); err != nil {
		return p, err
	}
	if got, err = netip.ParseAddrPort(fmt.Sprintf("%v:%v", to[0], to[1])); err != nil {
		return p, err
	}
	protocol := service.TCP
	if name := fmt.Sprint(from[1]); name == "udp" || name == "17" {
		protocol = service.UDP
	}
	return HostPort{Key: service.Frontend{AddrPort: asked, Protocol: protocol}, Value: got}, nil
}

// forgetCalls forgets the connections that steps concern.
func forgetCalls(steps []target.Step[service.Frontend, netip.AddrPort], old []HostPort) error {
	var f forget
	for _, s := range steps {
		f.ports = append(f.ports, s.Key)
	}
	if len(f.ports) == 0 {
		return nil
	}
	for _, p := range old {
		f.were = append(f.were, p.Value.Addr())
	}
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, &f)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("forget connections: %w", err)
	}
	return nil
}

// forget chooses the connections that are to be forgotten: those that were led from one of ports, and those over UDP that
// were not led although they will be.
type forget struct {
	ports []service.Frontend
	were  []netip.Addr // where host ports led
}

func (f *forget) MatchConntrackFlow(c *netlink.ConntrackFlow) bool {
	asked, _ := netip.AddrFromSlice(c.Forward.DstIP)
	got, _ := netip.AddrFromSlice(c.Reverse.SrcIP)
	asked, got = asked.Unmap(), got.Unmap()
	led := slices.Contains(f.were, got) && asked != got
	plain := asked == got && c.Forward.SrcIP.Equal(c.Reverse.DstIP)
	for _, p := range f.ports {
		here := c.Forward.DstPort == p.Port() && c.Forward.Protocol == uint8(p.Protocol) && (p.Addr().IsUnspecified() || p.Addr() == asked)
		if here && (led || p.Protocol == service.UDP && plain) {
			return true
		}
	}
	return false
}

// Listener returns the end at which a process of this machine takes calls that a host port p would lead away; false if there
// is none.
func (n *Network) Listener(p service.Frontend) (netip.AddrPort, bool, error) {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, state := netlink.SocketDiagTCP, uint8(netlink.TCP_LISTEN)
		if p.Protocol == service.UDP {
			list, state = netlink.SocketDiagUDP, netlink.TCP_CLOSE // not connected
		}
		sockets, err := list(family)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return netip.AddrPort{}, false, fmt.Errorf("list the sockets of the machine: %w", err)
		}
		for _, s := range sockets {
			addr, _ := netip.AddrFromSlice(s.ID.Source)
			if addr = addr.Unmap(); s.State == state && s.ID.SourcePort == p.Port() && n.meets(addr, p) {
				return netip.AddrPortFrom(addr, p.Port()), true, nil
			}
		}
	}
	return netip.AddrPort{}, false, nil
}

// meets tells whether host port p would take calls away from one who listens at addr.
func (n *Network) meets(addr netip.Addr, p service.Frontend) bool {
	switch {
	case addr.IsUnspecified():
		return true
	case addr.Is6():
		return false
	case addr == n.Gateway() && slices.Contains(n.cfg.Own, p.Port()):
		return false
	case p.Addr().IsUnspecified():
		return !addr.IsLoopback() || addr == localhost()
	}
	return addr == p.Addr()
}

func localhost() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }
