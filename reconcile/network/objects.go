package network

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var (
	addressKind = schema.GroupKind{Group: networkingv1.GroupName, Kind: "IPAddress"}
	rangeKind   = schema.GroupKind{Group: networkingv1.GroupName, Kind: "ServiceCIDR"}
)

const (
	serviceRange = "kubernetes" // the ServiceCIDR of the range that the cluster was started with
	givenBy      = "ipallocator.k8s.io"
)

// Given shows which addresses are given to services: the range as a ServiceCIDR, and each address as an IPAddress. They are
// given by Addresses, inside the transaction that writes the service; these objects only tell of it.
type Given struct{ Range netip.Prefix }

var _ control.Starter = Given{}

func (Given) Name() string { return "service-ip-controller" }

func (Given) Owns() []control.Owned {
	return []control.Owned{{Kind: addressKind}, {Kind: rangeKind}, {Kind: rangeKind, Part: control.Status}}
}

// FirstKey is the range, of which there is always one.
func (Given) FirstKey() store.Key { return store.Key{Kind: rangeKind, Name: serviceRange} }

func (Given) Watches() []control.Watch {
	addresses := func(_ *store.Snapshot, c store.Change) []store.Key {
		var keys []store.Key
		for _, o := range []store.Object{c.Old, c.New} {
			if svc, ok := o.(*corev1.Service); ok && svc.Spec.ClusterIP != "" && svc.Spec.ClusterIP != corev1.ClusterIPNone {
				keys = append(keys, store.Key{Kind: addressKind, Name: svc.Spec.ClusterIP})
			}
		}
		return keys
	}
	return []control.Watch{{Kind: serviceKind, Keys: addresses}, {Kind: addressKind}, {Kind: rangeKind}}
}

// Plan creates and deletes the object of one address, or of the range.
func (g Given) Plan(w control.World, key store.Key) (control.Plan, error) {
	var p control.Plan
	if key.Kind == rangeKind {
		if key.Name == serviceRange {
			g.keepRange(&p, w)
		}
		return p, nil
	}
	live, there := store.Get[*networkingv1.IPAddress](w.Snapshot, "", key.Name)
	ours := there && live.Labels[networkingv1.LabelManagedBy] == givenBy
	want := addressOf(w.Snapshot, key.Name)
	switch {
	case want == nil && ours && live.DeletionTimestamp == nil:
		p.Delete(live, "no service has it")
	case want != nil && !there:
		p.Create(want, "a service has it")
	case want != nil && ours && live.DeletionTimestamp == nil && !equality.Semantic.DeepEqual(live.Spec, want.Spec):
		p.Delete(live, "another service has it")
	}
	return p, nil
}

// addressOf is the object of an address that a service has; nil if none has it.
func addressOf(s *store.Snapshot, ip string) *networkingv1.IPAddress {
	for o := range s.List(store.Select(serviceKind, store.By(addressIndex, ip))) {
		return &networkingv1.IPAddress{
			ObjectMeta: metav1.ObjectMeta{Name: ip, Labels: map[string]string{
				networkingv1.LabelIPAddressFamily: string(corev1.IPv4Protocol), networkingv1.LabelManagedBy: givenBy}},
			Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: o.GetNamespace(), Name: o.GetName()}},
		}
	}
	return nil
}

func (g Given) keepRange(p *control.Plan, w control.World) {
	live, ok := store.Get[*networkingv1.ServiceCIDR](w.Snapshot, "", serviceRange)
	switch {
	case !ok:
		p.Create(&networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: serviceRange}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{g.Range.Masked().String()}},
		}, "services get their addresses from it")
	case live.DeletionTimestamp == nil && !meta.IsStatusConditionTrue(live.Status.Conditions, networkingv1.ServiceCIDRConditionReady):
		next := live.DeepCopy()
		next.Status.Conditions = []metav1.Condition{{
			Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready",
			LastTransitionTime: metav1.NewTime(w.Now),
		}}
		p.Status(next, "it is in use")
	}
}
