// Package aggregate passes requests for groups that other servers serve on to these, as APIServices name them, and tells
// whether they can be reached. It costs nothing while no APIService names a service.
package aggregate

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	proxyutil "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/transport"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Config is what a Server is made of.
type Config struct {
	Scheme   *scheme.Scheme
	Store    store.Store
	Resolver webhook.ServiceResolver
	// Certificate is what this server shows to others, and its key, in PEM.
	Certificate func() (certificate, key []byte, err error)
	Next        http.Handler // answers for all that no APIService names a service for
	Discovery   aggregated.ResourceManager
	Groups      discovery.GroupManager
	Now         func() time.Time
}

// A Server answers what is served elsewhere. Run finds out who can be reached.
type Server struct {
	*Config

	mu   sync.Mutex
	ways map[string]way // by the name of the APIService
}

// way is how to reach a server.
type way struct {
	spec apiregistrationv1.APIServiceSpec
	made time.Time
	http.RoundTripper
}

// A certificate is shown for this long, which is less than it is valid.
const showCertificate = 30 * 24 * time.Hour

// New makes a Server.
func New(c Config) *Server { return &Server{Config: &c, ways: map[string]way{}} }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.SplitN(strings.Trim(r.URL.Path, "/"), "/", 4)
	if parts[0] != "apis" || len(parts) < 2 {
		s.Next.ServeHTTP(w, r)
		return
	}
	now := s.Store.Snapshot()
	if len(parts) == 2 {
		if g, ok := remoteGroups(now)[parts[1]]; ok {
			responsewriters.WriteObjectNegotiated(s.Scheme.Codecs, negotiation.DefaultEndpointRestrictions, schema.GroupVersion{}, w, r, http.StatusOK, &g, false)
			return
		}
		s.Next.ServeHTTP(w, r)
		return
	}
	service, ok := store.Get[*apiregistrationv1.APIService](now, "", parts[2]+"."+parts[1])
	if !ok || service.Spec.Service == nil {
		s.Next.ServeHTTP(w, r)
		return
	}
	s.pass(w, r, service)
}

// pass passes r on.
func (s *Server) pass(w http.ResponseWriter, r *http.Request, service *apiregistrationv1.APIService) {
	if !available(service) {
		http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		return
	}
	user, ok := request.UserFrom(r.Context())
	if !ok {
		http.Error(w, "missing user", http.StatusInternalServerError)
		return
	}
	ref := service.Spec.Service
	to, err := s.Resolver.ResolveEndpoint(ref.Namespace, ref.Name, *ref.Port)
	if err != nil {
		http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		return
	}
	trip, err := s.way(service)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	location := &url.URL{Scheme: "https", Host: to.Host, Path: r.URL.Path, RawQuery: r.URL.Query().Encode()}
	passed, cancel := proxyutil.NewRequestForProxy(location, r)
	defer cancel()
	upgrade := httpstream.IsUpgradeRequest(r)
	if upgrade { // it does not go through the transport
		transport.SetAuthProxyHeaders(passed, user.GetName(), user.GetUID(), user.GetGroups(), user.GetExtra())
	}
	h := proxy.NewUpgradeAwareHandler(location, transport.NewAuthProxyRoundTripper(user.GetName(), user.GetUID(), user.GetGroups(), user.GetExtra(), trip), true, upgrade, refusal{})
	h.RejectForwardingRedirects = true
	h.ServeHTTP(w, passed)
}

// refusal tells that a server did not answer.
type refusal struct{}

func (refusal) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}

// way is how to reach the server of an APIService. It is kept as long as that says the same.
func (s *Server) way(service *apiregistrationv1.APIService) (http.RoundTripper, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.ways[service.Name]; ok && sameWay(known.spec, service.Spec) && s.Now().Sub(known.made) < showCertificate {
		return known.RoundTripper, nil
	}
	certificate, key, err := s.Certificate()
	if err != nil {
		return nil, err
	}
	ref := service.Spec.Service
	trip, err := transport.New(&transport.Config{TLS: transport.TLSConfig{
		Insecure: service.Spec.InsecureSkipTLSVerify, ServerName: ref.Name + "." + ref.Namespace + ".svc",
		CertData: certificate, KeyData: key, CAData: service.Spec.CABundle,
	}})
	if err != nil {
		return nil, err
	}
	s.ways[service.Name] = way{service.Spec, s.Now(), trip}
	return trip, nil
}

func sameWay(a, b apiregistrationv1.APIServiceSpec) bool {
	return a.Service.Name == b.Service.Name && a.Service.Namespace == b.Service.Namespace && a.InsecureSkipTLSVerify == b.InsecureSkipTLSVerify && string(a.CABundle) == string(b.CABundle)
}

func available(s *apiregistrationv1.APIService) bool {
	for _, c := range s.Status.Conditions {
		if c.Type == apiregistrationv1.Available {
			return c.Status == apiregistrationv1.ConditionTrue
		}
	}
	return false
}

// remoteGroups are the groups that others serve, by name.
func remoteGroups(s *store.Snapshot) map[string]metav1.APIGroup {
	best := map[string]int32{}
	all := map[string]metav1.APIGroup{}
	for service := range store.List[*apiregistrationv1.APIService](s) {
		if service.Spec.Service == nil {
			continue
		}
		name := service.Spec.Group
		v := metav1.GroupVersionForDiscovery{GroupVersion: name + "/" + service.Spec.Version, Version: service.Spec.Version}
		g, ok := all[name]
		if !ok {
			g = metav1.APIGroup{TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}, Name: name}
		}
		g.Versions = append(g.Versions, v)
		if p := service.Spec.VersionPriority; !ok || p > best[name] {
			g.PreferredVersion, best[name] = v, p
		}
		all[name] = g
	}
	return all
}
