//lint:file-ignore SA1019 Endpoints are old, and kept for those who still use them

package main

import (
	"maps"
	"slices"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// restEndpoints compares the older form with the newer one, and the addresses of services with the objects that tell of them.
func (w *sim) restEndpoints(s *store.Snapshot) {
	newer, older := map[string][]string{}, map[string][]string{}
	for e := range store.List[*discoveryv1.EndpointSlice](s) {
		name := e.Namespace + "/" + e.Labels[discoveryv1.LabelServiceName]
		for _, p := range e.Endpoints {
			if p.Conditions.Ready == nil || *p.Conditions.Ready {
				newer[name] = append(newer[name], p.Addresses...)
			}
		}
	}
	for e := range store.List[*corev1.Endpoints](s) {
		name := e.Namespace + "/" + e.Name
		for _, sub := range e.Subsets {
			for _, a := range sub.Addresses {
				older[name] = append(older[name], a.IP)
			}
		}
	}
	for _, all := range []map[string][]string{newer, older} {
		for name := range all {
			slices.Sort(all[name])
		}
	}
	if d := cmp.Diff(newer, older); d != "" {
		w.t.Errorf("EndpointSlices and Endpoints differ (-slices +endpoints):\n%s", d)
	}
	given, told := map[string]string{}, map[string]string{}
	for svc := range store.List[*corev1.Service](s) {
		if svc.Spec.ClusterIP != corev1.ClusterIPNone {
			given[svc.Spec.ClusterIP] = svc.Namespace + "/" + svc.Name
		}
	}
	for a := range store.List[*networkingv1.IPAddress](s) {
		told[a.Name] = a.Spec.ParentRef.Namespace + "/" + a.Spec.ParentRef.Name
	}
	if !maps.Equal(given, told) {
		w.t.Errorf("services have %v, IPAddresses tell %v", given, told)
	}
}
