package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const addressIndex = "clusterIP"

// Index finds services by their cluster address. A store whose services get addresses must have it.
func Index() store.Index {
	return store.Index{Name: addressIndex, Values: func(o store.Object) []string {
		if svc, ok := o.(*corev1.Service); ok && svc.Spec.ClusterIP != "" && svc.Spec.ClusterIP != corev1.ClusterIPNone {
			return []string{svc.Spec.ClusterIP}
		}
		return nil
	}}
}

// ErrNoAddress: all cluster addresses are taken.
var ErrNoAddress = errors.New("no cluster address is left in the service range")

// Addresses hands out cluster addresses from a range.
type Addresses struct{ Range netip.Prefix }

// Assign gives svc, which is about to be written, the cluster address that it needs: the one it asks for, the one that old
// has, or a free one. It runs inside the transaction that writes svc, so that no address is given twice. old is nil for a
// creation.
func (a Addresses) Assign(tx *store.Tx, old, svc *corev1.Service) error {
	spec := &svc.Spec
	if spec.Type == corev1.ServiceTypeExternalName {
		spec.ClusterIP, spec.ClusterIPs, spec.IPFamilies, spec.IPFamilyPolicy = "", nil, nil, nil
		return nil
	}
	if spec.ClusterIP == "" && len(spec.ClusterIPs) > 0 {
		spec.ClusterIP = spec.ClusterIPs[0]
	}
	if spec.ClusterIP == "" && old != nil && old.Spec.Type != corev1.ServiceTypeExternalName {
		spec.ClusterIP = old.Spec.ClusterIP
	}
	switch {
	case spec.ClusterIP == "":
		ip, err := a.free(tx, svc)
		if err != nil {
			return err
		}
		spec.ClusterIP = ip
	case spec.ClusterIP != corev1.ClusterIPNone && (old == nil || old.Spec.ClusterIP != spec.ClusterIP):
		if err := a.check(tx, svc); err != nil {
			return err
		}
	}
	spec.ClusterIPs = []string{spec.ClusterIP}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	if spec.IPFamilyPolicy == nil {
		single := corev1.IPFamilyPolicySingleStack
		spec.IPFamilyPolicy = &single
	}
	return nil
}

// check refuses an address that is not ours to give, or given already.
func (a Addresses) check(tx *store.Tx, svc *corev1.Service) error {
	path := field.NewPath("spec", "clusterIPs")
	refuse := func(why string) error {
		return field.ErrorList{field.Invalid(path, svc.Spec.ClusterIP, why)}.ToAggregate()
	}
	ip, err := netip.ParseAddr(svc.Spec.ClusterIP)
	if err != nil || !a.Range.Contains(ip) {
		return refuse(fmt.Sprintf("provided IP is not in the valid range. The range of valid IPs is %s", a.Range))
	}
	if holder := holderOf(tx, svc.Spec.ClusterIP, svc); holder != "" {
		return refuse("provided IP is already allocated to Service " + holder)
	}
	return nil
}

// holderOf names the service that has an address; "" if none, or svc itself.
func holderOf(tx *store.Tx, ip string, svc *corev1.Service) string {
	for o := range tx.List(store.Select(serviceKind, store.By(addressIndex, ip))) {
		if o.GetNamespace() != svc.Namespace || o.GetName() != svc.Name {
			return o.GetNamespace() + "/" + o.GetName()
		}
	}
	return ""
}

// free finds an address that nobody has, starting from one that the service's name gives: so a service that is made again
// gets its old address if it can. The first addresses of the range are left to those who ask for them by number.
func (a Addresses) free(tx *store.Tx, svc *corev1.Service) (string, error) {
	size := uint32(1) << (32 - a.Range.Bits())
	reserved := min(max(16, size/16), 256)
	if size <= reserved*2 {
		reserved = 1
	}
	usable := size - reserved - 1 // not the last one either
	h := fnv.New32a()
	fmt.Fprintf(h, "%s/%s", svc.Namespace, svc.Name)
	base := a.Range.Masked().Addr().As4()
	first := binary.BigEndian.Uint32(base[:])
	for i := range usable {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], first+reserved+(h.Sum32()+i)%usable)
		if ip := netip.AddrFrom4(b).String(); holderOf(tx, ip, svc) == "" {
			return ip, nil
		}
	}
	return "", fmt.Errorf("assign an address to service %s/%s: %w (%s)", svc.Namespace, svc.Name, ErrNoAddress, a.Range)
}

// Give assigns an address if what is about to be written is a Service. It leaves all else as it is.
func (a Addresses) Give(tx *store.Tx, old, new store.Object) error {
	svc, ok := new.(*corev1.Service)
	if !ok {
		return nil
	}
	was, _ := old.(*corev1.Service)
	return a.Assign(tx, was, svc)
}
