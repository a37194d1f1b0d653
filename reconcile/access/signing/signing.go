// Package signing answers requests for certificates (CertificateSigningRequest) that somebody approved, and takes old ones
// away. It approves none.
package signing

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const (
	decidedKept = time.Hour      // a request after it was answered or refused
	pendingKept = 24 * time.Hour // one that nobody decides, or that its signer leaves alone
	nodePrefix  = "system:node:"
)

var requestKind = schema.GroupKind{Group: certificatesv1.GroupName, Kind: "CertificateSigningRequest"}

// Requests answers the requests to the signers that are the cluster's own: kubernetes.io/kube-apiserver-client,
// kube-apiserver-client-kubelet and kubelet-serving. Those to other signers are for others.
type Requests struct{ Authority *access.Authority }

// Name implements control.Controller.
func (Requests) Name() string { return "csrsigning" }

// Owns implements control.Controller.
func (Requests) Owns() []control.Owned { return []control.Owned{{Kind: requestKind}} }

// Watches implements control.Controller.
func (Requests) Watches() []control.Watch { return []control.Watch{{Kind: requestKind}} }

// Plan implements control.Controller.
func (q Requests) Plan(w control.World, key store.Key) (control.Plan, error) {
	var p control.Plan
	r, ok := store.Get[*certificatesv1.CertificateSigningRequest](w.Snapshot, "", key.Name)
	if !ok || r.DeletionTimestamp != nil {
		return p, nil
	}
	end := until(r)
	if !w.Now.Before(end) {
		p.Delete(r, "it has had its time")
		return p, nil
	}
	p.Again(end.Sub(w.Now))
	if !ours(r.Spec.SignerName) || !is(r, certificatesv1.CertificateApproved) || is(r, certificatesv1.CertificateFailed) || is(r, certificatesv1.CertificateDenied) || len(r.Status.Certificate) > 0 {
		return p, nil
	}
	next := r.DeepCopy()
	certificate, err := q.sign(r, w.Now)
	if err != nil {
		now := metav1.NewTime(w.Now.Truncate(time.Second))
		next.Status.Conditions = append(next.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure", Message: err.Error(),
			LastUpdateTime: now, LastTransitionTime: now,
		})
		p.Status(next, "it cannot be signed")
		return p, nil
	}
	next.Status.Certificate = certificate
	p.Status(next, "it is approved")
	return p, nil
}

func (q Requests) sign(r *certificatesv1.CertificateSigningRequest, now time.Time) ([]byte, error) {
	asked, err := access.ParseRequest(r.Spec.Request)
	if err != nil {
		return nil, err
	}
	if err := fits(r.Spec.SignerName, asked, r.Spec.Usages); err != nil {
		return nil, err
	}
	return q.Authority.SignRequest(r, now)
}

func ours(signer string) bool {
	return signer == certificatesv1.KubeAPIServerClientSignerName || signer == certificatesv1.KubeAPIServerClientKubeletSignerName || signer == certificatesv1.KubeletServingSignerName
}

func is(r *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) bool {
	return slices.ContainsFunc(r.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool {
		return c.Type == t && c.Status != corev1.ConditionFalse
	})
}

// until is when a request has had its time.
func until(r *certificatesv1.CertificateSigningRequest) time.Time {
	end := time.Time{}
	sooner := func(t metav1.Time, kept time.Duration) {
		if at := t.Add(kept); end.IsZero() || at.Before(end) {
			end = at
		}
	}
	if len(r.Status.Conditions) == 0 {
		sooner(r.CreationTimestamp, pendingKept)
	}
	issued := len(r.Status.Certificate) > 0
	for _, c := range r.Status.Conditions {
		at := c.LastUpdateTime
		if at.IsZero() {
			at = r.CreationTimestamp
		}
		switch {
		case c.Type == certificatesv1.CertificateApproved && !issued:
			sooner(at, pendingKept)
		case c.Type == certificatesv1.CertificateApproved:
			sooner(at, decidedKept)
			sooner(metav1.NewTime(expires(r.Status.Certificate, at.Add(decidedKept))), 0)
		case c.Type == certificatesv1.CertificateDenied, c.Type == certificatesv1.CertificateFailed:
			sooner(at, decidedKept)
		}
	}
	if end.IsZero() { // it has conditions that only its signer knows
		sooner(r.CreationTimestamp, pendingKept)
	}
	return end
}

// expires is when a certificate does; otherwise if it cannot be read.
func expires(text []byte, otherwise time.Time) time.Time {
	block, _ := pem.Decode(text)
	if block == nil {
		return otherwise
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return otherwise
	}
	return c.NotAfter
}

// fits tells why what is asked for is not what the signer signs.
func fits(signer string, asked *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	if slices.Contains(asked.Subject.Organization, user.SystemPrivilegedGroup) {
		return fmt.Errorf("group %s is not given away", user.SystemPrivilegedGroup)
	}
	if asked.Subject.CommonName == access.ProxyUser { // servers that extend the API believe whatever he says of others
		return fmt.Errorf("user %s is not given away", access.ProxyUser)
	}
	if signer == certificatesv1.KubeAPIServerClientSignerName {
		return clientUsages(usages)
	}
	switch {
	case !slices.Equal(asked.Subject.Organization, []string{user.NodesGroup}):
		return errors.New("subject organization is not system:nodes")
	case len(asked.EmailAddresses) > 0:
		//lint:ignore ST1005 Kubernetes says it like this
		return errors.New("Email subjectAltNames are not allowed")
	case len(asked.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	case !strings.HasPrefix(asked.Subject.CommonName, nodePrefix):
		//lint:ignore ST1005 Kubernetes says it like this
		return errors.New("subject common name does not begin with system:node:")
	}
	if signer == certificatesv1.KubeletServingSignerName {
		if len(asked.DNSNames) == 0 && len(asked.IPAddresses) == 0 {
			return errors.New("DNS or IP subjectAltName is required")
		}
		return exactly(usages, certificatesv1.UsageServerAuth)
	}
	switch {
	case len(asked.DNSNames) > 0:
		return errors.New("DNS subjectAltNames are not allowed")
	case len(asked.IPAddresses) > 0:
		return errors.New("IP subjectAltNames are not allowed")
	}
	return exactly(usages, certificatesv1.UsageClientAuth)
}

// clientUsages: a client's certificate is for nothing but to be a client.
func clientUsages(usages []certificatesv1.KeyUsage) error {
	client := false
	for _, u := range usages {
		switch u {
		case certificatesv1.UsageClientAuth:
			client = true
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment:
		default:
			return fmt.Errorf("invalid usage for client certificate: %s", u)
		}
	}
	if !client {
		return fmt.Errorf("missing required usage for client certificate: %s", certificatesv1.UsageClientAuth)
	}
	return nil
}

// exactly wants usages to be the one, and what its key needs.
func exactly(usages []certificatesv1.KeyUsage, one certificatesv1.KeyUsage) error {
	least := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, one}
	most := append([]certificatesv1.KeyUsage{certificatesv1.UsageKeyEncipherment}, least...)
	if slices.Equal(sorted(usages), sorted(least)) || slices.Equal(sorted(usages), sorted(most)) {
		return nil
	}
	return fmt.Errorf("usages did not match %v", sorted(most))
}

func sorted(usages []certificatesv1.KeyUsage) []certificatesv1.KeyUsage {
	return slices.Compact(slices.Sorted(slices.Values(usages)))
}
