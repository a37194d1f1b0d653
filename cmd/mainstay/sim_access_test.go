package main

import (
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// simKeys are the same in each run: what is signed with them is part of the ledger.
func simKeys(t testing.TB) keys {
	t.Helper()
	authority, err := access.LoadAuthority("testdata/pki", simStart)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := access.LoadIssuer("testdata/pki", func() time.Time { return simStart })
	if err != nil {
		t.Fatal(err)
	}
	return keys{authority, issuer}
}

const simRequest = `-----BEGIN CERTIFICATE REQUEST-----
MIHIMHACAQAwDjEMMAoGA1UEAxMDYW5uMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD
QgAE4WFJbIxdF5+FKY52ChJZS/dWHZ2KRpifuo/I0/iImdPPOCWiFBt16EidU/Rv
2hGdr9LMR8dh4m8RpyxxuLYq4aAAMAoGCCqGSM49BAMCA0gAMEUCIFfU8L9frSda
cZMCy0EI+5koQLXS3ZgWiLOalaeg+P7DAiEAqhVazKG9rpNu0tBihQTIGcq5C/I+
vRkOHAGgMWy6eVY=
-----END CERTIFICATE REQUEST-----
`

// ask has somebody ask for a certificate, which is approved at once, and for a token in a Secret.
func (w *sim) ask() {
	w.byHand(func(tx *store.Tx) error {
		name := string(control.UID(w.rng))
		r := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: []byte(simRequest), SignerName: certificatesv1.KubeAPIServerClientSignerName, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
		}}
		w.scheme.Of(r).PrepareCreate(r, control.UID(w.rng), w.now)
		r.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, LastUpdateTime: metav1.NewTime(w.now)}}
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}}, Type: corev1.SecretTypeServiceAccountToken}
		w.scheme.Of(s).PrepareCreate(s, control.UID(w.rng), w.now)
		if err := tx.Create(r); err != nil {
			return err
		}
		if _, ok := store.Get[*corev1.ServiceAccount](tx.Snapshot, "default", "default"); !ok {
			return nil
		}
		return tx.Create(s)
	})
	w.rouse()
}

// forget deletes what was asked for, so that nothing of it ends when all is to be quiet.
func (w *sim) forget() {
	w.byHand(func(tx *store.Tx) error {
		for r := range store.List[*certificatesv1.CertificateSigningRequest](tx.Snapshot) {
			if err := tx.Delete(tx.Key(r)); err != nil {
				return err
			}
		}
		return nil
	})
	w.rouse()
}

// restTokens checks that each Secret that asks for a token has one.
func (w *sim) restTokens(s *store.Snapshot) {
	for secret := range store.List[*corev1.Secret](s) {
		if secret.Type == corev1.SecretTypeServiceAccountToken && len(secret.Data[corev1.ServiceAccountTokenKey]) == 0 {
			w.t.Errorf("Secret %s has no token", secret.Name)
		}
	}
}
