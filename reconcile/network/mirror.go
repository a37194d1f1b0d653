//lint:file-ignore SA1019 Endpoints are old, and kept for those who still use them

package network

import (
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const (
	mirroredBy   = "endpointslicemirroring-controller.k8s.io"
	maxPerMirror = 1000

	leaderAnnotation  = "control-plane.alpha.kubernetes.io/leader"
	triggerAnnotation = "endpoints.kubernetes.io/last-change-trigger-time"
)

// Mirror keeps EndpointSlices of the Endpoints that people made for services without a selector: slices are what everybody
// reads.
type Mirror struct{}

func (Mirror) Name() string { return "endpointslicemirroring-controller" }

func (Mirror) Owns() []control.Owned { return []control.Owned{{Kind: sliceKind}} }

func (Mirror) Watches() []control.Watch {
	sameName := func(_ *store.Snapshot, c store.Change) []store.Key {
		return []store.Key{{Kind: endpointsKind, Namespace: c.Object().GetNamespace(), Name: c.Object().GetName()}}
	}
	mirrored := func(_ *store.Snapshot, c store.Change) []store.Key {
		o := c.Object()
		if o.GetLabels()[discoveryv1.LabelManagedBy] != mirroredBy {
			return nil
		}
		return []store.Key{{Kind: endpointsKind, Namespace: o.GetNamespace(), Name: o.GetLabels()[discoveryv1.LabelServiceName]}}
	}
	return []control.Watch{{Kind: endpointsKind}, {Kind: serviceKind, Keys: sameName}, {Kind: sliceKind, Keys: mirrored}}
}

// Plan brings the slices that mirror one Endpoints object in line with it.
func (Mirror) Plan(w control.World, key store.Key) (control.Plan, error) {
	var p control.Plan
	have := map[string]*discoveryv1.EndpointSlice{}
	for s := range store.List[*discoveryv1.EndpointSlice](w.Snapshot, store.InNamespace(key.Namespace), store.OfService(key.Name)) {
		if s.Labels[discoveryv1.LabelManagedBy] == mirroredBy && s.DeletionTimestamp == nil {
			have[s.Name] = s
		}
	}
	for _, want := range mirrors(w.Snapshot, key) {
		live, ok := have[want.Name]
		delete(have, want.Name)
		switch {
		case !ok:
			if _, taken := store.Get[*discoveryv1.EndpointSlice](w.Snapshot, want.Namespace, want.Name); !taken {
				p.Create(want, "Endpoints "+key.Name+" are mirrored")
			}
		case !equality.Semantic.DeepEqual(live.Endpoints, want.Endpoints) || !maps.Equal(live.Labels, want.Labels) || !maps.Equal(live.Annotations, want.Annotations):
			next := live.DeepCopy()
			next.Labels, next.Annotations, next.Endpoints = want.Labels, want.Annotations, want.Endpoints
			p.Update(next, "Endpoints "+key.Name+" are mirrored")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		p.Delete(have[name], "what it mirrored is gone")
	}
	return p, nil
}

// mirrors are the slices that the Endpoints at key should have: none if they are not for mirroring.
func mirrors(s *store.Snapshot, key store.Key) []*discoveryv1.EndpointSlice {
	e, ok := store.Get[*corev1.Endpoints](s, key.Namespace, key.Name)
	if !ok || e.DeletionTimestamp != nil || e.Labels[discoveryv1.LabelSkipMirror] == "true" || e.Annotations[leaderAnnotation] != "" {
		return nil
	}
	svc, ok := store.Get[*corev1.Service](s, key.Namespace, key.Name)
	if !ok || svc.DeletionTimestamp != nil || len(svc.Spec.Selector) > 0 {
		return nil
	}
	var all []*discoveryv1.EndpointSlice
	for i := range e.Subsets {
		sub := &e.Subsets[i]
		for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
			endpoints := append(mirrorOf(sub.Addresses, family, true), mirrorOf(sub.NotReadyAddresses, family, false)...)
			if len(endpoints) > 0 {
				all = append(all, mirrorSlice(e, family, mirrorPorts(sub.Ports), i, endpoints[:min(len(endpoints), maxPerMirror)]))
			}
		}
	}
	return all
}

func mirrorOf(addresses []corev1.EndpointAddress, family discoveryv1.AddressType, ready bool) []discoveryv1.Endpoint {
	var all []discoveryv1.Endpoint
	for _, a := range addresses {
		ip, err := netip.ParseAddr(a.IP)
		if err != nil || ip.Is4() != (family == discoveryv1.AddressTypeIPv4) {
			continue
		}
		e := discoveryv1.Endpoint{Addresses: []string{a.IP}, NodeName: a.NodeName, TargetRef: a.TargetRef, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}
		if a.Hostname != "" {
			e.Hostname = &a.Hostname
		}
		all = append(all, e)
	}
	return all
}

func mirrorPorts(ports []corev1.EndpointPort) []discoveryv1.EndpointPort {
	var all []discoveryv1.EndpointPort
	for _, p := range ports {
		all = append(all, discoveryv1.EndpointPort{Name: &p.Name, Port: &p.Port, Protocol: &p.Protocol, AppProtocol: p.AppProtocol})
	}
	return all
}

// mirrorSlice has a name that its subset gives it, so that it keeps it while only addresses come and go.
func mirrorSlice(e *corev1.Endpoints, family discoveryv1.AddressType, ports []discoveryv1.EndpointPort, i int, endpoints []discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	h := fnv.New32a()
	fmt.Fprint(h, e.UID, family, i, portsKey(ports))
	labels := maps.Clone(e.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[discoveryv1.LabelServiceName], labels[discoveryv1.LabelManagedBy] = e.Name, mirroredBy
	annotations := maps.Clone(e.Annotations)
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	delete(annotations, triggerAnnotation)
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: e.Name + "-" + strconv.FormatUint(uint64(h.Sum32()), 36), GenerateName: e.Name + "-", Namespace: e.Namespace,
			Labels: labels, Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(e, corev1.SchemeGroupVersion.WithKind("Endpoints"))},
		},
		AddressType: family, Ports: ports, Endpoints: endpoints,
	}
}
