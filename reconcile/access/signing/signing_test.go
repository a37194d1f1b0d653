package signing

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var birth = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func authority(t *testing.T) *access.Authority {
	t.Helper()
	a, err := access.LoadAuthority(t.TempDir(), birth)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// world holds objects.
func world(t *testing.T, now time.Time, objects ...store.Object) control.World {
	t.Helper()
	kinds := scheme.New(scheme.Options{})
	m, err := store.Open(store.NewVolatile(kinds.Stored), kinds.Stored, store.Options{Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	if _, err := m.Update(context.Background(), "begin", func(tx *store.Tx) error {
		for _, o := range objects {
			if err := tx.Create(o.DeepCopyObject().(store.Object)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return control.World{Snapshot: m.Snapshot(), Now: now}
}

func request(t *testing.T, template *x509.CertificateRequest) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func subject(name string, groups ...string) *x509.CertificateRequest {
	return &x509.CertificateRequest{Subject: pkix.Name{CommonName: name, Organization: groups}}
}

func csr(text []byte, signer string, usages ...certificatesv1.KeyUsage) *certificatesv1.CertificateSigningRequest {
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "r", UID: "uid-1", CreationTimestamp: metav1.NewTime(birth)},
		Spec:       certificatesv1.CertificateSigningRequestSpec{Request: text, SignerName: signer, Usages: usages},
		Status: certificatesv1.CertificateSigningRequestStatus{Conditions: []certificatesv1.CertificateSigningRequestCondition{
			{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, LastUpdateTime: metav1.NewTime(birth)}}},
	}
}

const (
	client = certificatesv1.UsageClientAuth
	server = certificatesv1.UsageServerAuth
	sig    = certificatesv1.UsageDigitalSignature
	enc    = certificatesv1.UsageKeyEncipherment
)

func TestApprovedRequestsAreSignedIfTheyFitTheirSigner(t *testing.T) {
	node := subject("system:node:a", "system:nodes")
	named := subject("system:node:a", "system:nodes")
	named.DNSNames, named.IPAddresses = []string{"a"}, []net.IP{net.IPv4(192, 0, 2, 1)}
	mail := subject("system:node:a", "system:nodes")
	mail.EmailAddresses = []string{"a@example.com"}
	const api, kubelet, serving = certificatesv1.KubeAPIServerClientSignerName, certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.KubeletServingSignerName
	a := authority(t)
	for _, c := range []struct {
		sentence string
		asked    *x509.CertificateRequest
		signer   string
		usages   []certificatesv1.KeyUsage
		wrong    string // "": it is signed
	}{
		{"a user", subject("ann", "dev"), api, []certificatesv1.KeyUsage{client, sig, enc}, ""},
		{"a user who wants to serve", subject("ann"), api, []certificatesv1.KeyUsage{client, server}, "invalid usage for client certificate: server auth"},
		{"a user who wants nothing", subject("ann"), api, []certificatesv1.KeyUsage{sig}, "missing required usage for client certificate: client auth"},
		{"who speaks for others", subject("front-proxy-client"), api, []certificatesv1.KeyUsage{client}, "user front-proxy-client is not given away"},
		{"an administrator", subject("ann", "system:masters"), api, []certificatesv1.KeyUsage{client}, "group system:masters is not given away"},
		{"a node", node, kubelet, []certificatesv1.KeyUsage{client, sig}, ""},
		{"a node with an RSA key", node, kubelet, []certificatesv1.KeyUsage{client, sig, enc}, ""},
		{"a node that is none", subject("ann", "system:nodes"), kubelet, []certificatesv1.KeyUsage{client, sig}, "subject common name does not begin with system:node:"},
		{"a node of another group", subject("system:node:a", "dev"), kubelet, []certificatesv1.KeyUsage{client, sig}, "subject organization is not system:nodes"},
		{"a node with an address", named, kubelet, []certificatesv1.KeyUsage{client, sig}, "DNS subjectAltNames are not allowed"},
		{"a node with mail", mail, kubelet, []certificatesv1.KeyUsage{client, sig}, "Email subjectAltNames are not allowed"},
		{"a node that wants more", node, kubelet, []certificatesv1.KeyUsage{client, server, sig}, "usages did not match"},
		{"a node that serves", named, serving, []certificatesv1.KeyUsage{server, sig, enc}, ""},
		{"a node that serves nowhere", node, serving, []certificatesv1.KeyUsage{server, sig}, "DNS or IP subjectAltName is required"},
	} {
		r := csr(request(t, c.asked), c.signer, c.usages...)
		plan := func() *certificatesv1.CertificateSigningRequest {
			p, err := Requests{a}.Plan(world(t, birth.Add(time.Minute), r.DeepCopy()), store.Key{Name: "r"})
			if err != nil || len(p.Writes) != 1 || p.Writes[0].Op != control.UpdateStatus {
				t.Fatalf("%s: %v %v", c.sentence, p, err)
			}
			return p.Writes[0].Object.(*certificatesv1.CertificateSigningRequest)
		}
		next := plan()
		if c.wrong != "" {
			if last := next.Status.Conditions[len(next.Status.Conditions)-1]; last.Type != certificatesv1.CertificateFailed || !strings.Contains(last.Message, c.wrong) || len(next.Status.Certificate) > 0 {
				t.Errorf("%s: %+v", c.sentence, next.Status)
			}
			continue
		}
		block, _ := pem.Decode(next.Status.Certificate)
		if block == nil {
			t.Fatalf("%s: %+v", c.sentence, next.Status)
		}
		got, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		_, err = got.Verify(x509.VerifyOptions{Roots: a.Pool(), CurrentTime: birth.Add(time.Minute), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		if err != nil || got.Subject.CommonName != c.asked.Subject.CommonName || got.IsCA || len(got.DNSNames) != len(c.asked.DNSNames) || got.NotAfter.Sub(birth) < 364*24*time.Hour {
			t.Errorf("%s: %v %+v", c.sentence, err, got.Subject)
		}
		if again := plan(); string(again.Status.Certificate) != string(next.Status.Certificate) {
			t.Errorf("%s: the same decision is another certificate", c.sentence)
		}
	}
}

func TestRequestsAreLeftAloneOrTakenAway(t *testing.T) {
	good := csr(request(t, subject("ann")), certificatesv1.KubeAPIServerClientSignerName, client)
	pending, denied, other, failed := good.DeepCopy(), good.DeepCopy(), good.DeepCopy(), good.DeepCopy()
	pending.Status.Conditions = nil
	denied.Status.Conditions[0].Type = certificatesv1.CertificateDenied
	other.Spec.SignerName = "example.com/signer"
	failed.Status.Conditions = append(failed.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, LastUpdateTime: metav1.NewTime(birth)})
	a := authority(t)
	short := good.DeepCopy()
	seconds := int32(1200)
	short.Spec.ExpirationSeconds = &seconds
	issued, brief := good.DeepCopy(), short.DeepCopy()
	for _, r := range []*certificatesv1.CertificateSigningRequest{issued, brief} {
		var err error
		if r.Status.Certificate, err = a.SignRequest(r, birth); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		sentence string
		r        *certificatesv1.CertificateSigningRequest
		kept     time.Duration
	}{
		{"one that nobody decides", pending, 24 * time.Hour},
		{"one that was refused", denied, time.Hour},
		{"one that failed", failed, time.Hour},
		{"one that another signer leaves alone", other, 24 * time.Hour},
		{"one that was answered", issued, time.Hour},
		{"one whose certificate has expired", brief, 20 * time.Minute},
	} {
		for _, now := range []time.Duration{c.kept - time.Second, c.kept} {
			p, err := Requests{a}.Plan(world(t, birth.Add(now), c.r.DeepCopy()), store.Key{Name: "r"})
			gone := len(p.Writes) == 1 && p.Writes[0].Op == control.Delete
			if err != nil || gone != (now == c.kept) || !gone && (len(p.Writes) > 0 || p.After != time.Second) {
				t.Errorf("%s, after %s: %+v %v", c.sentence, now, p, err)
			}
		}
	}
}

func TestSecretsAreFilledWithTokensThatAreGoodWhileTheyAreThere(t *testing.T) {
	issuer, err := access.LoadIssuer(t.TempDir(), func() time.Time { return birth })
	if err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "robot", UID: "u1"}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s", Annotations: map[string]string{corev1.ServiceAccountNameKey: "robot"}}, Type: corev1.SecretTypeServiceAccountToken}
	c := TokenSecrets{Issuer: issuer, CA: []byte("ca")}
	key := store.Key{Namespace: "shop", Name: "s"}
	p, err := c.Plan(world(t, birth, account.DeepCopy(), secret.DeepCopy()), key)
	if err != nil || len(p.Writes) != 1 {
		t.Fatalf("%v %v", p, err)
	}
	full := p.Writes[0].Object.(*corev1.Secret)
	token := string(full.Data["token"])
	if token == "" || string(full.Data["ca.crt"]) != "ca" || string(full.Data["namespace"]) != "shop" || full.Annotations[corev1.ServiceAccountUIDKey] != "u1" {
		t.Errorf("%v %v", full.Annotations, full.Data)
	}
	if p, err := c.Plan(world(t, birth, account.DeepCopy(), full.DeepCopy()), key); err != nil || len(p.Writes) != 0 {
		t.Errorf("once more: %v %v", p, err)
	}
	renewed := account.DeepCopy()
	renewed.UID = "u2"
	for what, objects := range map[string][]store.Object{"its account is gone": {full.DeepCopy()}, "its account was made anew": {full.DeepCopy(), renewed}} {
		if p, err := c.Plan(world(t, birth, objects...), key); err != nil || len(p.Writes) != 1 || p.Writes[0].Op != control.Delete {
			t.Errorf("%s: %v %v", what, p, err)
		}
	}
	emptied := full.DeepCopy()
	emptied.Data = nil
	for what, row := range map[string]struct {
		objects []store.Object
		wanted  authenticator.Audiences
		good    bool
	}{
		"it is there":               {[]store.Object{account.DeepCopy(), full.DeepCopy()}, nil, true},
		"somebody else hears":       {[]store.Object{account.DeepCopy(), full.DeepCopy()}, authenticator.Audiences{"vault"}, false},
		"the Secret is gone":        {[]store.Object{account.DeepCopy()}, nil, false},
		"the Secret is emptied":     {[]store.Object{account.DeepCopy(), emptied}, nil, false},
		"the account is gone":       {[]store.Object{full.DeepCopy()}, nil, false},
		"the account was made anew": {[]store.Object{renewed, full.DeepCopy()}, nil, false},
	} {
		s := world(t, birth, row.objects...).Snapshot
		ctx := t.Context()
		if row.wanted != nil {
			ctx = authenticator.WithAudiences(ctx, row.wanted)
		}
		who, ok, err := issuer.Authenticator(func() *store.Snapshot { return s }).AuthenticateToken(ctx, token)
		if ok != row.good || row.good != (err == nil) || ok && who.User.GetName() != "system:serviceaccount:shop:robot" {
			t.Errorf("%s: %v %v %v", what, who, ok, err)
		}
	}
}
