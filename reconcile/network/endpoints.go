// Package network holds the controllers that tell where services are served: cluster addresses and EndpointSlices.
package network

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var (
	podKind     = schema.GroupKind{Kind: "Pod"}
	serviceKind = schema.GroupKind{Kind: "Service"}
	sliceKind   = schema.GroupKind{Group: "discovery.k8s.io", Kind: "EndpointSlice"}
)

const (
	managedBy   = "endpointslice-controller.k8s.io"
	maxPerSlice = 100
)

// Endpoints keeps the EndpointSlices of each service that has a selector: where its pods are, and which of them are ready.
type Endpoints struct{}

func (Endpoints) Name() string { return "endpointslice-controller" }

func (Endpoints) Owns() []control.Owned { return []control.Owned{{Kind: sliceKind}} }

func (Endpoints) Watches() []control.Watch {
	return []control.Watch{
		{Kind: serviceKind},
		{Kind: sliceKind, Keys: serviceOf},
		{Kind: podKind, Keys: servicesOf},
	}
}

func serviceOf(_ *store.Snapshot, c store.Change) []store.Key {
	o := c.Object()
	name := o.GetLabels()[discoveryv1.LabelServiceName]
	if name == "" {
		return nil
	}
	return []store.Key{{Kind: serviceKind, Namespace: o.GetNamespace(), Name: name}}
}

// servicesOf are the services that select the pod, or did before the change, if the change is one that they care about.
func servicesOf(s *store.Snapshot, c store.Change) []store.Key {
	if c.Old != nil && c.New != nil && sameEndpoint(c.Old.(*corev1.Pod), c.New.(*corev1.Pod)) {
		return nil
	}
	var keys []store.Key
	for svc := range store.List[*corev1.Service](s, store.InNamespace(c.Object().GetNamespace())) {
		if len(svc.Spec.Selector) == 0 {
			continue
		}
		sel := labels.SelectorFromSet(svc.Spec.Selector)
		if c.Old != nil && sel.Matches(labels.Set(c.Old.GetLabels())) || c.New != nil && sel.Matches(labels.Set(c.New.GetLabels())) {
			keys = append(keys, store.Key{Kind: serviceKind, Namespace: svc.Namespace, Name: svc.Name})
		}
	}
	return keys
}

