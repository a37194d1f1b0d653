package api

import (
	"fmt"
	"maps"
	"time"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	genericapi "k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/mainstay-gitops/mainstay/reconcile/api/registry"
)

// A watch without a timeout of its own ends after a random time of at least this.
const watchFor = 30 * time.Minute

// install adds the kinds to the server, group by group. It stands in for upstream's InstallAPIGroups, which would build
// OpenAPI models of everything.
func (s *Server) install(c *genericapiserver.Config, who authenticator.Request) error {
	converter := s.Documents.Converter(s.Scheme.Runtime)
	storages := map[schema.GroupVersion]map[string]rest.Storage{}
	for _, k := range s.Scheme.All() {
		storage, err := s.registry.Storage(k)
		if err != nil {
			return err
		}
		for _, gv := range k.Served() {
			if storages[gv] == nil {
				storages[gv] = map[string]rest.Storage{}
			}
			maps.Copy(storages[gv], storage)
		}
	}
	storages[corev1.SchemeGroupVersion]["componentstatuses"] = registry.ComponentStatuses{Check: s.takesWrites}
	groups := s.Scheme.Groups()
	reviews := authenticationv1.SchemeGroupVersion
	storages[reviews], groups = registry.Reviews(who, s.Now), append(groups, []schema.GroupVersion{reviews})
	access := authorizationv1.SchemeGroupVersion
	storages[access], groups = registry.AccessReviews(s.may), append(groups, []schema.GroupVersion{access})
	if s.Usage != nil {
		storages[metrics.SchemeGroupVersion] = s.registry.Metrics()
		groups = append(groups, []schema.GroupVersion{metrics.SchemeGroupVersion})
	}
	for _, versions := range groups {
		for _, gv := range versions {
			if err := s.installVersion(c, gv, storages[gv], converter); err != nil {
				return fmt.Errorf("install %s: %w", gv, err)
			}
		}
		s.discoverGroup(versions)
	}
	return nil
}

func (s *Server) installVersion(c *genericapiserver.Config, gv schema.GroupVersion, storages map[string]rest.Storage, converter managedfields.TypeConverter) error {
	root := genericapiserver.APIGroupPrefix
	if gv.Group == "" {
		root = genericapiserver.DefaultLegacyAPIPrefix
	}
	served := map[string][]string{}
	for name := range storages {
		served[name] = []string{gv.String()}
	}
	r := s.Scheme.Runtime
	group := &genericapi.APIGroupVersion{
		Root: root, GroupVersion: gv, Storage: storages, AllServedVersionsByResource: served,
		Serializer: s.Scheme.Codecs, ParameterCodec: s.Scheme.Parameters,
		Typer: r, Creater: r, Convertor: r, ConvertabilityChecker: r, Defaulter: r, UnsafeConvertor: runtime.UnsafeObjectConvertor(r),
		Namer: runtime.Namer(meta.NewAccessor()), TypeConverter: converter,
		EquivalentResourceRegistry: s.generic.EquivalentResourceRegistry,
		Authorizer:                 c.Authorization.Authorizer, Admit: c.AdmissionControl,
		MinRequestTimeout: watchFor, MaxRequestBodyBytes: c.MaxRequestBodyBytes,
	}
	resources, _, err := group.InstallREST(s.generic.Handler.GoRestfulContainer)
	if err != nil {
		return err
	}
	s.discover(gv, resources)
	return nil
}

// discover lets clients find the resources of gv in the one answer that tells of all groups.
func (s *Server) discover(gv schema.GroupVersion, resources []apidiscovery.APIResourceDiscovery) {
	version := apidiscovery.APIVersionDiscovery{Freshness: apidiscovery.DiscoveryFreshnessCurrent, Version: gv.Version, Resources: resources}
	if gv.Group == "" {
		s.generic.AggregatedLegacyDiscoveryGroupManager.AddGroupVersion(gv.Group, version)
		return
	}
	s.generic.AggregatedDiscoveryGroupManager.AddGroupVersion(gv.Group, version)
}

// discoverGroup lets clients find the versions of a group, which they ask for by itself. The first is preferred.
func (s *Server) discoverGroup(versions []schema.GroupVersion) {
	handler := s.generic.Handler.GoRestfulContainer
	if versions[0].Group == "" {
		legacy := s.generic.AggregatedLegacyDiscoveryGroupManager
		plain := discovery.NewLegacyRootAPIHandler(discovery.DefaultAddresses{DefaultAddress: s.generic.ExternalAddress}, s.Scheme.Codecs, genericapiserver.DefaultLegacyAPIPrefix)
		handler.Add(aggregated.WrapAggregatedDiscoveryToHandler(plain, legacy, legacy).GenerateWebService(genericapiserver.DefaultLegacyAPIPrefix, metav1.APIVersions{}))
		return
	}
	group := metav1.APIGroup{Name: versions[0].Group}
	for _, gv := range versions {
		group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version})
	}
	group.PreferredVersion = group.Versions[0]
	s.generic.DiscoveryGroupManager.AddGroup(group)
	handler.Add(discovery.NewAPIGroupHandler(s.Scheme.Codecs, group).WebService())
}
