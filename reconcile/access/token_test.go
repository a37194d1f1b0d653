package access

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// office is an issuer, and the state that its tokens are about.
type office struct {
	t *testing.T
	*store.Memory
	*Issuer
	now time.Time
}

func newOffice(t *testing.T) *office {
	kinds := store.Kinds{}
	for kind, o := range map[string]store.Object{"Pod": &corev1.Pod{}, "Secret": &corev1.Secret{}, "Node": &corev1.Node{}, "ServiceAccount": &corev1.ServiceAccount{}} {
		kinds.Add(schema.GroupVersionKind{Version: "v1", Kind: kind}, o)
	}
	m, err := store.Open(store.NewVolatile(kinds), kinds, store.Options{Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	o := &office{t: t, Memory: m, now: birth}
	if o.Issuer, err = LoadIssuer(t.TempDir(), func() time.Time { return o.now }); err != nil {
		t.Fatal(err)
	}
	o.put(&corev1.ServiceAccount{ObjectMeta: about("shop", "web", "a1")}, &corev1.Node{ObjectMeta: about("", "n1", "n-uid")}, o.pod("p1"),
		&corev1.Secret{ObjectMeta: about("shop", "s", "s1")})
	return o
}

func about(ns, name, uid string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(uid)}
}

func (o *office) pod(uid string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: about("shop", "web-1", uid), Spec: corev1.PodSpec{NodeName: "n1", ServiceAccountName: "web"}}
}

