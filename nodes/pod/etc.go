package pod

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

const (
	maxHostname = 63
	maxKernel   = 64 // that the kernel takes for a host name
)

// SandboxHostname is the name that the pod's containers see: its host name or, if the pod asks for that and has one, its full
// name in DNS. An error is *runtime.ConfigError: the kernel takes no name as long as that.
func SandboxHostname(p *corev1.Pod, place Place) (string, error) {
	full := domainName(p, place)
	switch {
	case !yes(p.Spec.SetHostnameAsFQDN) || full == "":
		return Hostname(p, place.Node), nil
	case len(full) > maxKernel:
		return "", &runtime.ConfigError{Reason: fmt.Sprintf(
			"Failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long (%d characters is the max, %d characters requested)", full, maxKernel, len(full))}
	}
	return full, nil
}

// Hostname is the pod's host name: the first part of its name in DNS.
func Hostname(p *corev1.Pod, node string) string {
	switch {
	case p.Spec.HostnameOverride != nil && *p.Spec.HostnameOverride != "":
		return *p.Spec.HostnameOverride
	case p.Spec.HostNetwork:
		return node
	}
	name := p.Name
	if p.Spec.Hostname != "" {
		name = p.Spec.Hostname
	}
	if len(name) > maxHostname {
		name = strings.TrimRight(name[:maxHostname], "-.")
	}
	return name
}

// domainName is the pod's full name in DNS; empty if it has none.
func domainName(p *corev1.Pod, place Place) string {
	if p.Spec.Subdomain == "" || p.Spec.HostNetwork || p.Spec.HostnameOverride != nil {
		return ""
	}
	return strings.Join([]string{Hostname(p, place.Node), p.Spec.Subdomain, p.Namespace, "svc", place.Domain}, ".")
}

// Hosts is the pod's /etc/hosts: on the host's network what the machine has, and the pod's own aliases.
func Hosts(p *corev1.Pod, place Place, address netip.Addr) string {
	var b strings.Builder
	own := !p.Spec.HostNetwork || place.Hosts == ""
	// These lines are documented, and there are programs that look for them.
	if p.Spec.HostNetwork {
		b.WriteString("# Kubernetes-managed hosts file (host network).\n")
	} else {
		b.WriteString("# Kubernetes-managed hosts file.\n")
	}
	if own {
		b.WriteString("127.0.0.1\tlocalhost\n" +
			"::1\tlocalhost ip6-localhost ip6-loopback\n" +
			"fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
	} else {
		fmt.Fprintln(&b, strings.TrimRight(place.Hosts, "\n"))
	}
	if own && address.IsValid() {
		names := []string{Hostname(p, place.Node)}
		if full := domainName(p, place); full != "" {
			names = []string{full, names[0]}
		}
		fmt.Fprintf(&b, "%s\t%s\n", address, strings.Join(names, "\t"))
	}
	if len(p.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
	}
	for _, a := range p.Spec.HostAliases {
		fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
	}
	return b.String()
}

const (
	maxServers     = 3 // that a resolver looks at
	maxSearch      = 32
	maxSearchChars = 2048
)

// resolv is what a resolv.conf says.
type resolv struct {
	servers, search, options []string
}

// Resolv is the pod's /etc/resolv.conf: the cluster's name servers and search path, or the machine's, or none, as the
// pod's policy says; then what its dnsConfig adds. What is more than resolvers look at is left out, and notes say so.
func Resolv(p *corev1.Pod, place Place) (text string, notes []string) {
	var r resolv
	switch policy := p.Spec.DNSPolicy; {
	case policy == corev1.DNSNone:
	case policy == corev1.DNSDefault,
		p.Spec.HostNetwork && policy != corev1.DNSClusterFirstWithHostNet,
		len(place.DNS) == 0:
		r = parseResolv(place.Resolv)
	default:
		for _, a := range place.DNS {
			r.servers = append(r.servers, a.String())
		}
		r.search = append([]string{p.Namespace + ".svc." + place.Domain, "svc." + place.Domain, place.Domain}, parseResolv(place.Resolv).search...)
		r.options = []string{"ndots:5"}
	}
	if c := p.Spec.DNSConfig; c != nil {
		r.servers = append(r.servers, c.Nameservers...)
		r.search = append(r.search, c.Searches...)
		for _, o := range c.Options {
			r.setOption(o)
		}
	}
	return r.within(&notes).String(), notes
}

// within is r as far as resolvers look at it. It notes what is left out.
func (r resolv) within(notes *[]string) resolv {
	r.servers, r.search = unique(r.servers), unique(r.search)
	if len(r.servers) > maxServers {
		r.servers = r.servers[:maxServers]
		*notes = append(*notes, "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "+strings.Join(r.servers, " "))
	}
	n, chars := 0, -1
	for n < min(len(r.search), maxSearch) && chars+1+len(r.search[n]) <= maxSearchChars {
		chars += 1 + len(r.search[n])
		n++
	}
	if n < len(r.search) {
		r.search = r.search[:n]
		*notes = append(*notes, "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "+strings.Join(r.search, " "))
	}
	return r
}

func parseResolv(text string) resolv {
	var r resolv
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			r.servers = append(r.servers, f[1])
		case "search", "domain":
			r.search = f[1:] // the last one counts
		case "options":
			r.options = append(r.options, f[1:]...)
		}
	}
	return r
}

// setOption adds an option in place of one of the same name.
func (r *resolv) setOption(o corev1.PodDNSConfigOption) {
	r.options = slices.DeleteFunc(r.options, func(have string) bool {
		name, _, _ := strings.Cut(have, ":")
		return name == o.Name
	})
	text := o.Name
	if o.Value != nil && *o.Value != "" {
		text += ":" + *o.Value
	}
	r.options = append(r.options, text)
}

func (r resolv) String() string {
	var b strings.Builder
	for _, s := range r.servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(r.search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.search, " "))
	}
	if len(r.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.options, " "))
	}
	return b.String()
}

func unique(list []string) []string {
	var u []string
	for _, s := range list {
		if !slices.Contains(u, s) {
			u = append(u, s)
		}
	}
	return u
}
