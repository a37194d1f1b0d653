package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// asker asks one question of a container.
type asker struct {
	exec   func(context.Context, runtime.ID, []string) (int, string, error)
	dialer *net.Dialer
	client *http.Client
}

const maxBody = 10 << 10 // of an answer that is read

func newAsker(exec func(context.Context, runtime.ID, []string) (int, string, error)) *asker {
	dialer := &net.Dialer{Control: lingerShortly}
	return &asker{exec: exec, dialer: dialer, client: &http.Client{
		Transport: &http.Transport{
			DialContext:        dialer.DialContext,
			TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, // as documented: a probe asks for life, not for identity
			DisableKeepAlives:  true,
			DisableCompression: true,
		},
		CheckRedirect: stayThere,
	}}
}

// lingerShortly keeps sockets of probes from waiting a minute after their end, of which there would soon be thousands.
func lingerShortly(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1, Linger: 1})
	}); e != nil {
		return e
	}
	return err
}

const maxRedirects = 10

// stayThere follows redirects to the same host. One to another is an answer, not a way.
func stayThere(r *http.Request, via []*http.Request) error {
	if r.URL.Hostname() != via[0].URL.Hostname() {
		return http.ErrUseLastResponse
	}
	if len(via) >= maxRedirects {
		return fmt.Errorf("stopped after %d redirects", maxRedirects)
	}
	return nil
}

// ask returns whether the container gave a good answer, and what is to be said: always if not, else if there is a doubt.
func (a *asker) ask(ctx context.Context, c pod.Check) (bool, string) {
	switch p := c.Probe; {
	case p.Exec != nil:
		return a.run(ctx, c.ID, p.Exec.Command)
	case c.Port == 0:
		return false, "the probe names a port that the container does not have"
	case p.HTTPGet != nil:
		return a.get(ctx, p.HTTPGet, net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
	case p.TCPSocket != nil:
		return a.connect(ctx, net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
	case p.GRPC != nil:
		return a.check(ctx, p.GRPC, net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
	}
	return false, "this kind of probe is not supported yet"
}

func (a *asker) run(ctx context.Context, id runtime.ID, command []string) (bool, string) {
	code, output, err := a.exec(ctx, id, command)
	switch {
	case ctx.Err() != nil:
		return false, fmt.Sprintf("command timed out: %q", strings.Join(command, " "))
	case err != nil:
		return false, err.Error()
	}
	return code == 0, strings.TrimSpace(output)
}

func (a *asker) connect(ctx context.Context, address string) (bool, string) {
	conn, err := a.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return false, err.Error()
	}
	conn.Close()
	return true, ""
}

func (a *asker) get(ctx context.Context, g *corev1.HTTPGetAction, address string) (bool, string) {
	r, err := request(ctx, g, address, userAgent)
	if err != nil {
		return false, err.Error()
	}
	answer, err := a.client.Do(r)
	if err != nil {
		return false, err.Error()
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	switch {
	case answer.StatusCode >= http.StatusMultipleChoices && answer.StatusCode < http.StatusBadRequest:
		return true, "the probe was redirected to another host, and not followed there: " + answer.Header.Get("Location")
	case answer.StatusCode >= http.StatusOK && answer.StatusCode < http.StatusBadRequest:
		return true, ""
	}
	return false, strings.TrimSpace(fmt.Sprintf("HTTP probe failed with statuscode: %d %s", answer.StatusCode, firstLine(body)))
}

const userAgent = "kube-probe/mainstay"

// request is what g asks of address.
func request(ctx context.Context, g *corev1.HTTPGetAction, address, agent string) (*http.Request, error) {
	u, err := url.Parse(g.Path)
	if err != nil {
		u = &url.URL{Path: g.Path}
	}
	u.Scheme, u.Host = "http", address
	if strings.EqualFold(string(g.Scheme), string(corev1.URISchemeHTTPS)) {
		u.Scheme = "https"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header = headers(g.HTTPHeaders, agent)
	r.Host = r.Header.Get("Host")
	return r, nil
}

// headers are those of the probe, and those that it may leave out by giving them no value.
func headers(list []corev1.HTTPHeader, agent string) http.Header {
	h := http.Header{"User-Agent": {agent}, "Accept": {"*/*"}}
	own := http.Header{}
	for _, x := range list {
		own.Add(x.Name, x.Value)
	}
	for name, values := range own {
		h[name] = values
	}
	if h.Get("Accept") == "" {
		h.Del("Accept")
	}
	return h
}

func firstLine(body []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	return line[:min(len(line), 200)]
}
