package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/remotes"
	"github.com/containerd/containerd/remotes/docker"
	"github.com/containerd/containerd/remotes/docker/config"
	"github.com/sirupsen/logrus"

	"github.com/mainstay-gitops/mainstay/nodes/image"
)

// stall is how long a registry may send nothing in the middle of an answer, or of a layer.
const stall = time.Minute

// A registry is a resolver for one pull, with the connections that it keeps.
type registry struct {
	remotes.Resolver
	host       string
	complaints complaints

	mu         sync.Mutex
	transports []*http.Transport
}

// asks makes what asks the registry of a reference, or its mirrors, as the folder of registries has it: in the layout that
// containerd documents, HOST/hosts.toml. Without a word about it a registry on loopback is tried by HTTPS and then by HTTP,
// and any other by HTTPS only. Only the registry itself is shown the credentials, not its mirrors, and not whom it
// redirects to.
func (s *Images) asks(ctx context.Context, ref string, auth image.Auth) (*registry, error) {
	r := &registry{host: image.Host(ref)}
	own, err := docker.DefaultHost(r.host)
	if err != nil {
		return nil, &image.Error{Reason: image.Failed, Ref: ref, Host: r.host, Err: err}
	}
	o := config.HostOptions{
		UpdateClient: r.prepare,
		Credentials: func(host string) (string, string, error) {
			if host != own && host != r.host {
				return "", "", nil
			}
			return auth.Username, auth.Password, nil
		},
	}
	if s.Registries != "" {
		o.HostDir = config.HostDirFromRoot(s.Registries)
	}
	hosts := config.ConfigureHosts(quiet(ctx, &r.complaints), o)
	r.Resolver = docker.NewResolver(docker.ResolverOptions{Hosts: func(host string) ([]docker.RegistryHost, error) {
		found, err := hosts(host)
		if bad := r.complaints.first(); bad != nil { // else it would go on as if there were no file
			err = errors.Join(bad, err)
		}
		if err != nil {
			return nil, &configError{filepath.Join(s.Registries, host), err}
		}
		return found, nil
	}})
	return r, nil
}

// A configError is what is wrong with what is configured for a registry.
type configError struct {
	dir string
	err error
}

func (e *configError) Error() string {
	return fmt.Sprintf("registry configuration %s: %v", e.dir, e.err)
}
func (e *configError) Unwrap() error { return e.err }

// prepare sets deadlines for a client's connections.
func (r *registry) prepare(c *http.Client) error {
	t, ok := c.Transport.(*http.Transport)
	if !ok {
		return fmt.Errorf("prepare a registry's client: its transport is a %T", c.Transport)
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &impatient{Conn: conn}, nil
	}
	t.ResponseHeaderTimeout = 30 * time.Second
	t.ForceAttemptHTTP2 = true
	r.mu.Lock()
	defer r.mu.Unlock()
	r.transports = append(r.transports, t)
	return nil
}

// close ends connections that are not in use.
func (r *registry) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.transports {
		t.CloseIdleConnections()
	}
}

// impatient is a connection on which a read fails that brings nothing for too long.
type impatient struct{ net.Conn }

func (c *impatient) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(stall)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errStalled
	}
	return n, err
}

var errStalled = fmt.Errorf("it sent nothing for %s", stall)

// complaints are the errors that containerd's client only logs.
type complaints struct {
	mu   sync.Mutex
	errs []error
}

func (c *complaints) Levels() []logrus.Level { return []logrus.Level{logrus.ErrorLevel} }

func (c *complaints) Fire(e *logrus.Entry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err, ok := e.Data[logrus.ErrorKey].(error); ok {
		c.errs = append(c.errs, fmt.Errorf("%s: %w", e.Message, err))
	}
	return nil
}

func (c *complaints) first() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.errs) == 0 {
		return nil
	}
	return c.errs[0]
}
