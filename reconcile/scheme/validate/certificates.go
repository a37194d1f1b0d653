package validate

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	expiresAtLeast = 600 // seconds
	legacySigner   = "kubernetes.io/legacy-unknown"
)

// CertificateSigningRequest validates a CertificateSigningRequest.
func CertificateSigningRequest(r *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := clusterMetadata(&r.ObjectMeta, func(string, bool) []string { return nil })
	spec := root("spec")
	if err := signedRequest(r.Spec.Request); err != nil {
		errs = append(errs, field.Invalid(spec.Child("request"), r.Spec.Request, err.Error()))
	}
	errs = append(errs, keyUsages(r.Spec.Usages, spec.Child("usages"))...)
	if r.Spec.SignerName == legacySigner {
		errs = append(errs, field.Invalid(spec.Child("signerName"), r.Spec.SignerName, "the legacy signerName is not allowed via this API version"))
	} else {
		errs = append(errs, signerName(r.Spec.SignerName, spec.Child("signerName"))...)
	}
	if s := r.Spec.ExpirationSeconds; s != nil && *s < expiresAtLeast {
		errs = append(errs, field.Invalid(spec.Child("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)"))
	}
	errs = append(errs, requestConditions(r.Status.Conditions, root("status").Child("conditions"))...)
	if err := onlyCertificates(r.Status.Certificate); err != nil {
		errs = append(errs, field.Invalid(root("status").Child("certificate"), "<certificate data>", err.Error()))
	}
	return errs
}

// signedRequest tells why text is no PKCS #10 request that is signed with its own key.
func signedRequest(text []byte) error {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	return r.CheckSignature()
}

// onlyCertificates tells why text is neither empty nor certificates.
func onlyCertificates(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	blocks := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) != 0 {
			return errors.New("no PEM block headers are permitted")
		}
		found, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
		blocks++
	}
	if blocks == 0 {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}

func keyUsages(all []certificatesv1.KeyUsage, path *field.Path) field.ErrorList {
	known := []certificatesv1.KeyUsage{
		certificatesv1.UsageSigning, certificatesv1.UsageDigitalSignature, certificatesv1.UsageContentCommitment, certificatesv1.UsageKeyEncipherment,
		certificatesv1.UsageKeyAgreement, certificatesv1.UsageDataEncipherment, certificatesv1.UsageCertSign, certificatesv1.UsageCRLSign,
		certificatesv1.UsageEncipherOnly, certificatesv1.UsageDecipherOnly, certificatesv1.UsageAny, certificatesv1.UsageServerAuth,
		certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning, certificatesv1.UsageEmailProtection, certificatesv1.UsageSMIME,
		certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel, certificatesv1.UsageIPsecUser, certificatesv1.UsageTimestamping,
		certificatesv1.UsageOCSPSigning, certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC,
	}
	if len(all) == 0 {
		return field.ErrorList{field.Required(path, "")}
	}
	var errs field.ErrorList
	for i := range all {
		errs = append(errs, maybe(&all[i], path.Index(i), known...)...)
	}
	for i, u := range all {
		if slices.Contains(all[:i], u) {
			errs = append(errs, field.Duplicate(path.Index(i), u))
		}
	}
	return errs
}

// signerName validates "domain.example/path".
func signerName(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	domain, rest, ok := strings.Cut(name, "/")
	if !ok || strings.Contains(rest, "/") {
		return field.ErrorList{field.Invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")}
	}
	var errs field.ErrorList
	if len(domain) > valid.DNS1123SubdomainMaxLength {
		errs = append(errs, field.TooLong(path, "", valid.DNS1123SubdomainMaxLength))
	}
	errs = append(errs, dotted(domain, path, valid.IsDNS1123Label)...)
	if !strings.Contains(domain, ".") {
		errs = append(errs, field.Invalid(path, domain, "should be a domain with at least two segments separated by dots"))
	}
	errs = append(errs, dotted(rest, path, valid.IsDNS1123Subdomain)...)
	const longest = 2*valid.DNS1123SubdomainMaxLength + valid.DNS1123LabelMaxLength + 2
	if len(name) > longest {
		errs = append(errs, field.TooLong(path, "", longest))
	}
	return errs
}

// dotted validates each part of text; the first that is wrong counts.
func dotted(text string, path *field.Path, check func(string) []string) field.ErrorList {
	for part := range strings.SplitSeq(text, ".") {
		var errs field.ErrorList
		for _, m := range check(part) {
			errs = append(errs, field.Invalid(path, text, fmt.Sprintf("validating label %q: %s", part, m)))
		}
		if len(errs) > 0 {
			return errs
		}
	}
	return nil
}

func requestConditions(all []certificatesv1.CertificateSigningRequestCondition, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[certificatesv1.RequestConditionType]bool{}
	for i, c := range all {
		p := path.Index(i)
		if c.Type == "" {
			errs = append(errs, field.Required(p.Child("type"), ""))
		}
		may := []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
		switch c.Type {
		case certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
			may = []corev1.ConditionStatus{corev1.ConditionTrue}
		}
		if c.Status == "" {
			errs = append(errs, field.Required(p.Child("status"), ""))
		} else {
			errs = append(errs, maybe(&c.Status, p.Child("status"), may...)...)
		}
		if c.Type == certificatesv1.CertificateApproved && seen[certificatesv1.CertificateDenied] || c.Type == certificatesv1.CertificateDenied && seen[certificatesv1.CertificateApproved] {
			errs = append(errs, field.Invalid(path, c.Type, "Approved and Denied conditions are mutually exclusive"))
		}
		if seen[c.Type] {
			errs = append(errs, field.Duplicate(p.Child("type"), c.Type))
		}
		seen[c.Type] = true
	}
	return errs
}

// CertificateSigningRequestUpdate lets neither the decision nor the certificate change.
func CertificateSigningRequestUpdate(new, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	return requestUpdate(new, old, false, false)
}

// CertificateSigningRequestStatusUpdate lets the certificate be set.
func CertificateSigningRequestStatusUpdate(new, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	return requestUpdate(new, old, false, true)
}

// CertificateSigningRequestApproval lets it be decided.
func CertificateSigningRequestApproval(new, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	return requestUpdate(new, old, true, false)
}

func requestUpdate(new, old *certificatesv1.CertificateSigningRequest, decide, issue bool) field.ErrorList {
	errs := CertificateSigningRequest(new)
	path := root("status").Child("conditions")
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		was, is := ofType(old, t), ofType(new, t)
		switch {
		case len(is) < len(was):
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("updates may not remove a condition of type %q", t)))
		case decide || t == certificatesv1.CertificateFailed:
		case len(is) > len(was):
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("updates may not add a condition of type %q", t)))
		case !same(is, was):
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("updates may not modify a condition of type %q", t)))
		}
	}
	if certificate := root("status").Child("certificate"); !bytes.Equal(new.Status.Certificate, old.Status.Certificate) {
		if !issue {
			errs = append(errs, field.Forbidden(certificate, "updates may not set certificate content"))
		} else if len(old.Status.Certificate) > 0 {
			errs = append(errs, field.Forbidden(certificate, "updates may not modify existing certificate content"))
		}
	}
	return append(errs, metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)...)
}

func ofType(r *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) []certificatesv1.CertificateSigningRequestCondition {
	var all []certificatesv1.CertificateSigningRequestCondition
	for _, c := range r.Status.Conditions {
		if c.Type == t {
			all = append(all, c)
		}
	}
	return all
}
