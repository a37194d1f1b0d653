package service

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mainstay-gitops/mainstay/dataplane/target"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// IDs gives out IDs: it is the last one given out.
type IDs ID

// Compile returns the rows of one service on one node. was are its rows of before: a set whose members did not change, and
// a backend that stays, keep their IDs, so that what did not change is not written; ids gives out the others. There are no
// rows for a service that is gone, or that has no address of its own (headless, ExternalName). ignored says what of the
// service is not carried, and why.
func Compile(s *store.Snapshot, node string, service store.Key, was Rows, ids IDs) (rows Rows, next IDs, ignored []string) {
	svc, ok := store.Get[*corev1.Service](s, service.Namespace, service.Name)
	if !ok || svc.Spec.Type == corev1.ServiceTypeExternalName || svc.Labels[proxyNameLabel] != "" {
		return Rows{}, ids, nil
	}
	addrs, ignored := addresses(svc)
	if len(addrs) == 0 {
		return Rows{}, ids, ignored
	}
	for _, e := range Unsupported(&svc.Spec) {
		ignored = append(ignored, e.Field+": "+e.Detail)
	}
	c := compilation{was: was, ids: ids, known: map[netip.AddrPort]ID{}}
	for _, e := range was.Backends {
		c.known[e.Value.AddrPort] = e.Key
	}
	endpoints := slices.Collect(store.List[*discoveryv1.EndpointSlice](s, store.InNamespace(svc.Namespace), store.OfService(svc.Name)))
	local := svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal
	for _, port := range svc.Spec.Ports {
		protocol, ok := ProtocolOf(port.Protocol)
		if !ok {
			continue
		}
		c.add(frontends(addrs, uint16(port.Port), protocol), members(endpoints, port, func(e discoveryv1.Endpoint) bool {
			return !local || e.NodeName != nil && *e.NodeName == node
		}))
	}
	return c.finish(), c.ids, ignored
}

// proxyNameLabel hands a service to another implementation.
const proxyNameLabel = "service.kubernetes.io/service-proxy-name"

// addresses are the cluster addresses at which svc is called.
func addresses(svc *corev1.Service) (addrs []netip.Addr, ignored []string) {
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{svc.Spec.ClusterIP}
	}
	for _, ip := range ips {
		addr, err := netip.ParseAddr(ip)
		switch {
		case err != nil: // none yet, or headless
		case addr.Is6():
			ignored = append(ignored, fmt.Sprintf("address %s: IPv6 is not carried yet", ip))
		default:
			addrs = append(addrs, addr)
		}
	}
	return addrs, ignored
}

// Unsupported is all that a service asks for and does not get yet, each with the path of its field inside the spec and the
// reason.
func Unsupported(s *corev1.ServiceSpec) (errs field.ErrorList) {
	not := func(path *field.Path, why string) {
		errs = append(errs, field.Forbidden(path, why+": not supported yet"))
	}
	if s.Type == corev1.ServiceTypeNodePort || s.Type == corev1.ServiceTypeLoadBalancer {
		not(field.NewPath("type"), "services of type "+string(s.Type))
	}
	if len(s.ExternalIPs) > 0 {
		not(field.NewPath("externalIPs"), "addresses other than the cluster address")
	}
	if s.SessionAffinity == corev1.ServiceAffinityClientIP {
		not(field.NewPath("sessionAffinity"), "keeping a client to one endpoint")
	}
	for i, p := range s.Ports {
		if p.Protocol != "" && p.Protocol != corev1.ProtocolTCP && p.Protocol != corev1.ProtocolUDP {
			not(field.NewPath("ports").Index(i).Child("protocol"), "protocols other than TCP and UDP")
		}
	}
	if slices.Contains(s.IPFamilies, corev1.IPv6Protocol) || s.IPFamilyPolicy != nil && *s.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack {
		not(field.NewPath("ipFamilies"), "IPv6")
	}
	return errs
}

// frontends are where one port is called. Who lets a service be called elsewhere too (node ports, external addresses) adds
// them here: all of them share the port's set.
func frontends(addrs []netip.Addr, port uint16, protocol Protocol) (fs []Frontend) {
	for _, a := range addrs {
		fs = append(fs, Frontend{netip.AddrPortFrom(a, port), protocol})
	}
	return fs
}

