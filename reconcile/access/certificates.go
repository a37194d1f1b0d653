package access

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var signingRequests = schema.GroupResource{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests"}

// requestAllowed tells why a write to a request for a certificate is not allowed, though its writer may write such: it
// takes the verb approve on the request's signer to decide about it, and sign to answer it. Nobody can ask to be an
// administrator.
func requestAllowed(s *store.Snapshot, a admission.Attributes) error {
	r, _ := a.GetObject().(*certificatesv1.CertificateSigningRequest)
	old, _ := a.GetOldObject().(*certificatesv1.CertificateSigningRequest)
	switch {
	case r == nil:
		return nil
	case a.GetSubresource() == "" && old == nil:
		return notMasters(r)
	case a.GetSubresource() == "approval" && old != nil:
		return signerAllowed(s, a.GetUserInfo(), "approve", old.Spec.SignerName)
	case a.GetSubresource() == "status" && old != nil:
		if bytes.Equal(old.Status.Certificate, r.Status.Certificate) && equality.Semantic.DeepEqual(old.Status.Conditions, r.Status.Conditions) {
			return nil
		}
		return signerAllowed(s, a.GetUserInfo(), "sign", old.Spec.SignerName)
	}
	return nil
}

func notMasters(r *certificatesv1.CertificateSigningRequest) error {
	if r.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return nil
	}
	parsed, err := ParseRequest(r.Spec.Request)
	if err != nil {
		return fmt.Errorf("failed to parse CSR: %w", err)
	}
	if slices.Contains(parsed.Subject.Organization, user.SystemPrivilegedGroup) {
		return fmt.Errorf("use of %s signer with %s group is not allowed", r.Spec.SignerName, user.SystemPrivilegedGroup)
	}
	return nil
}

// signerAllowed tells why who may not do verb for a signer, neither by its name nor for all of its domain.
func signerAllowed(s *store.Snapshot, who user.Info, verb, signer string) error {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		if decision, _ := Authorize(s, authorizer.AttributesRecord{
			User: who, Verb: verb, APIGroup: certificatesv1.GroupName, APIVersion: "*", Resource: "signers", Name: name, ResourceRequest: true,
		}); decision == authorizer.DecisionAllow {
			return nil
		}
	}
	return fmt.Errorf("user not permitted to %s requests with signerName %q", verb, signer)
}

// commonName is whom a request asks a certificate for.
func commonName(text []byte) (string, error) {
	r, err := ParseRequest(text)
	if err != nil {
		return "", err
	}
	return r.Subject.CommonName, nil
}

// ParseRequest reads a PKCS #10 request in PEM.
func ParseRequest(text []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}
