// Package dns writes what is known of the cluster's names into a file, from which dns/server answers. The server runs in a
// small process that outlives the daemon, so that names are known while the daemon is not there.
package dns

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/mainstay-gitops/mainstay/dataplane/dns/server"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Records are those of one service, as Kubernetes specifies them: at its own name and those of its ports and endpoints,
// and in reverse at its addresses. Some may be there twice. There are none for a service that is gone.
func Records(s *store.Snapshot, service store.Key, domain string) []server.Record {
	svc, ok := store.Get[*corev1.Service](s, service.Namespace, service.Name)
	if !ok {
		return nil
	}
	b := builder{name: svc.Name + "." + svc.Namespace + ".svc." + domain}
	switch {
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		b.add(b.name, "CNAME", absolute(svc.Spec.ExternalName))
	case svc.Spec.ClusterIP == corev1.ClusterIPNone:
		for slice := range store.List[*discoveryv1.EndpointSlice](s, store.InNamespace(svc.Namespace), store.OfService(svc.Name)) {
			b.addSlice(slice, svc.Spec.PublishNotReadyAddresses)
		}
	default:
		b.addCluster(svc)
	}
	return b.records
}

// Namespace is the record that lets the names of pods in a namespace be answered.
func Namespace(name, domain string) server.Record {
	return server.Record{Name: name + ".pod." + domain, Type: server.Pods}
}

// Version is the record that says which version of the specification the others follow.
func Version(domain string) server.Record {
	return server.Record{Name: "dns-version." + domain, Type: "TXT", Data: "1.1.0"}
}

// absolute is a name with its last dot, in lower case.
func absolute(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") + "." }

// builder collects the records of one service.
type builder struct {
	name    string // of the service
	records []server.Record
}

func (b *builder) add(name, kind, data string) {
	b.records = append(b.records, server.Record{Name: name, Type: kind, Data: data})
}

// addCluster adds a service that has addresses of its own.
func (b *builder) addCluster(svc *corev1.Service) {
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{svc.Spec.ClusterIP}
	}
	found := false
	for _, ip := range ips {
		if addr, err := netip.ParseAddr(ip); err == nil && addr.Is4() {
			found = true
			b.add(b.name, "A", addr.String())
			b.add(reverseName(addr), "PTR", b.name)
		}
	}
	for _, p := range svc.Spec.Ports {
		if found && p.Name != "" {
			b.addPort(p.Name, p.Protocol, p.Port, b.name)
		}
	}
}

func (b *builder) addPort(port string, protocol corev1.Protocol, number int32, target string) {
	if protocol == "" {
		protocol = corev1.ProtocolTCP
	}
	b.add("_"+port+"._"+strings.ToLower(string(protocol))+"."+b.name, "SRV", fmt.Sprintf("0 100 %d %s", number, target))
}

// addSlice adds endpoints of a headless service: all of them if it publishes those that are not ready too.
func (b *builder) addSlice(slice *discoveryv1.EndpointSlice, all bool) {
	if slice.AddressType != discoveryv1.AddressTypeIPv4 {
		return
	}
	for _, e := range slice.Endpoints {
		ready := e.Conditions.Ready == nil || *e.Conditions.Ready
		if len(e.Addresses) == 0 || !ready && !all {
			continue
		}
		addr, err := netip.ParseAddr(e.Addresses[0])
		if err != nil || !addr.Is4() {
			continue
		}
		host := strings.ReplaceAll(addr.String(), ".", "-")
		if e.Hostname != nil && *e.Hostname != "" {
			host = *e.Hostname
		}
		host += "." + b.name
		b.add(b.name, "A", addr.String())
		b.add(host, "A", addr.String())
		b.add(reverseName(addr), "PTR", host)
		for _, p := range slice.Ports {
			if p.Name != nil && *p.Name != "" && p.Port != nil {
				protocol := corev1.ProtocolTCP
				if p.Protocol != nil {
					protocol = *p.Protocol
				}
				b.addPort(*p.Name, protocol, *p.Port, host)
			}
		}
	}
}

// reverseName is the name at which an address is looked up.
func reverseName(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa.", b[3], b[2], b[1], b[0])
}
