package repo

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const uploadPack = "git-upload-pack"

// An httpClient keeps the connections of one remote.
type httpClient struct {
	http *http.Client
	addr address
	auth Credentials
}

func newHTTPClient(addr address, auth Credentials) (*httpClient, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if len(auth.CA) > 0 && !roots.AppendCertsFromPEM(auth.CA) {
		return nil, errors.New("the CA bundle has no PEM certificate in it")
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConns:          1,
		ForceAttemptHTTP2:     true,
	}
	if user := addr.user; user != nil && auth.Username == "" && auth.Token == "" {
		auth.Username = user.Username()
		auth.Password, _ = user.Password()
	}
	return &httpClient{&http.Client{Transport: transport, CheckRedirect: checkRedirect}, addr, auth}, nil
}

// checkRedirect follows a few hops, never from https to http, and takes the login off where the server is another one.
// net/http would leave it on for another port, and for hosts below.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > 5 {
		return errors.New("redirected more than five times")
	}
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("redirected from https to %s", req.URL.Scheme)
	}
	if !sameServer(via[0].URL, req.URL) {
		req.Header.Del("Authorization")
	}
	return nil
}

func sameServer(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }

// dial makes a peer. It does not connect yet.
func (c *httpClient) dial(context.Context) (peer, error) {
	return &httpPeer{client: c, base: c.addr.base()}, nil
}

func (c *httpClient) close() { c.http.CloseIdleConnections() }

// An httpPeer speaks smart HTTP. base moves when the server redirects.
type httpPeer struct {
	client *httpClient
	base   string
}

func (p *httpPeer) advertise(ctx context.Context) (io.ReadCloser, error) {
	const tail = "/info/refs"
	res, err := p.do(ctx, http.MethodGet, p.base+tail+"?service="+uploadPack, nil)
	if err != nil {
		return nil, err
	}
	if res.Header.Get("Content-Type") != "application/x-"+uploadPack+"-advertisement" {
		res.Body.Close()
		return nil, fmt.Errorf("%w: the server answers with a page (%s), not as Git does", ErrNoRemote, printable(res.Header.Get("Content-Type")))
	}
	final := *res.Request.URL
	final.RawQuery = ""
	if base, ok := strings.CutSuffix(final.String(), tail); ok {
		p.base = base
	}
	return res.Body, nil
}

func (p *httpPeer) ask(ctx context.Context, request []byte) (io.ReadCloser, error) {
	res, err := p.do(ctx, http.MethodPost, p.base+"/"+uploadPack, request)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

func (p *httpPeer) close() {}

func (p *httpPeer) do(ctx context.Context, method, target string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "git/mainstay")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-"+uploadPack+"-request")
		req.Header.Set("Accept", "application/x-"+uploadPack+"-result")
	}
	p.client.login(req)
	res, err := p.client.http.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	if err := statusError(res, p.client.auth); err != nil {
		res.Body.Close()
		return nil, err
	}
	return res, nil
}

// login adds the credentials, if req goes to the server that they are for.
func (c *httpClient) login(req *http.Request) {
	if req.URL.Scheme != c.addr.scheme || req.URL.Host != c.addr.host {
		return
	}
	switch {
	case c.auth.Token != "":
		name := c.auth.Username
		if name == "" {
			name = "git" // forges take any
		}
		req.SetBasicAuth(name, c.auth.Token)
	case c.auth.Username != "" || c.auth.Password != "":
		req.SetBasicAuth(c.auth.Username, c.auth.Password)
	}
}

// withoutURL takes off what net/http adds: the caller says which remote it was, without the login.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

func statusError(res *http.Response, auth Credentials) error {
	switch res.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized:
		if auth.Token == "" && auth.Username == "" && auth.Password == "" {
			return fmt.Errorf("%w: the server wants a login, and none is set (or the repository does not exist)", ErrAuth)
		}
		return fmt.Errorf("%w: the server does not take the login", ErrAuth)
	case http.StatusForbidden:
		return fmt.Errorf("%w: the login may not read this repository", ErrAuth)
	case http.StatusNotFound:
		return fmt.Errorf("%w (or the login may not see it)", ErrNoRemote)
	}
	return fmt.Errorf("the server answers %s", printable(res.Status))
}
