//lint:file-ignore SA1019 Endpoints are old, and kept for those who still use them

package network

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var endpointsKind = schema.GroupKind{Kind: "Endpoints"}

const (
	// endpointsManagedBy marks the Endpoints that are made here, rather than by people.
	endpointsManagedBy = "endpoints.kubernetes.io/managed-by"
	endpointController = "endpoint-controller"

	maxPerEndpoints = 1000
)

// LegacyEndpoints keeps the Endpoints object of each service that has a selector: what EndpointSlices say, in the older form.
type LegacyEndpoints struct{}

func (LegacyEndpoints) Name() string { return endpointController }

func (LegacyEndpoints) Owns() []control.Owned { return []control.Owned{{Kind: endpointsKind}} }

func (LegacyEndpoints) Watches() []control.Watch {
	made := func(_ *store.Snapshot, c store.Change) []store.Key {
		o := c.Object()
		if !isOurs(o) && (c.Old == nil || !isOurs(c.Old)) {
			return nil
		}
		return []store.Key{{Kind: serviceKind, Namespace: o.GetNamespace(), Name: o.GetName()}}
	}
	return []control.Watch{{Kind: serviceKind}, {Kind: endpointsKind, Keys: made}, {Kind: podKind, Keys: servicesOf}}
}

// isOurs tells Endpoints that are made here from those that people make.
func isOurs(o store.Object) bool { return o.GetLabels()[endpointsManagedBy] == endpointController }

// Plan brings the Endpoints of one service in line with its pods. Those of a service that is gone go with it, whoever made
// them.
func (LegacyEndpoints) Plan(w control.World, key store.Key) (control.Plan, error) {
	var p control.Plan
	live, there := store.Get[*corev1.Endpoints](w.Snapshot, key.Namespace, key.Name)
	svc, ok := store.Get[*corev1.Service](w.Snapshot, key.Namespace, key.Name)
	switch {
	case !ok || svc.DeletionTimestamp != nil:
		if there && live.DeletionTimestamp == nil {
			p.Delete(live, "its service is gone")
		}
		return p, nil
	case len(svc.Spec.Selector) == 0 || svc.Spec.Type == corev1.ServiceTypeExternalName:
		return p, nil // these are for people to make
	}
	want := endpointsObject(w.Snapshot, svc)
	switch {
	case !there:
		p.Create(want, "endpoints of "+svc.Name)
	case live.DeletionTimestamp != nil:
	case !equality.Semantic.DeepEqual(live.Subsets, want.Subsets) || !maps.Equal(live.Labels, want.Labels):
		next := live.DeepCopy()
		next.Labels, next.Subsets = want.Labels, want.Subsets
		p.Update(next, "endpoints of "+svc.Name)
	}
	return p, nil
}

func endpointsObject(s *store.Snapshot, svc *corev1.Service) *corev1.Endpoints {
	labels := maps.Clone(svc.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	delete(labels, corev1.IsHeadlessService)
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		labels[corev1.IsHeadlessService] = ""
	}
	labels[endpointsManagedBy] = endpointController
	e := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: svc.Name, Namespace: svc.Namespace, Labels: labels}}
	room := maxPerEndpoints
	for _, g := range endpointsOf(s, svc) {
		if sub := g.subset(svc, &room); len(sub.Addresses)+len(sub.NotReadyAddresses) > 0 {
			e.Subsets = append(e.Subsets, sub)
		}
	}
	return e
}

// subset is g in the older form, in which there is no word for a pod that ends: it is left out. Of all subsets together no
// more than room addresses are said, and room is what is left of it.
func (g *group) subset(svc *corev1.Service, room *int) corev1.EndpointSubset {
	var sub corev1.EndpointSubset
	for _, e := range g.endpoints {
		a := corev1.EndpointAddress{IP: e.Addresses[0], NodeName: e.NodeName, TargetRef: e.TargetRef}
		if e.Hostname != nil {
			a.Hostname = *e.Hostname
		}
		switch {
		case *room == 0:
			continue
		case *e.Conditions.Ready:
			sub.Addresses = append(sub.Addresses, a)
		case *e.Conditions.Terminating && !svc.Spec.PublishNotReadyAddresses:
			continue
		default:
			sub.NotReadyAddresses = append(sub.NotReadyAddresses, a)
		}
		*room--
	}
	byIP := func(a, b corev1.EndpointAddress) int { return strings.Compare(a.IP, b.IP) }
	slices.SortFunc(sub.Addresses, byIP)
	slices.SortFunc(sub.NotReadyAddresses, byIP)
	for _, p := range g.ports {
		sub.Ports = append(sub.Ports, corev1.EndpointPort{Name: *p.Name, Port: *p.Port, Protocol: *p.Protocol, AppProtocol: p.AppProtocol})
	}
	return sub
}
