package server

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

const (
	ttl      = 5 // seconds for which an answer, or that there is none, may be remembered
	maxChase = 8 // names that one question may lead to
)

// within tells whether name, in lower case, is domain or below it.
func within(name, domain string) bool {
	return name == domain || strings.HasSuffix(name, "."+domain)
}

// ours tells whether a question is answered from the zone alone.
func (z *zone) ours(name string) bool {
	if within(name, z.Domain) {
		return true
	}
	addr, ok := reverseAddr(name)
	for _, r := range z.Ranges {
		if ok && r.Contains(addr) {
			return true
		}
	}
	return false
}

// reverseAddr is the address that a name below in-addr.arpa stands for.
func reverseAddr(name string) (netip.Addr, bool) {
	digits, ok := strings.CutSuffix(name, ".in-addr.arpa.")
	labels := strings.Split(digits, ".")
	if !ok || len(labels) != 4 {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(labels[3] + "." + labels[2] + "." + labels[1] + "." + labels[0])
	return addr, err == nil
}

// answer fills m with the answer to its question, about a name that is the zone's. If it ends in a name that is not, that
// is returned: it is to be asked elsewhere.
func (z *zone) answer(m *dns.Msg) (elsewhere string) {
	m.Authoritative = true
	q := m.Question[0]
	name, owner := strings.ToLower(q.Name), q.Name // the first owner is spelled as in the question
	for range maxChase {
		records, exists := z.lookup(name)
		if len(m.Answer) == 0 && !exists {
			m.Rcode = dns.RcodeNameError
		}
		next := ""
		for _, r := range records {
			if rr := r.rr(owner); rr != nil && (rr.Header().Rrtype == q.Qtype || q.Qtype == dns.TypeANY || r.Type == "CNAME") {
				m.Answer = append(m.Answer, rr)
				if r.Type == "CNAME" && q.Qtype != dns.TypeCNAME && q.Qtype != dns.TypeANY {
					next = r.Data
				}
			}
		}
		if next == "" {
			break
		}
		name, owner = next, next
		if !z.ours(name) {
			return name
		}
	}
	if len(m.Answer) == 0 {
		m.Ns = append(m.Ns, z.soa())
	}
	z.addTargets(m)
	return ""
}

// lookup is what there is at a name, and whether the name exists.
func (z *zone) lookup(name string) (records []Record, exists bool) {
	records = z.records(name)
	if name == z.Domain {
		records = append(records, Record{name, "SOA", ""}, Record{name, "NS", z.server()})
	}
	if len(records) > 0 {
		return records, true
	}
	if r, ok := z.pod(name); ok {
		return []Record{r}, true
	}
	return nil, z.exists(name)
}

// pod is the record of a name that is a pod's address with dashes, in a namespace that exists.
func (z *zone) pod(name string) (Record, bool) {
	label, namespace, _ := strings.Cut(name, ".")
	addr, err := netip.ParseAddr(strings.ReplaceAll(label, "-", "."))
	if err != nil || !addr.Is4() {
		return Record{}, false
	}
	for _, r := range z.records(namespace) {
		if r.Type == Pods {
			return Record{name, "A", addr.String()}, true
		}
	}
	return Record{}, false
}

// server is the name that the zone gives to the server.
func (z *zone) server() string { return "ns.dns." + z.Domain }

func (z *zone) soa() dns.RR { return Record{z.Domain, "SOA", ""}.rr(z.Domain) }

// addTargets adds the addresses of the targets of SRV records.
func (z *zone) addTargets(m *dns.Msg) {
	seen := map[string]bool{}
	for _, rr := range m.Answer {
		srv, ok := rr.(*dns.SRV)
		if !ok || seen[srv.Target] {
			continue
		}
		seen[srv.Target] = true
		for _, r := range z.records(srv.Target) {
			if r.Type == "A" {
				m.Extra = append(m.Extra, r.rr(srv.Target))
			}
		}
	}
}

// rr is the record for the wire; nil if it is not for the wire.
func (r Record) rr(owner string) dns.RR {
	header := func(kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: owner, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
	}
	switch r.Type {
	case "A":
		addr, err := netip.ParseAddr(r.Data)
		if err != nil {
			return nil
		}
		return &dns.A{Hdr: header(dns.TypeA), A: addr.AsSlice()}
	case "CNAME":
		return &dns.CNAME{Hdr: header(dns.TypeCNAME), Target: r.Data}
	case "PTR":
		return &dns.PTR{Hdr: header(dns.TypePTR), Ptr: r.Data}
	case "NS":
		return &dns.NS{Hdr: header(dns.TypeNS), Ns: r.Data}
	case "TXT":
		return &dns.TXT{Hdr: header(dns.TypeTXT), Txt: []string{r.Data}}
	case "SOA":
		return &dns.SOA{Hdr: header(dns.TypeSOA), Ns: "ns.dns." + r.Name, Mbox: "hostmaster." + r.Name,
			Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl}
	case "SRV":
		return r.srv(header(dns.TypeSRV))
	}
	return nil
}

// srv reads "priority weight port target".
func (r Record) srv(header dns.RR_Header) dns.RR {
	words := strings.Fields(r.Data)
	if len(words) != 4 {
		return nil
	}
	var n [3]uint16
	for i := range n {
		v, err := strconv.ParseUint(words[i], 10, 16)
		if err != nil {
			return nil
		}
		n[i] = uint16(v)
	}
	return &dns.SRV{Hdr: header, Priority: n[0], Weight: n[1], Port: n[2], Target: words[3]}
}