// sameEndpoint tells whether a pod is the same to all services before and after a change.
func sameEndpoint(a, b *corev1.Pod) bool {
	return a.Status.PodIP == b.Status.PodIP && a.Status.Phase == b.Status.Phase && ready(a) == ready(b) &&
		(a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) && a.Spec.NodeName == b.Spec.NodeName &&
		equality.Semantic.DeepEqual(a.Labels, b.Labels)
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// Plan brings the slices of one service in line with its pods.
func (Endpoints) Plan(w control.World, key store.Key) (control.Plan, error) {
	var p control.Plan
	slicesNow := ownSlices(w.Snapshot, key)
	svc, ok := store.Get[*corev1.Service](w.Snapshot, key.Namespace, key.Name)
	if !ok || svc.DeletionTimestamp != nil || len(svc.Spec.Selector) == 0 || svc.Spec.Type == corev1.ServiceTypeExternalName {
		for _, s := range slicesNow {
			p.Delete(s, "its service selects no pods any more")
		}
		return p, nil
	}
	groups := endpointsOf(w.Snapshot, svc)
	for _, g := range groups {
		slicesNow = g.place(&p, svc, slicesNow, w.Rand)
	}
	if len(groups) == 0 {
		slicesNow = (&group{ports: portsOf(svc, nil)}).place(&p, svc, slicesNow, w.Rand)
	}
	for _, s := range slicesNow {
		p.Delete(s, "no endpoint is left in it")
	}
	return p, nil
}

// ownSlices are the slices of a service that this controller made.
func ownSlices(s *store.Snapshot, key store.Key) []*discoveryv1.EndpointSlice {
	return slices.Collect(store.List[*discoveryv1.EndpointSlice](s, store.InNamespace(key.Namespace), store.OfService(key.Name),
		store.Matching(func(o store.Object) bool {
			return o.GetLabels()[discoveryv1.LabelManagedBy] == managedBy && o.GetDeletionTimestamp() == nil
		})))
}

// A group is the endpoints that serve the same ports under the same numbers: they may share slices.
type group struct {
	ports     []discoveryv1.EndpointPort
	endpoints []discoveryv1.Endpoint
}

func endpointsOf(s *store.Snapshot, svc *corev1.Service) []*group {
	byPorts := map[string]*group{}
	var names []string
	sel := labels.SelectorFromSet(svc.Spec.Selector)
	for pod := range store.List[*corev1.Pod](s, store.InNamespace(svc.Namespace), store.Labelled(sel)) {
		e, ok := endpointOf(svc, pod)
		if !ok {
			continue
		}
		ports := portsOf(svc, pod)
		name := portsKey(ports)
		g, ok := byPorts[name]
		if !ok {
			g = &group{ports: ports}
			byPorts[name] = g
			names = append(names, name)
		}
		g.endpoints = append(g.endpoints, e)
	}
	slices.Sort(names)
	var out []*group
	for _, n := range names {
		out = append(out, byPorts[n])
	}
	return out
}

// endpointOf is where pod serves svc; false while it has no address, and once it has ended.
func endpointOf(svc *corev1.Service, pod *corev1.Pod) (discoveryv1.Endpoint, bool) {
	if pod.Status.PodIP == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return discoveryv1.Endpoint{}, false
	}
	terminating := pod.DeletionTimestamp != nil
	serving := ready(pod)
	isReady := svc.Spec.PublishNotReadyAddresses || serving && !terminating
	e := discoveryv1.Endpoint{
		Addresses:  []string{pod.Status.PodIP},
		Conditions: discoveryv1.EndpointConditions{Ready: &isReady, Serving: &serving, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
	if pod.Spec.NodeName != "" {
		node := pod.Spec.NodeName
		e.NodeName = &node
	}
	if pod.Spec.Hostname != "" && pod.Spec.Subdomain == svc.Name {
		host := pod.Spec.Hostname
		e.Hostname = &host
	}
	return e, true
}

// portsOf are the ports of svc as pod numbers them; a name that pod does not have is left out. Without a pod only the
// numbers that the service itself gives.
func portsOf(svc *corev1.Service, pod *corev1.Pod) []discoveryv1.EndpointPort {
	var out []discoveryv1.EndpointPort
	for _, sp := range svc.Spec.Ports {
		n, ok := targetPort(sp, pod)
		if !ok {
			continue
		}
		name, proto := sp.Name, sp.Protocol
		out = append(out, discoveryv1.EndpointPort{Name: &name, Protocol: &proto, Port: &n, AppProtocol: sp.AppProtocol})
	}
	return out
}

func targetPort(sp corev1.ServicePort, pod *corev1.Pod) (int32, bool) {
	if sp.TargetPort.Type == intstr.Int {
		if n := sp.TargetPort.IntVal; n != 0 {
			return n, true
		}
		return sp.Port, true
	}
	if pod == nil {
		return 0, false
	}
	for _, c := range pod.Spec.Containers {
		for _, cp := range c.Ports {
			if cp.Name == sp.TargetPort.StrVal && cp.Protocol == sp.Protocol {
				return cp.ContainerPort, true
			}
		}
	}
	return 0, false
}

func portsKey(ports []discoveryv1.EndpointPort) string {
	var b strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&b, "%s/%s/%d/%s;", *p.Name, *p.Protocol, *p.Port, deref(p.AppProtocol))
	}
	return b.String()
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// place plans the slices that hold g: endpoints stay in the slices that have them, new ones fill the gaps, and what is
// over gets new slices. It returns the slices that it has no use for.
func (g *group) place(p *control.Plan, svc *corev1.Service, have []*discoveryv1.EndpointSlice, r *rand.Rand) (rest []*discoveryv1.EndpointSlice) {
	want := map[string]discoveryv1.Endpoint{}
	for _, e := range g.endpoints {
		want[e.Addresses[0]] = e
	}
	var mine []*discoveryv1.EndpointSlice
	for _, s := range have {
		if portsKey(s.Ports) != portsKey(g.ports) || s.AddressType != discoveryv1.AddressTypeIPv4 {
			rest = append(rest, s)
			continue
		}
		own := s.DeepCopy()
		own.Labels = sliceLabels(svc)
		mine = append(mine, own)
	}
	for _, s := range mine {
		s.Endpoints = slices.DeleteFunc(s.Endpoints, func(e discoveryv1.Endpoint) bool {
			_, ok := want[e.Addresses[0]]
			return !ok
		})
		for i, e := range s.Endpoints {
			s.Endpoints[i] = want[e.Addresses[0]]
			delete(want, e.Addresses[0])
		}
	}
	left := slices.SortedFunc(maps.Values(want), func(a, b discoveryv1.Endpoint) int { return cmp.Compare(a.Addresses[0], b.Addresses[0]) })
	for _, s := range mine {
		n := min(maxPerSlice-len(s.Endpoints), len(left))
		s.Endpoints = append(s.Endpoints, left[:n]...)
		left = left[n:]
	}
	for first := len(mine) == 0; first || len(left) > 0; first = false {
		s := newSlice(svc, g.ports, r)
		n := min(maxPerSlice, len(left))
		s.Endpoints, left = left[:n:n], left[n:]
		p.Create(s, "endpoints of "+svc.Name)
	}
	kept := 0
	for _, s := range mine {
		before := find(have, s.Name)
		switch {
		case len(s.Endpoints) == 0 && (kept > 0 || s != mine[len(mine)-1]):
			rest = append(rest, before) // the last one stays although it is empty
		case !equality.Semantic.DeepEqual(s.Endpoints, before.Endpoints) || !maps.Equal(s.Labels, before.Labels):
			kept++
			p.Update(s, "endpoints of "+svc.Name)
		default:
			kept++
		}
	}
	return rest
}

func find(all []*discoveryv1.EndpointSlice, name string) *discoveryv1.EndpointSlice {
	return all[slices.IndexFunc(all, func(s *discoveryv1.EndpointSlice) bool { return s.Name == name })]
}

// sliceLabels are the labels of the service, and those that find its slices.
func sliceLabels(svc *corev1.Service) map[string]string {
	l := maps.Clone(svc.Labels)
	if l == nil {
		l = map[string]string{}
	}
	delete(l, corev1.IsHeadlessService)
	l[discoveryv1.LabelServiceName], l[discoveryv1.LabelManagedBy] = svc.Name, managedBy
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		l[corev1.IsHeadlessService] = ""
	}
	return l
}

func newSlice(svc *corev1.Service, ports []discoveryv1.EndpointPort, r *rand.Rand) *discoveryv1.EndpointSlice {
	h := fnv.New32a()
	fmt.Fprint(h, svc.UID, r.Uint64())
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name:            svc.Name + "-" + strconv.FormatUint(uint64(h.Sum32()), 36),
			GenerateName:    svc.Name + "-",
			Namespace:       svc.Namespace,
			Labels:          sliceLabels(svc),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(svc, corev1.SchemeGroupVersion.WithKind("Service"))},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       ports,
	}
}
