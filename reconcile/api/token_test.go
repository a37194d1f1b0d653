package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// withAccounts serves the tokens of service accounts.
func withAccounts(t *testing.T) clusterOption {
	i, err := access.LoadIssuer(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config, _ *store.Options) { c.Issuer = i }
}

// bearer is the config of one who has a token and nothing else.
func (c *cluster) bearer(token string) *rest.Config {
	return &rest.Config{Host: c.URL, QPS: -1, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: c.Authority.PEM()}}
}

func TestATokenIsAskedForUsedAndReviewed(t *testing.T) {
	c := serve(t, withAccounts(t))
	k := c.client(t)
	ctx := t.Context()
	account, err := k.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(spec authenticationv1.TokenRequestSpec) string {
		t.Helper()
		r, err := k.CoreV1().ServiceAccounts("default").CreateToken(ctx, "robot", &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status.Token
	}
	token := ask(authenticationv1.TokenRequestSpec{})
	vault := ask(authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}})

	robot, err := kubernetes.NewForConfig(c.bearer(token))
	if err != nil {
		t.Fatal(err)
	}
	self, err := robot.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	groups := []string{"system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"}
	if u := self.Status.UserInfo; u.Username != "system:serviceaccount:default:robot" || u.UID != string(account.UID) || cmp.Diff(groups, u.Groups) != "" {
		t.Errorf("%+v", u)
	}
	if _, err := robot.Discovery().ServerGroups(); err != nil {
		t.Error(err)
	}
	if _, err := robot.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) ||
		!strings.Contains(err.Error(), `User "system:serviceaccount:default:robot" cannot list resource "secrets"`) {
		t.Errorf("it reads secrets: %v", err)
	}
	if _, err := robot.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("it reviews tokens: %v", err)
	}
	for _, row := range []struct {
		what, token string
		audiences   []string
		ok          bool
		want        string
	}{
		{"a token", token, nil, true, access.IssuerName},
		{"one for somebody else", vault, nil, false, "is invalid for the target audiences"},
		{"one for the one who asks", vault, []string{"vault", "bank"}, true, "vault"},
		{"nonsense", "nonsense", nil, false, "invalid bearer token"},
	} {
		r, err := k.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: row.token, Audiences: row.audiences}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		said := strings.Join(r.Status.Audiences, " ") + r.Status.Error
		if r.Status.Authenticated != row.ok || !strings.Contains(said, row.want) || row.ok && r.Status.User.UID != string(account.UID) {
			t.Errorf("%s: %+v", row.what, r.Status)
		}
	}
	if resp, _ := do(t, c.bearer(vault), c.URL, http.MethodGet, "/version", nil, ""); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token for somebody else: %s", resp.Status)
	}

	if err := k.CoreV1().ServiceAccounts("default").Delete(ctx, "robot", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := k.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if resp, _ := do(t, c.bearer(token), c.URL, http.MethodGet, "/version", nil, ""); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token of an account that was made anew: %s", resp.Status)
	}
}

func TestOthersCanCheckTokensByThemselves(t *testing.T) {
	c := serve(t, withAccounts(t))
	k := c.client(t)
	if _, err := k.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := k.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := c.bearer(r.Status.Token)
	var about access.Discovery
	_, text := do(t, config, c.URL, http.MethodGet, access.DiscoveryPath, nil, "")
	if err := json.Unmarshal([]byte(text), &about); err != nil || about.Issuer != access.IssuerName || about.Keys != c.URL+access.KeysPath {
		t.Fatalf("%v: %s", err, text)
	}
	_, text = do(t, config, c.URL, http.MethodGet, access.KeysPath, nil, "")
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(text), &keys); err != nil || len(keys.Keys) != 1 || !keys.Keys[0].IsPublic() {
		t.Fatalf("%v: %s", err, text)
	}
	parsed, err := jwt.ParseSigned(r.Status.Token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	if err := parsed.Claims(keys, &claims); err != nil || claims.Issuer != about.Issuer {
		t.Errorf("%v %+v", err, claims)
	}
	if resp, _ := do(t, &rest.Config{Host: c.URL, TLSClientConfig: config.TLSClientConfig}, c.URL, http.MethodGet, access.KeysPath, nil, ""); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("somebody unknown: %s", resp.Status)
	}
}
