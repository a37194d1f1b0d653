package access

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Before tokens were asked for they stood in Secrets of the type kubernetes.io/service-account-token, and never expired. They
// are still made for those who ask for such a Secret, and are good while it is there.
const legacyIssuer = "kubernetes/serviceaccount"

type legacyClaims struct {
	jwt.Claims
	Namespace string `json:"kubernetes.io/serviceaccount/namespace"`
	Secret    string `json:"kubernetes.io/serviceaccount/secret.name"`
	Account   string `json:"kubernetes.io/serviceaccount/service-account.name"`
	UID       string `json:"kubernetes.io/serviceaccount/service-account.uid"`
}

// ForSecret is the token of a service account that a Secret is to hold: the same one each time.
func (i *Issuer) ForSecret(account *corev1.ServiceAccount, secret string) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: repeatableKey{i.key, i.keys.Keys[0]}}, nil)
	if err != nil {
		return "", fmt.Errorf("sign a token for Secret %s/%s: %w", account.Namespace, secret, err)
	}
	token, err := jwt.Signed(signer).Claims(legacyClaims{
		Claims:    jwt.Claims{Issuer: legacyIssuer, Subject: serviceaccount.MakeUsername(account.Namespace, account.Name)},
		Namespace: account.Namespace, Secret: secret, Account: account.Name, UID: string(account.UID),
	}).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign a token for Secret %s/%s: %w", account.Namespace, secret, err)
	}
	return token, nil
}

// repeatableKey signs without chance, as RFC 6979 has it.
type repeatableKey struct {
	key    *ecdsa.PrivateKey
	public jose.JSONWebKey
}

var _ jose.OpaqueSigner = repeatableKey{}

// Public implements jose.OpaqueSigner.
func (k repeatableKey) Public() *jose.JSONWebKey { return &k.public }

// Algs implements jose.OpaqueSigner.
func (repeatableKey) Algs() []jose.SignatureAlgorithm { return []jose.SignatureAlgorithm{jose.ES256} }

// SignPayload implements jose.OpaqueSigner.
func (k repeatableKey) SignPayload(payload []byte, _ jose.SignatureAlgorithm) ([]byte, error) {
	digest := sha256.Sum256(payload)
	der, err := k.key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var pair struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &pair); err != nil {
		return nil, err
	}
	const half = 32
	signature := make([]byte, 2*half)
	pair.R.FillBytes(signature[:half])
	pair.S.FillBytes(signature[half:])
	return signature, nil
}

// legacy knows who bears a token that a Secret holds. errForeign: it is no such token.
func (i *Issuer) legacy(s *store.Snapshot, token string, wanted authenticator.Audiences) (*authenticator.Response, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, errForeign
	}
	c := &legacyClaims{}
	if err := parsed.UnsafeClaimsWithoutVerification(c); err != nil || c.Issuer != legacyIssuer {
		return nil, errForeign
	}
	if err := parsed.Claims(i.keys, c); err != nil {
		return nil, fmt.Errorf("its signature is not that of this cluster: %w", err)
	}
	if c.Subject != serviceaccount.MakeUsername(c.Namespace, c.Account) {
		return nil, errors.New("it contradicts itself about its service account")
	}
	account, ok := store.Get[*corev1.ServiceAccount](s, c.Namespace, c.Account)
	if !ok || string(account.UID) != c.UID {
		return nil, fmt.Errorf("its service account %s/%s is gone", c.Namespace, c.Account)
	}
	secret, ok := store.Get[*corev1.Secret](s, c.Namespace, c.Secret)
	if !ok || string(secret.Data[corev1.ServiceAccountTokenKey]) != token || ended(secret, i.now()) || ended(account, i.now()) {
		return nil, errors.New("the Secret that held it is gone, or holds another one")
	}
	heard := authenticator.Audiences{IssuerName}.Intersect(wanted)
	if len(heard) == 0 {
		return nil, fmt.Errorf("token audiences %q is invalid for the target audiences %q", IssuerName, wanted)
	}
	u := serviceaccount.ServiceAccountInfo{Namespace: c.Namespace, Name: c.Account, UID: c.UID}
	return &authenticator.Response{User: u.UserInfo(), Audiences: heard}, nil
}

// ended tells that o was deleted long enough ago.
func ended(o store.Object, now time.Time) bool {
	t := o.GetDeletionTimestamp()
	return t != nil && now.After(t.Add(afterlife))
}
