package access

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/authenticator"
)

// provider is an OpenID Connect issuer.
type provider struct {
	*httptest.Server
	key *rsa.PrivateKey
	ca  string // a file
}

func openProvider(t *testing.T) *provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{key: key}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	})
	p.Server = httptest.NewTLSServer(mux)
	t.Cleanup(p.Close)
	p.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(p.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// token is one with claims, for an audience.
func (p *provider) token(t *testing.T, audience string, life time.Duration, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: p.key, KeyID: "k"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"iss": p.URL, "aud": audience, "exp": time.Now().Add(life).Unix(), "iat": time.Now().Add(-time.Hour).Unix()}
	for k, v := range claims {
		all[k] = v
	}
	token, err := jwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// ask asks until the issuer is known.
func ask(t *testing.T, all []authenticator.Token, token string) (*authenticator.Response, bool, error) {
	t.Helper()
	if len(all) != 1 {
		t.Fatalf("%d authenticators", len(all))
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-tick.C {
		who, ok, err := all[0].AuthenticateToken(t.Context(), token)
		if err == nil || !strings.Contains(err.Error(), "not initialized") || time.Now().After(deadline) {
			return who, ok, err
		}
	}
}

func TestTokensOfAnOpenIDConnectIssuerAreBelieved(t *testing.T) {
	p := openProvider(t)
	other := openProvider(t)
	file := filepath.Join(t.TempDir(), "authentication.yaml")
	ca, err := os.ReadFile(p.ca)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: %s
    audiences: [cluster, other]
    audienceMatchPolicy: MatchAny
    certificateAuthority: %q
  claimMappings:
    username: {expression: '"file:" + claims.login'}
    groups: {expression: claims.roles}
  userValidationRules:
  - {expression: "!user.username.startsWith('file:root')", message: nobody is root}
`, p.URL, ca), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := OpenID{Issuer: p.URL, Client: "cluster", CAFile: p.ca, GroupsClaim: "roles", GroupsPrefix: "oidc:", RequiredClaims: map[string]string{"tenant": "shop"}}
	mail := flags
	mail.UsernameClaim, mail.RequiredClaims = "email", nil
	claims := map[string]any{"sub": "42", "email": "ann@example.com", "login": "ann", "email_verified": true, "roles": []string{"dev", "ops"}, "tenant": "shop"}
	without := func(name string) map[string]any {
		c := map[string]any{}
		for k, v := range claims {
			if k != name {
				c[k] = v
			}
		}
		return c
	}
	root := without("login")
	root["login"] = "root"
	for _, c := range []struct {
		sentence string
		o        OpenID
		token    string
		name     string // "": it is not believed
		groups   []string
		says     string
	}{
		{"a token", flags, p.token(t, "cluster", time.Hour, claims), p.URL + "#42", []string{"oidc:dev", "oidc:ops"}, ""},
		{"a token by its e-mail address", mail, p.token(t, "cluster", time.Hour, claims), "ann@example.com", []string{"oidc:dev", "oidc:ops"}, ""},
		{"a token without a claim that is required", flags, p.token(t, "cluster", time.Hour, without("tenant")), "", nil, "required claim tenant not present"},
		{"a token for somebody else", flags, p.token(t, "vault", time.Hour, claims), "", nil, "expected audience"},
		{"a token that has expired", flags, p.token(t, "cluster", -time.Minute, claims), "", nil, "token is expired"},
		{"a token of somebody else", flags, other.token(t, "cluster", time.Hour, claims), "", nil, ""},
		{"a token of somebody else who says otherwise", flags, other.token(t, "cluster", time.Hour, map[string]any{"iss": p.URL, "sub": "42", "tenant": "shop"}), "", nil, "failed to verify"},
		{"a token by a file", OpenID{File: file}, p.token(t, "other", time.Hour, claims), "file:ann", []string{"dev", "ops"}, ""},
		{"a token that a rule of the file refuses", OpenID{File: file}, p.token(t, "other", time.Hour, root), "", nil, "nobody is root"},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			all, err := c.o.Authenticators(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			who, ok, err := ask(t, all, c.token)
			if c.name == "" {
				if ok || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
					t.Errorf("%v %v", who, err)
				}
				return
			}
			if err != nil || !ok || who.User.GetName() != c.name || cmp.Diff(c.groups, who.User.GetGroups()) != "" {
				t.Errorf("%v %v", who, err)
			}
		})
	}
}

func TestWhatOfOpenIDConnectCannotBeDoneIsRefused(t *testing.T) {
	file := func(text string) OpenID {
		path := filepath.Join(t.TempDir(), "authentication.yaml")
		if err := os.WriteFile(path, []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		return OpenID{File: path}
	}
	const claims = "claimMappings: {username: {claim: sub, prefix: ''}}"
	for want, o := range map[string]OpenID{
		"it needs --oidc-client-id too":                       {Issuer: "https://example.com"},
		"it needs --oidc-issuer-url too":                      {Client: "x"},
		"--authentication-config: it cannot be used together": {File: "x", Issuer: "https://example.com"},
		"no such file":             {File: filepath.Join(t.TempDir(), "none")},
		"URL scheme must be https": {Issuer: "http://example.com", Client: "x"},
		"--oidc-ca-file":           {Issuer: "https://example.com", Client: "x", CAFile: "/nowhere"},
		`unknown field "jwts"`:     file("jwts: []\n"),
		"anonymous: Forbidden: those who do not say who":     file("anonymous: {enabled: true}\n"),
		"jwt[0].issuer.egressSelectorType: Forbidden: there": file("jwt: [{issuer: {url: https://example.com, audiences: [x], egressSelectorType: cluster}, " + claims + "}]\n"),
		"URL must not overlap with disallowed issuers":       file("jwt: [{issuer: {url: " + IssuerName + ", audiences: [x]}, " + claims + "}]\n"),
	} {
		if _, err := (&o).Authenticators(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if all, err := (&OpenID{}).Authenticators(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%v %v", all, err)
	}
}
