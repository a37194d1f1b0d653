package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/client-go/transport"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const (
	checkEach   = 30 * time.Second
	checkRest   = 200 * time.Millisecond // between two checks at least
	checkWithin = 5 * time.Second
	answerMost  = 4 << 20 // bytes
)

var (
	apiServices = schema.GroupKind{Group: apiregistrationv1.GroupName, Kind: "APIService"}
	checkedOf   = []schema.GroupKind{apiServices, {Kind: "Service"}, {Group: discoveryv1.GroupName, Kind: "EndpointSlice"}}
)

// Run checks who can be reached, and what they serve, until ctx ends: when something about them changes, and now and then.
func (s *Server) Run(ctx context.Context) error {
	listed := map[string]bool{}
	for ctx.Err() == nil {
		now := s.Store.Snapshot()
		remote := false
		for service := range store.List[*apiregistrationv1.APIService](now) {
			if service.Spec.Service == nil {
				continue
			}
			remote = true
			if err := s.check(ctx, now, service); err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrNoRoom) && !errors.Is(err, store.ErrStopped) {
				return fmt.Errorf("check %s: %w", service.Name, err)
			}
		}
		s.list(now, listed)
		s.wait(ctx, now.Revision(), remote)
	}
	return nil
}

// wait returns when there may be something new about the servers that there are, or, if there are none, when there is one.
func (s *Server) wait(ctx context.Context, from store.Revision, remote bool) {
	var more [3]<-chan struct{}
	for i, kind := range checkedOf {
		if i > 0 && !remote {
			break
		}
		b, err := s.Store.Since(from, store.Select(kind))
		if err != nil {
			return
		}
		if len(b.Deltas) > 0 || b.More == nil {
			remote = true
			more[i] = closed()
		} else {
			more[i] = b.More
		}
	}
	var again <-chan time.Time
	if remote {
		timer := time.NewTimer(checkEach)
		defer timer.Stop()
		again = timer.C
	}
	select {
	case <-ctx.Done():
		return
	case <-more[0]:
	case <-more[1]:
	case <-more[2]:
	case <-again:
	}
	rest := time.NewTimer(checkRest)
	defer rest.Stop()
	select {
	case <-ctx.Done():
	case <-rest.C:
	}
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// check writes whether service can be reached, and lists what it serves.
func (s *Server) check(ctx context.Context, now *store.Snapshot, service *apiregistrationv1.APIService) error {
	c := apiregistrationv1.APIServiceCondition{Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionFalse}
	resources, reason, err := s.ask(ctx, now, service)
	if err != nil {
		c.Reason, c.Message = reason, err.Error()
	} else {
		c.Status, c.Reason, c.Message = apiregistrationv1.ConditionTrue, "Passed", "all checks passed"
		s.Discovery.WithSource(aggregated.AggregatorSource).AddGroupVersion(service.Spec.Group, apidiscovery.APIVersionDiscovery{
			Freshness: apidiscovery.DiscoveryFreshnessCurrent, Version: service.Spec.Version, Resources: resources,
		})
	}
	_, err = s.Store.Update(ctx, fmt.Sprintf("%s: %s", service.Name, c.Reason), func(tx *store.Tx) error {
		live, ok := store.Get[*apiregistrationv1.APIService](tx.Snapshot, "", service.Name)
		if !ok || live.UID != service.UID || live.Spec.Service == nil {
			return nil
		}
		next := live.DeepCopy()
		if !condition(next, c, s.Now()) {
			return nil
		}
		s.Scheme.Of(next).PrepareInside(next, live)
		return tx.Update(next)
	})
	return err
}

// condition puts c among the conditions of o, and tells whether that is news.
func condition(o *apiregistrationv1.APIService, c apiregistrationv1.APIServiceCondition, now time.Time) bool {
	c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	i := slices.IndexFunc(o.Status.Conditions, func(x apiregistrationv1.APIServiceCondition) bool { return x.Type == c.Type })
	if i < 0 {
		o.Status.Conditions = append(o.Status.Conditions, c)
		return true
	}
	was := o.Status.Conditions[i]
	if was.Status == c.Status {
		c.LastTransitionTime = was.LastTransitionTime
	}
	o.Status.Conditions[i] = c
	return was.Status != c.Status || was.Reason != c.Reason || was.Message != c.Message
}

// ask asks service what it serves. The error, with its reason in Kubernetes' words, tells why that cannot be known.
func (s *Server) ask(ctx context.Context, now *store.Snapshot, service *apiregistrationv1.APIService) ([]apidiscovery.APIResourceDiscovery, string, error) {
	ref := service.Spec.Service
	target, ok := store.Get[*corev1.Service](now, ref.Namespace, ref.Name)
	if !ok {
		return nil, "ServiceNotFound", fmt.Errorf("service/%s in %q is not present", ref.Name, ref.Namespace)
	}
	if target.Spec.Type != corev1.ServiceTypeExternalName {
		if !slices.ContainsFunc(target.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == *ref.Port }) {
			return nil, "ServicePortError", fmt.Errorf("service/%s in %q is not listening on port %d", ref.Name, ref.Namespace, *ref.Port)
		}
		if !reachable(now, ref) {
			return nil, "MissingEndpoints", fmt.Errorf("endpointslices for service/%s in %q have no addresses that are ready", ref.Name, ref.Namespace)
		}
	}
	resources, err := s.resources(ctx, service)
	if err != nil {
		return nil, "FailedDiscoveryCheck", err
	}
	return resources, "", nil
}

// reachable tells whether anything that is ready stands behind a service.
func reachable(now *store.Snapshot, ref *apiregistrationv1.ServiceReference) bool {
	for slice := range store.List[*discoveryv1.EndpointSlice](now, store.InNamespace(ref.Namespace), store.OfService(ref.Name)) {
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				return true
			}
		}
	}
	return false
}

func (s *Server) resources(ctx context.Context, service *apiregistrationv1.APIService) ([]apidiscovery.APIResourceDiscovery, error) {
	ref := service.Spec.Service
	to, err := s.Resolver.ResolveEndpoint(ref.Namespace, ref.Name, *ref.Port)
	if err != nil {
		return nil, err
	}
	trip, err := s.way(service)
	if err != nil {
		return nil, err
	}
	to.Path = "/apis/" + service.Spec.Group + "/" + service.Spec.Version
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	transport.SetAuthProxyHeaders(r, "system:kube-aggregator", "", []string{user.SystemPrivilegedGroup}, nil)
	client := http.Client{Transport: trip, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("failing or missing response from %v: %w", to, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode < http.StatusOK || answer.StatusCode >= http.StatusMultipleChoices {
		return nil, fmt.Errorf("failing or missing response from %v: bad status from %v: %d", to, to, answer.StatusCode)
	}
	var list metav1.APIResourceList
	if err := json.NewDecoder(io.LimitReader(answer.Body, answerMost)).Decode(&list); err != nil {
		return nil, fmt.Errorf("failing or missing response from %v: %w", to, err)
	}
	return endpoints.ConvertGroupVersionIntoToDiscovery(list.APIResources)
}

// list lists the groups of others beside those of the API. Listed are those that were.
func (s *Server) list(now *store.Snapshot, listed map[string]bool) {
	groups := remoteGroups(now)
	for name, g := range groups {
		g.TypeMeta = metav1.TypeMeta{}
		s.Groups.AddGroup(g)
		listed[name] = true
	}
	for name := range listed {
		if _, ok := groups[name]; !ok {
			s.Groups.RemoveGroup(name)
			s.Discovery.WithSource(aggregated.AggregatorSource).RemoveGroup(name)
			delete(listed, name)
		}
	}
}