// members are the endpoints of one service port among those that may be used: who is ready; if nobody is, who still serves
// while it terminates.
func members(endpoints []*discoveryv1.EndpointSlice, port corev1.ServicePort, may func(discoveryv1.Endpoint) bool) []Backend {
	var ready, ending []Backend
	for _, slice := range endpoints {
		number, ok := portIn(slice, port)
		if !ok || slice.AddressType != discoveryv1.AddressTypeIPv4 {
			continue
		}
		for _, e := range slice.Endpoints {
			if len(e.Addresses) == 0 || !may(e) {
				continue
			}
			addr, err := netip.ParseAddr(e.Addresses[0]) // the others have no meaning
			if err != nil {
				continue
			}
			c := conditionsOf(e)
			b := Backend{netip.AddrPortFrom(addr, number), c.terminating}
			switch {
			case c.ready:
				ready = append(ready, b)
			case c.serving && c.terminating:
				ending = append(ending, b)
			}
		}
	}
	if len(ready) == 0 {
		ready = ending
	}
	slices.SortFunc(ready, func(a, b Backend) int {
		if c := a.AddrPort.Compare(b.AddrPort); c != 0 || a.Terminating == b.Terminating {
			return c
		} else if a.Terminating {
			return 1
		}
		return -1
	})
	return slices.CompactFunc(ready, func(a, b Backend) bool { return a.AddrPort == b.AddrPort })
}

// portIn is the number that a slice has for a service port: ports meet by name.
func portIn(slice *discoveryv1.EndpointSlice, port corev1.ServicePort) (uint16, bool) {
	want, _ := ProtocolOf(port.Protocol)
	for _, p := range slice.Ports {
		var name string
		if p.Name != nil {
			name = *p.Name
		}
		protocol := TCP
		if p.Protocol != nil {
			protocol, _ = ProtocolOf(*p.Protocol)
		}
		if name == port.Name && protocol == want && p.Port != nil {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

// ProtocolOf is the number of a protocol that can be led; false for others.
func ProtocolOf(p corev1.Protocol) (Protocol, bool) {
	switch p {
	case corev1.ProtocolTCP, "":
		return TCP, true
	case corev1.ProtocolUDP:
		return UDP, true
	}
	return 0, false
}

type conditions struct{ ready, serving, terminating bool }

// conditionsOf applies the documented defaults: unknown is ready, and serving is ready unless it is said.
func conditionsOf(e discoveryv1.Endpoint) conditions {
	is := func(b *bool, otherwise bool) bool {
		if b == nil {
			return otherwise
		}
		return *b
	}
	ready := is(e.Conditions.Ready, true)
	return conditions{ready, is(e.Conditions.Serving, ready), is(e.Conditions.Terminating, false)}
}

// A compilation is the rows of one service in the making.
type compilation struct {
	was   Rows
	ids   IDs
	known map[netip.AddrPort]ID // backends, of before and new
	rows  Rows
}

// add lets fs lead to members, which are sorted.
func (c *compilation) add(fs []Frontend, members []Backend) {
	ids := make([]ID, len(members))
	for i, b := range members {
		id, ok := c.known[b.AddrPort]
		if !ok {
			id = c.fresh()
			c.known[b.AddrPort] = id
		}
		ids[i] = id
		c.rows.Backends = append(c.rows.Backends, target.Entry[ID, Backend]{Key: id, Value: b})
	}
	set := c.setOf(fs, ids)
	for _, f := range fs {
		c.rows.Frontends = append(c.rows.Frontends, target.Entry[Frontend, Set]{Key: f, Value: set})
	}
	for i, id := range ids {
		c.rows.Slots = append(c.rows.Slots, target.Entry[Slot, ID]{Key: Slot{set.ID, uint32(i)}, Value: id})
	}
}

// setOf is the set that fs had if it has those members, and a new one otherwise.
func (c *compilation) setOf(fs []Frontend, ids []ID) Set {
	if len(ids) == 0 {
		return Set{}
	}
	for _, f := range fs {
		if set, members := c.was.set(f); set.ID != 0 && slices.Equal(members, ids) {
			return Set{set.ID, uint32(len(ids))}
		}
	}
	return Set{c.fresh(), uint32(len(ids))}
}

func (c *compilation) fresh() ID {
	c.ids++
	return ID(c.ids)
}

// finish sorts the rows. Ports that lead to the same endpoint share its backend.
func (c *compilation) finish() Rows {
	return Rows{sortedOnce(c.rows.Frontends), sortedOnce(c.rows.Slots), sortedOnce(c.rows.Backends)}
}

func sortedOnce[K target.Key[K], V comparable](rows []target.Entry[K, V]) []target.Entry[K, V] {
	target.Sort(rows)
	return slices.CompactFunc(rows, func(a, b target.Entry[K, V]) bool { return a.Key == b.Key })
}
