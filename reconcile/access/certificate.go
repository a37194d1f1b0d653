package access

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"sync"
	"time"
)

// Serving is the certificate that a server shows. It is made when it is first asked for and made anew when it gets old;
// it is kept in memory only, since clients trust the authority and not the certificate. It may be used from any number of
// goroutines.
type Serving struct {
	authority *Authority
	hosts     []string
	now       func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
}

// Serving is a certificate for hosts, which are DNS names and IP addresses.
func (a *Authority) Serving(hosts []string, now func() time.Time) *Serving {
	return &Serving{authority: a, hosts: hosts, now: now}
}

// GetCertificate is for tls.Config.
func (s *Serving) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.current != nil && !old(s.current.Leaf, now) {
		return s.current, nil
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "mainstay"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range s.hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, key, err := s.authority.sign(template, now)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	s.current = &tls.Certificate{Certificate: [][]byte{der, s.authority.certificate.Raw}, PrivateKey: key, Leaf: leaf}
	return s.current, nil
}

// ProxyUser is who passes requests on to the servers that extend the API: these believe what he says of who asked.
const ProxyUser = "front-proxy-client"

// Client makes a certificate with which its holder is user, in groups, for a year. Both results are PEM.
func (a *Authority) Client(user string, groups []string, now time.Time) (certificate, key []byte, err error) {
	der, k, err := a.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, now)
	if err != nil {
		return nil, nil, err
	}
	key, err = encodeKey(k)
	return encodeCertificate(der), key, err
}
