package access

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/tools/clientcmd"
)

var birth = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func authority(t *testing.T, dir string, now time.Time) *Authority {
	t.Helper()
	a, err := LoadAuthority(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestTheAuthorityIsMadeOnceAndKeptSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	first, second := authority(t, dir, birth), authority(t, dir, birth.AddDate(5, 0, 0))
	if string(first.PEM()) != string(second.PEM()) {
		t.Error("it was made twice")
	}
	info, err := os.Stat(filepath.Join(dir, authorityFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	if strings.Contains(string(first.PEM()), "PRIVATE") {
		t.Error("PEM tells the key")
	}
}

func TestAnAuthorityThatIsNoneIsNotReplaced(t *testing.T) {
	good := t.TempDir()
	a := authority(t, good, birth)
	whole, err := os.ReadFile(filepath.Join(good, authorityFile))
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, err := a.Client("x", nil, birth)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		data []byte
		now  time.Time
		want string
	}{
		"it is cut short":                     {whole[:len(whole)-20], birth, "key"},
		"it is empty":                         {nil, birth, "certificate"},
		"it is not PEM":                       {[]byte("hello"), birth, "certificate"},
		"it has expired":                      {whole, birth.AddDate(11, 0, 0), "it expired on 2036-04-28"},
		"its key is that of another":          {append(slices.Clone(a.pem), key...), birth, "does not match"},
		"its certificate is not an authority": {append(slices.Clone(certificate), key...), birth, "not that of an authority"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, authorityFile)
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadAuthority(dir, c.now)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", what, err)
		}
		if after, _ := os.ReadFile(path); string(after) != string(c.data) {
			t.Errorf("%s: the file was changed", what)
		}
	}
}

func TestTheServingCertificateIsRenewedBeforeItEnds(t *testing.T) {
	a := authority(t, t.TempDir(), birth)
	now := birth
	s := a.Serving([]string{"localhost", "kubernetes.default.svc", "127.0.0.1", "10.42.0.1", "::1"}, func() time.Time { return now })
	get := func() *x509.Certificate {
		c, err := s.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf
	}
	first := get()
	for _, host := range []string{"localhost", "kubernetes.default.svc", "127.0.0.1", "10.42.0.1", "::1"} {
		if _, err := first.Verify(x509.VerifyOptions{Roots: a.Pool(), DNSName: host, CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := first.Verify(x509.VerifyOptions{Roots: a.Pool(), DNSName: "example.com", CurrentTime: now}); err == nil {
		t.Error("it is good for everybody")
	}
	now = birth.AddDate(0, 7, 0)
	if get() != first {
		t.Error("it was renewed after seven months")
	}
	now = birth.AddDate(0, 9, 0)
	if second := get(); second == first || !second.NotAfter.After(birth.AddDate(1, 8, 0)) {
		t.Error("it was not renewed after nine months")
	}
	now = birth.AddDate(9, 11, 0)
	if last := get(); last.NotAfter.After(a.certificate.NotAfter) {
		t.Error("it outlives its authority")
	}
}

func TestTheKubeconfigIsWrittenWhenItMustBe(t *testing.T) {
	a, path := authority(t, t.TempDir(), birth), filepath.Join(t.TempDir(), "new", "kubeconfig")
	write := func(a *Authority, server string, now time.Time) string {
		t.Helper()
		if err := a.Kubeconfig(path, server, now); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	first := write(a, "https://127.0.0.1:6443", birth)
	if write(a, "https://127.0.0.1:6443", birth.AddDate(0, 7, 0)) != first {
		t.Error("it was written again without need")
	}
	second := write(a, "https://127.0.0.1:7443", birth)
	if second == first {
		t.Error("it was not written for another server")
	}
	third := write(a, "https://127.0.0.1:7443", birth.AddDate(0, 9, 0))
	if third == second {
		t.Error("it was not written before its certificate ended")
	}
	if write(authority(t, t.TempDir(), birth), "https://127.0.0.1:7443", birth.AddDate(0, 9, 0)) == third {
		t.Error("it was not written for another authority")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if c, err := clientcmd.BuildConfigFromFlags("", path); err != nil || c.Host != "https://127.0.0.1:7443" {
		t.Errorf("%v, %v", c, err)
	}
}

// request is one with a client certificate, if certificate is not nil.
func request(t *testing.T, path string, certificate []byte) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://localhost"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.TLS = &tls.ConnectionState{}
	if certificate != nil {
		block, _ := pem.Decode(certificate)
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		r.TLS.PeerCertificates = []*x509.Certificate{c}
	}
	return r
}

func TestRequestsAreAuthenticated(t *testing.T) {
	now := time.Now() // the library that verifies certificates looks at the clock
	a := authority(t, t.TempDir(), now.AddDate(-3, 0, 0))
	stranger := authority(t, t.TempDir(), now)
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("s3cret,pusher,1,\"git,readers\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	who, err := a.Authenticator(tokens, nil, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	client := func(a *Authority, user string, now time.Time, groups ...string) []byte {
		c, _, err := a.Client(user, groups, now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	serving, err := a.Serving([]string{"localhost"}, time.Now).GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what        string
		path        string
		certificate []byte
		token       string
		want        string
		groups      []string
	}{
		{"a certificate of the authority", "/api", client(a, "ann", now, "dev"), "", "ann", []string{"dev", "system:authenticated"}},
		{"one of another authority", "/api", client(stranger, "ann", now, "system:masters"), "", "", nil},
		{"one that has expired", "/api", client(a, "ann", now.AddDate(-2, 0, 0)), "", "", nil},
		{"one that is not good yet", "/api", client(a, "ann", now.AddDate(0, 1, 0)), "", "", nil},
		{"a server's certificate", "/api", encodeCertificate(serving.Leaf.Raw), "", "", nil},
		{"a token", "/api", nil, "s3cret", "pusher", []string{"git", "readers", "system:authenticated"}},
		{"a wrong token", "/api", nil, "s3cre", "", nil},
		{"nothing", "/api", nil, "", "", nil},
		{"nothing, asking whether the server lives", "/livez", nil, "", "system:anonymous", []string{"system:unauthenticated"}},
		{"nothing, asking whether it is ready", "/readyz", nil, "", "system:anonymous", []string{"system:unauthenticated"}},
		{"nothing, asking for more", "/readyz/ping", nil, "", "", nil},
	} {
		ask := func() (*authenticator.Response, bool, error) {
			r := request(t, c.path, c.certificate)
			if c.token != "" {
				r.Header.Set("Authorization", "Bearer "+c.token)
			}
			return who.AuthenticateRequest(r)
		}
		got, ok, err := ask()
		if again, ok2, _ := ask(); ok2 != ok || ok && cmp.Diff(got.User, again.User) != "" {
			t.Errorf("%s: at the second request %v %v, at the first %v", c.what, again, ok2, got)
		}
		if c.want == "" {
			if ok {
				t.Errorf("%s: taken for %s", c.what, got.User.GetName())
			}
			continue
		}
		if !ok || err != nil || got.User.GetName() != c.want || cmp.Diff(c.groups, got.User.GetGroups()) != "" {
			t.Errorf("%s: %v %v %v", c.what, got, ok, err)
		}
	}
}

func TestATokenFileIsOptionalButNotWrong(t *testing.T) {
	a := authority(t, t.TempDir(), birth)
	if _, err := a.Authenticator(filepath.Join(t.TempDir(), "none"), nil, nil, time.Now); err != nil {
		t.Error(err)
	}
	broken := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(broken, []byte("lonely\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Authenticator(broken, nil, nil, time.Now); err == nil || !strings.Contains(err.Error(), broken) {
		t.Error(err)
	}
}

func TestACertificateIsVerifiedOnceUntilItExpires(t *testing.T) {
	now := birth
	a := authority(t, t.TempDir(), birth)
	asked := 0
	m := &remembering{authority: a, now: func() time.Time { return now }, next: authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
		asked++
		return &authenticator.Response{User: &user.DefaultInfo{Name: "ann"}}, true, nil
	})}
	certificate, _, err := a.Client("ann", nil, birth)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := a.Client("ann", nil, birth)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		what        string
		now         time.Time
		certificate []byte
		want        int
	}{
		{"it comes for the first time", birth, certificate, 1},
		{"it comes again", birth, certificate, 1},
		{"another comes", birth, other, 2},
		{"the first comes at last", birth.AddDate(0, 11, 0), certificate, 2},
		{"it has expired", birth.AddDate(1, 0, 1), certificate, 3},
		{"it comes before its time", birth.AddDate(0, -1, 0), certificate, 4},
		{"there is none", birth, nil, 5},
	} {
		now = step.now
		got, ok, err := m.AuthenticateRequest(request(t, "/api", step.certificate))
		if asked != step.want || !ok || err != nil || got.User.GetName() != "ann" {
			t.Errorf("%s: asked %d times, want %d; %v, %v", step.what, asked, step.want, got, err)
		}
	}
}

func TestTheMemoryOfCertificatesIsBounded(t *testing.T) {
	m := &remembering{}
	for i := range 3 * rememberedAtMost {
		m.remember([32]byte{byte(i), byte(i >> 8)}, nil)
		if len(m.known) > rememberedAtMost {
			t.Fatalf("%d are remembered", len(m.known))
		}
	}
}