// put writes objects in place of those of the same name.
func (o *office) put(all ...store.Object) {
	o.t.Helper()
	if _, err := o.Update(o.t.Context(), "test", func(tx *store.Tx) error {
		for _, x := range all {
			if _, ok := tx.Get(tx.Key(x)); ok {
				if err := tx.Delete(tx.Key(x)); err != nil {
					return err
				}
			}
			if err := tx.Create(x); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) drop(x store.Object) {
	o.t.Helper()
	if _, err := o.Update(o.t.Context(), "test", func(tx *store.Tx) error { return tx.Delete(tx.Key(x)) }); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) forPod(old string) (string, time.Time) {
	o.t.Helper()
	seconds := int64(3607)
	token, renew, err := o.ForPod(o.Snapshot(), o.pod("p1"), &corev1.ServiceAccountTokenProjection{ExpirationSeconds: &seconds}, old)
	if err != nil {
		o.t.Fatal(err)
	}
	return token, renew
}

// who is the user of a token for audiences, or why there is none.
func (o *office) who(token string, audiences ...string) (*authenticator.Response, string) {
	ctx := context.Background()
	if len(audiences) > 0 {
		ctx = authenticator.WithAudiences(ctx, audiences)
	}
	r, ok, err := o.Issuer.Authenticator(o.Snapshot).AuthenticateToken(ctx, token)
	switch {
	case err != nil:
		return nil, err.Error()
	case !ok:
		return nil, "not mine"
	}
	return r, ""
}

func TestAPodsTokenSaysWhatKubernetesSays(t *testing.T) {
	o := newOffice(t)
	token, renew := o.forPod("")
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	id, _ := got["jti"].(string)
	want := map[string]any{
		"aud": []any{IssuerName}, "iss": IssuerName, "sub": "system:serviceaccount:shop:web", "jti": id,
		"iat": float64(birth.Unix()), "nbf": float64(birth.Unix()), "exp": float64(birth.Unix() + 3607),
		"kubernetes.io": map[string]any{
			"namespace": "shop", "serviceaccount": map[string]any{"name": "web", "uid": "a1"},
			"pod": map[string]any{"name": "web-1", "uid": "p1"}, "node": map[string]any{"name": "n1", "uid": "n-uid"},
		},
	}
	if d := cmp.Diff(want, got); d != "" || len(id) != 36 {
		t.Error(d, id)
	}
	if after := renew.Sub(birth).Round(time.Second); after != 2886*time.Second {
		t.Errorf("it is to be renewed after %s, want four fifths of its life", after)
	}
	r, why := o.who(token)
	if why != "" {
		t.Fatal(why)
	}
	groups := []string{"system:serviceaccounts", "system:serviceaccounts:shop"}
	extra := map[string][]string{
		"authentication.kubernetes.io/credential-id": {"JTI=" + id},
		"authentication.kubernetes.io/pod-name":      {"web-1"}, "authentication.kubernetes.io/pod-uid": {"p1"},
		"authentication.kubernetes.io/node-name": {"n1"}, "authentication.kubernetes.io/node-uid": {"n-uid"},
	}
	if u := r.User; u.GetName() != "system:serviceaccount:shop:web" || u.GetUID() != "a1" || cmp.Diff(groups, u.GetGroups()) != "" || cmp.Diff(extra, u.GetExtra()) != "" {
		t.Errorf("%+v", u)
	}
}

func TestATokenIsWorthNothingOnceWhatItIsBoundToIsGone(t *testing.T) {
	deleted := func(o *office, x store.Object, ago time.Duration) store.Object {
		at := metav1.NewTime(o.now.Add(-ago))
		x.SetDeletionTimestamp(&at)
		return x
	}
	for _, row := range []struct {
		what   string
		change func(*office)
		want   string
	}{
		{"nothing changed", func(*office) {}, ""},
		{"its pod is gone", func(o *office) { o.drop(o.pod("")) }, "its pod shop/web-1 is gone"},
		{"its pod was made anew", func(o *office) { o.put(o.pod("p2")) }, "its pod shop/web-1 was made anew since"},
		{"its pod is ending", func(o *office) { o.put(deleted(o, o.pod("p1"), 59*time.Second)) }, ""},
		{"its pod should have ended", func(o *office) { o.put(deleted(o, o.pod("p1"), 61*time.Second)) }, "its pod shop/web-1 has been deleted"},
		{"its account is gone", func(o *office) { o.drop(&corev1.ServiceAccount{ObjectMeta: about("shop", "web", "")}) }, "its service account shop/web is gone"},
		{"its account was made anew", func(o *office) { o.put(&corev1.ServiceAccount{ObjectMeta: about("shop", "web", "a2")}) },
			"its service account shop/web was made anew since"},
		{"its time is over", func(o *office) { o.now = birth.Add(3607*time.Second + 61*time.Second) }, "token is expired"},
		{"its time has not come", func(o *office) { o.now = birth.Add(-2 * time.Minute) }, "not valid yet"},
	} {
		o := newOffice(t)
		token, _ := o.forPod("")
		row.change(o)
		_, why := o.who(token)
		if row.want == "" && why != "" || !strings.Contains(why, row.want) {
			t.Errorf("%s: %q, want %q", row.what, why, row.want)
		}
	}
}

func TestTokensOfOthersAreNotTaken(t *testing.T) {
	o, other := newOffice(t), newOffice(t)
	token, _ := o.forPod("")
	foreign, _ := other.forPod("")
	head, rest, _ := strings.Cut(token, ".")
	body, mark, _ := strings.Cut(rest, ".")
	raw, _ := base64.RawURLEncoding.DecodeString(body)
	forged := base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(raw), "shop:web", "shop:adm", 1)))
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	for what, token := range map[string]string{
		"another cluster's": foreign, "one without a signature": head + "." + body + ".", "one with another body": head + "." + forged + "." + mark,
		"one that says it needs no signature": none + "." + body + ".", "no token": "hello", "nothing": "",
	} {
		if r, why := o.who(token); why == "" {
			t.Errorf("%s is taken for %v", what, r.User)
		}
	}
	if _, why := o.who(token, "vault"); !strings.Contains(why, "is invalid for the target audiences") {
		t.Errorf("it is taken for another audience: %q", why)
	}
}

