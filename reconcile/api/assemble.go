package api

import (
	"context"
	"net/http"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/admit"
	"github.com/mainstay-gitops/mainstay/reconcile/api/aggregate"
	"github.com/mainstay-gitops/mainstay/reconcile/api/custom"
	"github.com/mainstay-gitops/mainstay/reconcile/api/registry"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func (s *Server) assemble(who authenticator.Request) error {
	c := genericapiserver.NewConfig(s.Scheme.Codecs)
	c.EffectiveVersion = newVersion(s.Version)
	c.ExternalAddress = s.Listeners[0].Addr().String()
	c.LoopbackClientConfig = &rest.Config{} // demanded, and used by nobody: all that is inside reads the store
	c.Authentication.Authenticator = custom.Authenticate(who)
	c.Authentication.APIAudiences = authenticator.Audiences{access.IssuerName}
	c.Authorization.Authorizer = s.may
	long := genericfilters.BasicLongRunningRequestCheck(sets.NewString("watch"), sets.NewString("attach", "exec", "log", "portforward", "proxy"))
	policies := s.chain.Policies(s.Store.Snapshot)
	policies.Authorizer = c.Authorization.Authorizer
	c.AdmissionControl = admission.NewChainHandler(admit.Plugin{Chain: s.chain, Policies: policies, Reader: s.Store}, access.Guard{State: s.Store.Snapshot})
	c.LongRunningFunc = func(r *http.Request, info *request.RequestInfo) bool {
		return s.Handlers[r.URL.Path] != nil || long(r, info)
	}
	c.SkipOpenAPIInstallation = true
	c.EnableProfiling, c.EnableMetrics = false, false // installMetrics
	// These would keep upstream's metrics, and wake up every second for it.
	c.DisabledPostStartHooks.Insert("max-in-flight-filter", "storage-object-count-tracker-hook")
	checks := []healthz.HealthChecker{healthz.PingHealthz}
	c.HealthzChecks, c.LivezChecks = checks, checks
	s.custom = s.customServer(c)
	c.ReadyzChecks = append(checks, healthz.NamedCheck("store", s.writable), healthz.NamedCheck("custom-resources", s.custom.Ready))

	s.others = aggregate.New(aggregate.Config{
		Scheme: s.Scheme, Store: s.Store, Resolver: admit.Services{Snapshot: s.Store.Snapshot}, Next: s.custom, Now: s.Now,
		Certificate: func() (certificate, key []byte, err error) { return s.Authority.Client(access.ProxyUser, nil, s.Now()) },
	})

	var err error
	if s.audited, err = s.Audit.apply(c); err != nil {
		return err
	}
	generic, err := c.Complete(nil).New("mainstay", genericapiserver.NewEmptyDelegateWithCustomHandler(s.others))
	if err != nil {
		return err
	}
	s.generic = generic
	s.custom.Discovery, s.custom.Groups = generic.AggregatedDiscoveryGroupManager, generic.DiscoveryGroupManager
	s.others.Discovery, s.others.Groups = generic.AggregatedDiscoveryGroupManager, generic.DiscoveryGroupManager
	if err := s.install(c, who); err != nil {
		return err
	}
	s.installDiscovery()
	s.installOpenAPI()
	s.installMetrics()
	for path, h := range s.Handlers {
		generic.Handler.NonGoRestfulMux.Handle(path, h)
	}
	generic.PrepareRun() // installs the health checks
	return nil
}

// customServer answers for the kinds that are defined.
func (s *Server) customServer(c *genericapiserver.Config) *custom.Server {
	return custom.New(custom.Config{
		Store: s.Store, Chain: s.chain, Intern: s.registry.Intern, Pins: s.registry.Pins(), Bookmarks: registry.BookmarkEach, Closing: s.closing,
		Loopback:  custom.NewLoopback(func() http.Handler { return s.generic.Handler }),
		Admission: c.AdmissionControl, Authorizer: c.Authorization.Authorizer, Resolver: admit.Services{Snapshot: s.Store.Snapshot}, Version: c.EffectiveVersion,
	})
}

// writable tells why the store takes no writes.
func (s *Server) writable(r *http.Request) error { return s.takesWrites(r.Context()) }

func (s *Server) takesWrites(ctx context.Context) error {
	_, err := s.Store.Update(ctx, "", func(*store.Tx) error { return nil })
	return err
}
