package containerd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/images"
	"github.com/containerd/containerd/remotes"
	"github.com/containerd/containerd/remotes/docker"
	remoteerrors "github.com/containerd/containerd/remotes/errors"
	"github.com/containerd/log"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/mainstay-gitops/mainstay/nodes/image"
)

// Pull fetches an image and unpacks it. Registries on loopback are spoken to by plain HTTP, all others by HTTPS.
func (s *Images) Pull(ctx context.Context, ref string, auth image.Auth, progress func(done, total int64)) (image.Image, error) {
	ctx, cancel := context.WithCancel(quiet(s.client.in(ctx)))
	defer cancel()
	transport := newTransport()
	defer transport.CloseIdleConnections()
	seen := &parts{client: s.client}
	if progress != nil {
		var told sync.WaitGroup
		defer told.Wait()
		defer cancel()
		told.Go(func() { seen.tell(ctx, progress) })
	}
	found, err := s.client.Pull(ctx, ref,
		containerd.WithPullUnpack,
		containerd.WithPullSnapshotter(snapshotter),
		containerd.WithResolver(resolver(ref, auth, &http.Client{Transport: transport})),
		containerd.WithMaxConcurrentDownloads(3),
		containerd.WithImageHandler(images.HandlerFunc(seen.note)),
	)
	if err != nil {
		return image.Image{}, pullError(ref, err)
	}
	return s.Get(ctx, found.Name())
}

// quiet keeps containerd's client from writing to the daemon's stderr: what fails is returned.
func quiet(ctx context.Context) context.Context {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	return log.WithLogger(ctx, logrus.NewEntry(logger))
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		ForceAttemptHTTP2:     true,
	}
}

// resolver asks the registry of a reference. Only that registry is shown the credentials, not those it redirects to.
func resolver(ref string, auth image.Auth, client *http.Client) remotes.Resolver {
	registry, _ := docker.DefaultHost(image.Host(ref)) // it returns no error
	creds := func(host string) (string, string, error) {
		if host != registry {
			return "", "", nil
		}
		return auth.Username, auth.Password, nil
	}
	return docker.NewResolver(docker.ResolverOptions{Hosts: docker.ConfigureDefaultRegistries(
		docker.WithPlainHTTP(docker.MatchLocalhost),
		docker.WithClient(client),
		docker.WithAuthorizer(docker.NewDockerAuthorizer(docker.WithAuthClient(client), docker.WithAuthCreds(creds))),
	)})
}

// pullError gives a failed pull a reason that a program can tell, and a text that is short enough for a status.
func pullError(ref string, err error) error {
	out := &image.Error{Reason: image.Failed, Ref: ref, Host: image.Host(ref), Err: err}
	status, answered := errors.AsType[remoteerrors.ErrUnexpectedStatus](err)
	switch {
	case errors.Is(err, docker.ErrInvalidAuthorization),
		answered && (status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden):
		out.Reason = image.Unauthorized
	case answered && status.StatusCode == http.StatusNotFound:
		out.Reason = image.NotFound
	case answered:
		out.Err = fmt.Errorf("%s answers: %s", out.Host, status.Status)
	case unreachable(err) != nil:
		out.Reason, out.Err = image.Unreachable, unreachable(err)
	case otherPlatform(err):
		out.Err = errPlatform
	case errdefs.IsNotFound(err):
		out.Reason = image.NotFound
	}
	return out
}

// unreachable is the cause for which a registry does not answer, without the addresses and verbs around it; nil if it is
// something else.
func unreachable(err error) error {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return errors.New(e.Err)
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return nil
}

// parts are the blobs that a pull needs, as far as known.
type parts struct {
	client *Client
	mu     sync.Mutex
	all    []ocispec.Descriptor
}

func (p *parts) note(_ context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, desc)
	return nil, nil
}

// tell says how far a pull is, until ctx ends.
func (p *parts) tell(ctx context.Context, progress func(done, total int64)) {
	for sleep(ctx, 250*time.Millisecond) == nil {
		if done, total, err := p.sum(ctx); err == nil {
			progress(done, total)
		}
	}
}

func (p *parts) sum(ctx context.Context) (done, total int64, err error) {
	p.mu.Lock()
	all := p.all
	p.mu.Unlock()
	store := p.client.ContentStore()
	statuses, err := store.ListStatuses(ctx)
	if err != nil {
		return 0, 0, err
	}
	arriving := map[string]int64{}
	for _, s := range statuses {
		arriving[s.Ref] = s.Offset
	}
	for _, desc := range all {
		total += desc.Size
		if n, ok := arriving[remotes.MakeRefKey(ctx, desc)]; ok {
			done += n
		} else if _, err := store.Info(ctx, desc.Digest); err == nil {
			done += desc.Size
		}
	}
	return done, total, nil
}
