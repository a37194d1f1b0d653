package access

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
)

const (
	backdated  = 5 * time.Minute // what a certificate is good before it was asked for: clocks differ
	shortLife  = 8 * time.Hour   // below it, its end is not moved by that
	leastAsked = 10 * time.Minute
)

// SignRequest makes the certificate that a request asks for, for as long as it asks, a year at most, and not longer than
// the authority. It is PEM. The same request at the same time gets the same certificate. Whether it should have one is for
// others to say.
func (a *Authority) SignRequest(r *certificatesv1.CertificateSigningRequest, now time.Time) ([]byte, error) {
	asked, err := ParseRequest(r.Spec.Request)
	if err != nil {
		return nil, fmt.Errorf("parse the request: %w", err)
	}
	if err := asked.CheckSignature(); err != nil {
		return nil, fmt.Errorf("check the request's signature: %w", err)
	}
	if !now.Before(a.certificate.NotAfter) {
		return nil, errors.New("the certificate authority has expired")
	}
	template := &x509.Certificate{
		SerialNumber: serialOf(r, now), Subject: asked.Subject,
		DNSNames: asked.DNSNames, IPAddresses: asked.IPAddresses, EmailAddresses: asked.EmailAddresses, URIs: asked.URIs,
		NotBefore: now.Add(-backdated), NotAfter: until(r.Spec.ExpirationSeconds, now), BasicConstraintsValid: true,
	}
	if template.NotAfter.After(a.certificate.NotAfter) {
		template.NotAfter = a.certificate.NotAfter
	}
	for _, u := range r.Spec.Usages {
		if usage, ok := keyUsage(u); ok {
			template.KeyUsage |= usage
		} else if extended, ok := extendedUsage(u); !ok {
			return nil, fmt.Errorf("unrecognized usage values: %q", u)
		} else if !slices.Contains(template.ExtKeyUsage, extended) {
			template.ExtKeyUsage = append(template.ExtKeyUsage, extended)
		}
	}
	slices.Sort(template.ExtKeyUsage)
	der, err := x509.CreateCertificate(nil, template, a.certificate, asked.PublicKey, repeatable{a.key})
	if err != nil {
		return nil, fmt.Errorf("sign a certificate for %s: %w", asked.Subject.CommonName, err)
	}
	return encodeCertificate(der), nil
}

func until(seconds *int32, now time.Time) time.Time {
	life := certificateLife
	if seconds != nil {
		life = min(max(time.Duration(*seconds)*time.Second, leastAsked), certificateLife)
	}
	if life >= shortLife {
		life -= backdated
	}
	return now.Add(life)
}

// serialOf is a number that no other request has.
func serialOf(r *certificatesv1.CertificateSigningRequest, now time.Time) *big.Int {
	h := sha256.New()
	fmt.Fprintf(h, "%s %d %s", r.UID, now.UnixNano(), r.Spec.Request)
	n := new(big.Int).SetBytes(h.Sum(nil)[:16])
	return n.SetBit(n.Rsh(n, 1), 0, 1)
}

// repeatable signs without chance, as RFC 6979 has it, so that what is decided from a state is the same each time.
type repeatable struct{ crypto.Signer }

// Sign implements crypto.Signer.
func (r repeatable) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return r.Signer.Sign(nil, digest, opts)
}

func keyUsage(u certificatesv1.KeyUsage) (x509.KeyUsage, bool) {
	usage, ok := map[certificatesv1.KeyUsage]x509.KeyUsage{
		certificatesv1.UsageSigning: x509.KeyUsageDigitalSignature, certificatesv1.UsageDigitalSignature: x509.KeyUsageDigitalSignature,
		certificatesv1.UsageContentCommitment: x509.KeyUsageContentCommitment, certificatesv1.UsageKeyEncipherment: x509.KeyUsageKeyEncipherment,
		certificatesv1.UsageKeyAgreement: x509.KeyUsageKeyAgreement, certificatesv1.UsageDataEncipherment: x509.KeyUsageDataEncipherment,
		certificatesv1.UsageCertSign: x509.KeyUsageCertSign, certificatesv1.UsageCRLSign: x509.KeyUsageCRLSign,
		certificatesv1.UsageEncipherOnly: x509.KeyUsageEncipherOnly, certificatesv1.UsageDecipherOnly: x509.KeyUsageDecipherOnly,
	}[u]
	return usage, ok
}

func extendedUsage(u certificatesv1.KeyUsage) (x509.ExtKeyUsage, bool) {
	usage, ok := map[certificatesv1.KeyUsage]x509.ExtKeyUsage{
		certificatesv1.UsageAny: x509.ExtKeyUsageAny, certificatesv1.UsageServerAuth: x509.ExtKeyUsageServerAuth,
		certificatesv1.UsageClientAuth: x509.ExtKeyUsageClientAuth, certificatesv1.UsageCodeSigning: x509.ExtKeyUsageCodeSigning,
		certificatesv1.UsageEmailProtection: x509.ExtKeyUsageEmailProtection, certificatesv1.UsageSMIME: x509.ExtKeyUsageEmailProtection,
		certificatesv1.UsageIPsecEndSystem: x509.ExtKeyUsageIPSECEndSystem, certificatesv1.UsageIPsecTunnel: x509.ExtKeyUsageIPSECTunnel,
		certificatesv1.UsageIPsecUser: x509.ExtKeyUsageIPSECUser, certificatesv1.UsageTimestamping: x509.ExtKeyUsageTimeStamping,
		certificatesv1.UsageOCSPSigning: x509.ExtKeyUsageOCSPSigning, certificatesv1.UsageMicrosoftSGC: x509.ExtKeyUsageMicrosoftServerGatedCrypto,
		certificatesv1.UsageNetscapeSGC: x509.ExtKeyUsageNetscapeServerGatedCrypto,
	}[u]
	return usage, ok
}
