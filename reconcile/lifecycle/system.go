//lint:file-ignore SA1019 Endpoints are old, and kept for those who still use them

package lifecycle

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// SystemNamespace is where Mainstay keeps its own objects.
const SystemNamespace = "mainstay-system"

// System keeps what every cluster has: its first namespaces, and the service kubernetes, which leads to the API.
type System struct {
	ServiceAddress netip.Addr     // of the service kubernetes
	API            netip.AddrPort // where pods reach the API
}

func (System) Name() string { return "system" }

func (System) Owns() []control.Owned {
	return []control.Owned{{Kind: namespaceKind}, {Kind: serviceKind}, {Kind: sliceKind}, {Kind: endpointsKind}, {Kind: priorityClassKind}}
}

func (System) Watches() []control.Watch {
	all := func(*store.Snapshot, store.Change) []store.Key {
		return []store.Key{{Kind: namespaceKind, Name: metav1.NamespaceDefault}}
	}
	api := func(s *store.Snapshot, c store.Change) []store.Key {
		if o := c.Object(); o.GetNamespace() != metav1.NamespaceDefault || o.GetName() != apiService {
			return nil
		}
		return all(s, c)
	}
	return []control.Watch{{Kind: namespaceKind, Keys: all}, {Kind: serviceKind, Keys: api}, {Kind: sliceKind, Keys: api}, {Kind: endpointsKind, Keys: api}, {Kind: priorityClassKind, Keys: all}}
}

const apiService = "kubernetes"

// FirstKey is what to plan at the start of an empty store.
func (System) FirstKey() store.Key {
	return store.Key{Kind: namespaceKind, Name: metav1.NamespaceDefault}
}

// Plan creates what is missing, and puts back what was changed.
func (y System) Plan(w control.World, _ store.Key) (control.Plan, error) {
	var p control.Plan
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease, SystemNamespace} {
		if _, ok := store.Get[*corev1.Namespace](w.Snapshot, "", name); !ok {
			p.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}}}, "every cluster has it")
		}
	}
	for _, class := range systemClasses() {
		if _, ok := store.Get[*schedulingv1.PriorityClass](w.Snapshot, "", class.Name); !ok {
			p.Create(class, "every cluster has it")
		}
	}
	if _, ok := store.Get[*corev1.Namespace](w.Snapshot, "", metav1.NamespaceDefault); ok {
		keep(&p, w.Snapshot, y.service(), func(o *corev1.Service) any { return [2]any{o.Spec.ClusterIP, o.Spec.Ports} })
		keep(&p, w.Snapshot, y.slice(), func(o *discoveryv1.EndpointSlice) any { return [2]any{o.Endpoints, o.Ports} })
		keep(&p, w.Snapshot, y.endpoints(), func(o *corev1.Endpoints) any { return o.Subsets })
	}
	return p, nil
}

// keep creates want, or replaces what is there in its place if the parts that count differ.
func keep[T store.Object](p *control.Plan, s *store.Snapshot, want T, parts func(T) any) {
	live, ok := store.Get[T](s, want.GetNamespace(), want.GetName())
	switch {
	case !ok:
		p.Create(want, "every cluster has it")
	case live.GetDeletionTimestamp() == nil && !equality.Semantic.DeepEqual(parts(live), parts(want)):
		want.SetUID(live.GetUID())
		want.SetCreationTimestamp(live.GetCreationTimestamp())
		want.SetResourceVersion(live.GetResourceVersion())
		p.Update(want, "it was changed")
	}
}

// systemClasses are the priorities of what the cluster and its nodes cannot do without.
func systemClasses() []*schedulingv1.PriorityClass {
	var all []*schedulingv1.PriorityClass
	for name, about := range map[string]string{
		"system-cluster-critical": "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
		"system-node-critical":    "Used for system critical pods that must not be moved from their current node.",
	} {
		value, _ := scheme.Priority(name)
		all = append(all, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, Description: about})
	}
	slices.SortFunc(all, func(a, b *schedulingv1.PriorityClass) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (y System) service() *corev1.Service {
	single := corev1.IPFamilyPolicySingleStack
	cluster := corev1.ServiceInternalTrafficPolicyCluster
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: apiService, Namespace: metav1.NamespaceDefault, Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"}},
		Spec: corev1.ServiceSpec{
			Type:                  corev1.ServiceTypeClusterIP,
			ClusterIP:             y.ServiceAddress.String(),
			ClusterIPs:            []string{y.ServiceAddress.String()},
			IPFamilies:            []corev1.IPFamily{corev1.IPv4Protocol},
			IPFamilyPolicy:        &single,
			InternalTrafficPolicy: &cluster,
			SessionAffinity:       corev1.ServiceAffinityNone,
			Ports:                 []corev1.ServicePort{{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt32(int32(y.API.Port()))}},
		},
	}
}

// endpoints are the slice in its older form, which nobody needs to mirror.
func (y System) endpoints() *corev1.Endpoints {
	return &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Name: apiService, Namespace: metav1.NamespaceDefault, Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"}},
		Subsets: []corev1.EndpointSubset{{
			Addresses: []corev1.EndpointAddress{{IP: y.API.Addr().String()}},
			Ports:     []corev1.EndpointPort{{Name: "https", Protocol: corev1.ProtocolTCP, Port: int32(y.API.Port())}},
		}},
	}
}

func (y System) slice() *discoveryv1.EndpointSlice {
	name, proto, port, ok := "https", corev1.ProtocolTCP, int32(y.API.Port()), true
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: apiService, Namespace: metav1.NamespaceDefault, Labels: map[string]string{discoveryv1.LabelServiceName: apiService}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{y.API.Addr().String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ok}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Protocol: &proto, Port: &port}},
	}
}