func TestATokenIsKeptUntilItIsOldOrWorthNothing(t *testing.T) {
	for _, row := range []struct {
		what   string
		change func(*office)
		kept   bool
	}{
		{"it is young", func(o *office) { o.now = birth.Add(2800 * time.Second) }, true},
		{"it is old", func(o *office) { o.now = birth.Add(2900 * time.Second) }, false},
		{"the account was made anew", func(o *office) { o.put(&corev1.ServiceAccount{ObjectMeta: about("shop", "web", "a2")}) }, false},
		{"another key signs", func(o *office) { o.Issuer = newOffice(o.t).Issuer }, false},
	} {
		o := newOffice(t)
		token, _ := o.forPod("")
		row.change(o)
		if again, _ := o.forPod(token); (again == token) != row.kept {
			t.Errorf("%s: kept is %v", row.what, again == token)
		}
	}
	o := newOffice(t)
	year := int64(365 * 24 * 3600)
	if _, renew, err := o.ForPod(o.Snapshot(), o.pod("p1"), &corev1.ServiceAccountTokenProjection{ExpirationSeconds: &year}, ""); err != nil || renew.Sub(birth) != 24*time.Hour {
		t.Errorf("one for a year is renewed after %s (%v)", renew.Sub(birth), err)
	}
}

func TestKeysAreKeptAndCanBeReplaced(t *testing.T) {
	dir := t.TempDir()
	now := func() time.Time { return birth }
	first, err := LoadIssuer(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, issuerFile)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	token, _, err := first.sign(private{Namespace: "shop", Account: named{"web", "a1"}}, []string{IssuerName}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := newIssuer(path)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		file []byte
		want string
	}{
		"the old key alone": {old, ""}, "a new key before it": {append(fresh, old...), ""}, "a new key alone": {fresh, "signature"},
		"an empty file": {nil, "it is empty"}, "no PEM": {[]byte("x"), "not PEM"},
	} {
		if err := os.WriteFile(path, c.file, 0o600); err != nil {
			t.Fatal(err)
		}
		i, err := LoadIssuer(dir, now)
		if err == nil {
			_, err = i.read(token)
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}

func TestTokensAreGrantedAsKubernetesGrantsThem(t *testing.T) {
	o := newOffice(t)
	account, _ := store.Get[*corev1.ServiceAccount](o.Snapshot(), "shop", "web")
	o.put(&corev1.ServiceAccount{ObjectMeta: about("shop", "other", "a9")})
	stranger, _ := store.Get[*corev1.ServiceAccount](o.Snapshot(), "shop", "other")
	seconds := func(n int64) *int64 { return &n }
	bound := func(kind, name string, uid types.UID) *authenticationv1.BoundObjectReference {
		return &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: name, UID: uid}
	}
	for _, row := range []struct {
		what    string
		account *corev1.ServiceAccount
		spec    authenticationv1.TokenRequestSpec
		want    string
	}{
		{"as it is", account, authenticationv1.TokenRequestSpec{}, ""},
		{"for a pod", account, authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Pod", "web-1", "p1")}, ""},
		{"for a secret", account, authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Secret", "s", "")}, ""},
		{"for a node", account, authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Node", "n1", "")}, ""},
		{"for a moment", account, authenticationv1.TokenRequestSpec{ExpirationSeconds: seconds(599)}, "less than 10 minutes"},
		{"for ever", account, authenticationv1.TokenRequestSpec{ExpirationSeconds: seconds(1 << 33)}, "larger than 2^32"},
		{"for a pod that is not there", account, authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Pod", "nope", "")}, `pods "nope" not found`},
		{"for a pod of another life", account, authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Pod", "web-1", "p0")}, "does not match the UID in record"},
		{"for somebody else's pod", stranger, authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Pod", "web-1", "")}, "running with different serviceaccount name"},
		{"for a house", account, authenticationv1.TokenRequestSpec{BoundObjectRef: bound("House", "x", "")}, "cannot bind token to a House"},
	} {
		r := &authenticationv1.TokenRequest{Spec: row.spec}
		err := o.Grant(o.Snapshot(), row.account, r)
		switch {
		case row.want != "":
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%s: %v, want %s", row.what, err, row.want)
			}
		case err != nil:
			t.Errorf("%s: %v", row.what, err)
		default:
			if _, why := o.who(r.Status.Token); why != "" || r.Status.ExpirationTimestamp.Sub(birth) != time.Hour {
				t.Errorf("%s: %s, until %s", row.what, why, r.Status.ExpirationTimestamp)
			}
		}
	}
}

func BenchmarkATokenForAPod(b *testing.B) {
	i, err := LoadIssuer(b.TempDir(), time.Now)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := i.sign(private{Namespace: "shop", Account: named{"web", "a1"}}, []string{IssuerName}, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}
