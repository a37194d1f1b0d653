package access

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// IssuerName is who signs the tokens of service accounts: their "iss", and the audience that the API is.
const IssuerName = "https://kubernetes.default.svc.cluster.local"

const issuerFile = "serviceaccounts.pem"

// An Issuer signs the tokens of service accounts, and knows its own again. It does not change and may be used from any
// number of goroutines.
type Issuer struct {
	keys   jose.JSONWebKeySet // public; one that is no longer signed with is still trusted
	signer jose.Signer        // with the first of the keys
	key    *ecdsa.PrivateKey  // the first
	now    func() time.Time
}

// LoadIssuer reads the keys that are kept in dir, or makes one there if there is none. Their file is readable by its owner
// only. It may hold several keys, the one to sign with first: so one can be replaced without a token becoming worthless.
// Keys that are damaged are an error.
func LoadIssuer(dir string, now func() time.Time) (*Issuer, error) {
	path := filepath.Join(dir, issuerFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = newIssuer(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key that signs tokens: %w", err)
	}
	i, err := parseIssuer(data, now)
	if err != nil {
		return nil, fmt.Errorf("read the key that signs tokens, %s: %w", path, err)
	}
	return i, nil
}

func newIssuer(path string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	data, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return data, replaceFile(path, data, 0o600)
}

func parseIssuer(data []byte, now func() time.Time) (*Issuer, error) {
	i := &Issuer{now: now}
	for rest := bytes.TrimSpace(data); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("it is not PEM")
		}
		found, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		key, ok := found.(*ecdsa.PrivateKey)
		if !ok || key.Curve != elliptic.P256() {
			return nil, fmt.Errorf("it holds a %T, not an ECDSA key on P-256", found)
		}
		if err := i.add(key); err != nil {
			return nil, err
		}
	}
	if i.signer == nil {
		return nil, errors.New("it is empty")
	}
	return i, nil
}

// add trusts key, and signs with it if it is the first.
func (i *Issuer) add(key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	sum := sha256.Sum256(der)
	id := base64.RawURLEncoding.EncodeToString(sum[:])
	i.keys.Keys = append(i.keys.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: id, Algorithm: string(jose.ES256), Use: "sig"})
	if i.signer != nil {
		return nil
	}
	i.key = key
	i.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	return err
}

// Discovery is what OpenID Connect Discovery tells of the issuer, for those who check tokens without asking the API.
type Discovery struct {
	Issuer        string   `json:"issuer"`
	Keys          string   `json:"jwks_uri"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
}

// Discovery describes the issuer, whose keys are to be found at a URL.
func (i *Issuer) Discovery(keys string) Discovery {
	return Discovery{IssuerName, keys, []string{"id_token"}, []string{"public"}, []string{string(jose.ES256)}}
}

// Keys are the public keys of the issuer, as a JSON Web Key Set.
func (i *Issuer) Keys() jose.JSONWebKeySet { return i.keys }
