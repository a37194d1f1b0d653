// Package api is the Kubernetes HTTP API over the store, made of k8s.io/apiserver: its handlers, patches, discovery, watch
// streams and filters are upstream's; the objects, and all that is decided about them, are ours.
//
// Nothing is built that nobody asked for: the OpenAPI documents are embedded and served as they are stored, the schema for
// merging is read at the first write, and there is no cache beside the store.
package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/admit"
	"github.com/mainstay-gitops/mainstay/reconcile/api/aggregate"
	"github.com/mainstay-gitops/mainstay/reconcile/api/custom"
	"github.com/mainstay-gitops/mainstay/reconcile/api/kubestore"
	"github.com/mainstay-gitops/mainstay/reconcile/api/registry"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/openapi"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Config is what a Server is made of.
type Config struct {
	Scheme    *scheme.Scheme
	Documents *openapi.Documents
	Store     kubestore.Store // not empty: the revision of a list is not 0
	Authority *access.Authority
	Issuer    *access.Issuer                 // of the tokens of service accounts; nil: there are none
	Others    []authenticator.Token          // know more bearers of tokens: see access.OpenID
	TokenFile string                         // bearer tokens, see access; "" or a file that does not exist: none
	Logs      registry.Logs                  // nil: logs cannot be read
	Streams   registry.Streams               // nil: nobody can reach into containers
	Usage     registry.Usage                 // nil: nothing is measured
	Node      func(name string) http.Handler // what answers for a node as a kubelet does; nil, or if it returns nil: nothing

	// Dial is how proxies reach pods and nodes; nil: as everybody on this machine does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Assign gives what is about to be written what must be given once, such as the address of a service, inside the
	// transaction that writes it. nil gives nothing.
	Assign func(tx *store.Tx, old, new store.Object) error

	// Owned tells what came from Git; nil: nothing did.
	Owned registry.Owned

	// Listeners are where the API is served; they are closed by Run. Their addresses are in the serving certificate, and
	// the first is the one that discovery names.
	Listeners []net.Listener

	// Hosts are more names and addresses for the serving certificate: the cluster address of the API, for one.
	Hosts []string

	// Handlers serve paths beside those of the Kubernetes API, to administrators only. They may take their time.
	Handlers map[string]http.Handler

	Metrics prometheus.Gatherer // what /metrics tells besides; nil: nothing
	Audit   Audit

	// Version is what /version adds to that of the Kubernetes API: a release of Mainstay, or nothing.
	Version string

	Log *slog.Logger
	Now func() time.Time
}

// A Server serves the API. Its handler works from New on; Run, which is called once, lets others reach it.
type Server struct {
	Config
	chain    *admit.Chain
	generic  *genericapiserver.GenericAPIServer
	registry *registry.Registry
	custom   *custom.Server
	may      *access.Authorizer
	others   *aggregate.Server
	closing  chan struct{} // closed when streams must end
	audited  io.Closer     // nil: no log is kept
}

// New assembles the API.
func New(c Config) (*Server, error) {
	if len(c.Listeners) == 0 {
		return nil, errors.New("assemble the API: it has no listener")
	}
	s := &Server{Config: c, chain: admit.New(c.Scheme), may: access.NewAuthorizer(c.Store.Snapshot), closing: make(chan struct{})}
	s.registry = registry.New(registry.Options{
		Scheme: c.Scheme, Store: c.Store, Logs: c.Logs, Streams: c.Streams, Usage: c.Usage, Node: c.Node, Dial: c.Dial, Issuer: c.Issuer, Chain: s.chain, Assign: c.Assign, Owned: c.Owned, Now: c.Now, Closing: s.closing,
	})
	var accounts authenticator.Token
	if c.Issuer != nil {
		accounts = c.Issuer.Authenticator(c.Store.Snapshot)
	}
	who, err := c.Authority.Authenticator(c.TokenFile, accounts, c.Others, c.Now)
	if err != nil {
		return nil, fmt.Errorf("assemble the API: %w", err)
	}
	if err := s.assemble(who); err != nil {
		return nil, fmt.Errorf("assemble the API: %w", err)
	}
	return s, nil
}

// Handler answers requests as the listeners would, authentication included.
func (s *Server) Handler() http.Handler { return s.generic.Handler }
