// Package custom serves the kinds that CustomResourceDefinitions define, with k8s.io/apiextensions-apiserver over the store.
// Its machinery costs 10 MiB and 45 ms of CPU: it is built and started when the first definition is there.
package custom

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	noop "go.opentelemetry.io/otel/trace/noop"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver"
	generated "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/component-base/compatibility"

	"github.com/mainstay-gitops/mainstay/reconcile/admit"
	"github.com/mainstay-gitops/mainstay/reconcile/api/kubestore"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Definitions is the kind of CustomResourceDefinitions.
var definitions = schema.GroupKind{Group: apiextensionsv1.GroupName, Kind: "CustomResourceDefinition"}

// Config is what a Server is made of.
type Config struct {
	Store     kubestore.Store
	Chain     *admit.Chain // nil: all is admitted
	Intern    func(store.Object)
	Pins      *kubestore.Pins
	Bookmarks time.Duration
	Closing   <-chan struct{}

	Loopback   Loopback // to the API that serves the definitions themselves
	Admission  admission.Interface
	Authorizer authorizer.Authorizer
	Discovery  aggregated.ResourceManager
	Groups     discovery.GroupManager
	Resolver   webhook.ServiceResolver // of webhooks that convert
	Version    compatibility.EffectiveVersion
}

// A Server answers requests for kinds that are defined. Run makes it work.
type Server struct {
	*Config
	machinery atomic.Pointer[machinery]
}

// machinery is what the first definition brings.
type machinery struct {
	handler http.Handler
	documents
}

// New makes a Server, which is to answer what the API itself does not know.
func New(c Config) *Server { return &Server{Config: &c} }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if m := s.machinery.Load(); m != nil {
		m.handler.ServeHTTP(w, r)
		return
	}
	if s.Ready(r) == nil {
		notFound(w, r)
		return
	}
	w.Header().Set("Retry-After", "1")
	responsewriters.ErrorNegotiated(apierrors.NewServiceUnavailable("custom resources are not served yet"), apiserver.Codecs, schema.GroupVersion{}, w, r)
}

func notFound(w http.ResponseWriter, r *http.Request) {
	responsewriters.ErrorNegotiated(apierrors.NewGenericServerResponse(http.StatusNotFound, r.Method, schema.GroupResource{}, "", "404 page not found", 0, true),
		apiserver.Codecs, schema.GroupVersion{}, w, r)
}

// Ready tells whether all that is defined is served.
func (s *Server) Ready(*http.Request) error {
	if s.machinery.Load() == nil && s.Store.Snapshot().Len(definitions) > 0 {
		return errors.New("custom resources are not served yet")
	}
	return nil
}

// Run serves what is defined, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	if !s.awaitFirst(ctx) {
		return nil
	}
	x, err := s.build()
	if err != nil {
		return fmt.Errorf("serve custom resources: %w", err)
	}
	defer x.GenericAPIServer.Destroy()
	m := &machinery{documents: newDocuments()}
	g := x.GenericAPIServer
	g.PrepareRun()
	g.OpenAPIVersionedService, g.OpenAPIV3VersionedService, g.StaticOpenAPISpec = m.v2, m.v3, emptyDocument()
	g.RunPostStartHooks(ctx)
	defer x.Informers.Shutdown()
	for _, begun := range g.MuxAndDiscoveryCompleteSignals() {
		select {
		case <-begun:
		case <-ctx.Done():
			return nil
		}
	}
	m.handler = g.UnprotectedHandler()
	s.machinery.Store(m)
	s.listGroups(ctx)
	return nil
}

// awaitFirst returns when there is a definition; false if ctx ended before.
func (s *Server) awaitFirst(ctx context.Context) bool {
	for {
		now := s.Store.Snapshot()
		if now.Len(definitions) > 0 {
			return true
		}
		b, err := s.Store.Since(now.Revision(), store.Select(definitions))
		if err != nil || b.More == nil {
			continue // much happened since; look again
		}
		select {
		case <-b.More:
		case <-ctx.Done():
			return false
		}
	}
}

// listGroups lists the groups of what is defined beside those of the API, until ctx ends.
func (s *Server) listGroups(ctx context.Context) {
	listed := map[string]bool{}
	for ctx.Err() == nil {
		now := s.Store.Snapshot()
		groups := groups(now)
		for name, g := range groups {
			s.Groups.AddGroup(g)
			listed[name] = true
		}
		for name := range listed {
			if _, ok := groups[name]; !ok {
				s.Groups.RemoveGroup(name)
				delete(listed, name)
			}
		}
		b, err := s.Store.Since(now.Revision(), store.Select(definitions))
		if err != nil || b.More == nil {
			continue
		}
		select {
		case <-b.More:
		case <-ctx.Done():
		}
	}
}

// build assembles upstream's server of custom resources.
func (s *Server) build() (*apiserver.CustomResourceDefinitions, error) {
	c := genericapiserver.NewRecommendedConfig(apiserver.Codecs)
	c.EffectiveVersion = s.Version
	c.LoopbackClientConfig, c.ExternalAddress = s.Loopback.Config(), "loopback.invalid:443" // nobody is told
	c.AdmissionControl, c.AggregatedDiscoveryGroupManager = s.Admission, s.Discovery
	// Whoever comes here was let in by the API that this stands behind.
	c.Authentication.Authenticator = authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) { return nil, false, nil })
	c.Authorization.Authorizer = s.Authorizer
	c.SkipOpenAPIInstallation, c.EnableProfiling, c.EnableIndex, c.EnableMetrics = true, false, false, false
	c.DisabledPostStartHooks.Insert("max-in-flight-filter", "storage-object-count-tracker-hook")
	names := apiopenapi.NewDefinitionNamer(apiserver.Scheme)
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(generated.GetOpenAPIDefinitions, names)
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(generated.GetOpenAPIDefinitions, names)
	// Nobody reaches the definitions through this server, but merging custom resources takes its models from them.
	c.MergedResourceConfig = serverstorage.NewResourceConfig()
	c.MergedResourceConfig.EnableVersions(apiextensionsv1.SchemeGroupVersion)
	c.RESTOptionsGetter = options{s.Config}
	x := apiserver.Config{GenericConfig: c, ExtraConfig: apiserver.ExtraConfig{
		CRDRESTOptionsGetter: options{s.Config}, MasterCount: 1, ServiceResolver: s.Resolver,
		AuthResolverWrapper: webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, c.LoopbackClientConfig, noop.NewTracerProvider()),
	}}
	return x.Complete().New(genericapiserver.NewEmptyDelegateWithCustomHandler(http.HandlerFunc(notFound)))
}
