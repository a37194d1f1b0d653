package node

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A write is what one machine is about to write.
type write struct {
	admission.Attributes
	s    *store.Snapshot
	node string
}

// Restrict tells why the node may not make a write that it is authorized for: what is written is not its own. asked reads the
// common name of a request for a certificate.
func Restrict(s *store.Snapshot, node string, a admission.Attributes, asked func([]byte) (string, error)) error {
	if node == "" {
		return fmt.Errorf("could not determine node from user %q", a.GetUserInfo().GetName())
	}
	w := write{a, s, node}
	switch a.GetResource().GroupResource() {
	case schema.GroupResource{Resource: "pods"}:
		return w.pod()
	case schema.GroupResource{Resource: "nodes"}:
		return w.self()
	case schema.GroupResource{Resource: "persistentvolumeclaims"}:
		return w.claim()
	case schema.GroupResource{Resource: "serviceaccounts"}:
		return w.token()
	case schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"}:
		return w.lease()
	case schema.GroupResource{Group: storagev1.GroupName, Resource: "csinodes"}:
		if a.GetName() != node {
			return errors.New("can only access CSINode with the same name as the requesting node")
		}
	case schema.GroupResource{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests"}:
		return w.request(asked)
	}
	return nil
}

func (w write) pod() error {
	live, ok := store.Get[*corev1.Pod](w.s, w.GetNamespace(), w.GetName())
	bound := ok && live.Spec.NodeName == w.node
	switch {
	case w.GetSubresource() == "status" && w.GetOperation() == admission.Update:
		old, _ := w.GetOldObject().(*corev1.Pod)
		next, _ := w.GetObject().(*corev1.Pod)
		switch {
		case old == nil || next == nil || old.Spec.NodeName != w.node:
			return fmt.Errorf("node %q can only update pod status for pods with spec.nodeName set to itself", w.node)
		case !maps.Equal(old.Labels, next.Labels):
			return fmt.Errorf("node %q cannot update labels through pod status", w.node)
		}
	case w.GetSubresource() == "eviction" && w.GetOperation() == admission.Create:
		if !bound {
			return fmt.Errorf("node %s can only evict pods with spec.nodeName set to itself", w.node)
		}
	case w.GetSubresource() != "":
		return fmt.Errorf("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", w.GetSubresource())
	case w.GetOperation() == admission.Create:
		p, _ := w.GetObject().(*corev1.Pod)
		return w.mirror(p)
	case w.GetOperation() == admission.Delete:
		if !bound {
			return fmt.Errorf("node %q can only delete pods with spec.nodeName set to itself", w.node)
		}
	default:
		return fmt.Errorf("unexpected operation %q, node %q can only create and delete mirror pods", w.GetOperation(), w.node)
	}
	return nil
}

// mirror: a node makes no pods but those that show what it runs by itself.
func (w write) mirror(p *corev1.Pod) error {
	if p == nil {
		return errors.New("it is no pod")
	}
	if _, ok := p.Annotations[corev1.MirrorPodAnnotationKey]; !ok {
		return fmt.Errorf("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, w.node)
	}
	if p.Spec.NodeName != w.node {
		return fmt.Errorf("node %q can only create pods with spec.nodeName set to itself", w.node)
	}
	if len(p.OwnerReferences) != 1 {
		return fmt.Errorf("node %q can only create pods with an owner reference set to itself", w.node)
	}
	owner := p.OwnerReferences[0]
	self, ok := store.Get[*corev1.Node](w.s, "", w.node)
	switch {
	case owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != w.node:
		return fmt.Errorf("node %q can only create pods with an owner reference set to itself", w.node)
	case owner.Controller == nil || !*owner.Controller:
		return fmt.Errorf("node %q can only create pods with a controller owner reference set to itself", w.node)
	case owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion:
		return fmt.Errorf("node %q must not set blockOwnerDeletion on an owner reference", w.node)
	case !ok || self.UID != owner.UID:
		return fmt.Errorf("node %s UID mismatch: its owner is %s", w.node, owner.UID)
	}
	if what := refers(p); what != "" {
		return fmt.Errorf("node %q can not create pods that reference %s", w.node, what)
	}
	return nil
}

func (w write) self() error {
	if w.GetName() != w.node {
		return fmt.Errorf("node %q is not allowed to modify node %q", w.node, w.GetName())
	}
	next, _ := w.GetObject().(*corev1.Node)
	if next == nil {
		return nil
	}
	old, _ := w.GetOldObject().(*corev1.Node)
	var labels map[string]string
	if old != nil {
		labels = old.Labels
		if !equality.Semantic.DeepEqual(next.Spec.Taints, old.Spec.Taints) {
			return fmt.Errorf("node %q is not allowed to modify taints", w.node)
		}
		if !equality.Semantic.DeepEqual(next.OwnerReferences, old.OwnerReferences) {
			return fmt.Errorf("node %q is not allowed to modify ownerReferences", w.node)
		}
	}
	if changed := forbidden(next.Labels, labels); len(changed) > 0 {
		if old == nil {
			return fmt.Errorf("node %q is not allowed to set the following labels: %s", w.node, strings.Join(changed, ", "))
		}
		return fmt.Errorf("is not allowed to modify labels: %s", strings.Join(changed, ", "))
	}
	return nil
}

// forbidden are the labels that differ and that a machine may not give itself: by them work is kept to machines that are
// trusted with it.
func forbidden(next, old map[string]string) []string {
	var all []string
	for _, m := range []map[string]string{next, old} {
		for k := range m {
			a, inNext := next[k]
			b, inOld := old[k]
			if inNext == inOld && a == b || !reserved(k) || slices.Contains(all, k) {
				continue
			}
			all = append(all, k)
		}
	}
	slices.Sort(all)
	return all
}

func reserved(label string) bool {
	group, _, ok := strings.Cut(label, "/")
	in := func(domain string) bool { return group == domain || strings.HasSuffix(group, "."+domain) }
	switch {
	case !ok || !in("kubernetes.io") && !in("k8s.io"):
		return false
	case in(corev1.LabelNamespaceNodeRestriction):
		return true
	case in("kubelet.kubernetes.io"), in("node.kubernetes.io"):
		return false
	}
	return !slices.Contains([]string{
		corev1.LabelHostname, corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
		corev1.LabelInstanceType, corev1.LabelInstanceTypeStable, corev1.LabelOSStable, corev1.LabelArchStable, "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
	}, label)
}

func (w write) claim() error {
	old, _ := w.GetOldObject().(*corev1.PersistentVolumeClaim)
	next, _ := w.GetObject().(*corev1.PersistentVolumeClaim)
	if w.GetSubresource() != "status" || w.GetOperation() != admission.Update || old == nil || next == nil {
		return errors.New("may only update PVC status")
	}
	bare := func(c *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaim {
		c = c.DeepCopy()
		c.ResourceVersion, c.ManagedFields = "", nil
		c.Status.Capacity, c.Status.Conditions, c.Status.AllocatedResources, c.Status.AllocatedResourceStatuses = nil, nil, nil, nil
		return c
	}
	if !equality.Semantic.DeepEqual(bare(old), bare(next)) {
		return fmt.Errorf("node %q is not allowed to update fields other than status.quantity and status.conditions", w.node)
	}
	return nil
}

func (w write) token() error {
	r, _ := w.GetObject().(*authenticationv1.TokenRequest)
	if w.GetSubresource() != "token" || w.GetOperation() != admission.Create || r == nil {
		return nil
	}
	ref := r.Spec.BoundObjectRef
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return errors.New("node requested token not bound to a pod")
	}
	p, ok := store.Get[*corev1.Pod](w.s, w.GetNamespace(), ref.Name)
	switch {
	case ref.UID == "":
		return errors.New("node requested token with a pod binding without a uid")
	case !ok || p.UID != ref.UID:
		return fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	case p.Spec.NodeName != w.node:
		return errors.New("node requested token bound to a pod scheduled on a different node")
	}
	return heard(p, r.Spec.Audiences)
}

// heard: a machine asks for tokens for those whom a volume of the pod names, and nobody else.
func heard(p *corev1.Pod, audiences []string) error {
	if len(audiences) > 1 {
		return errors.New("node may only request 0 or 1 audiences")
	}
	wanted := ""
	if len(audiences) == 1 {
		wanted = audiences[0]
	}
	for _, v := range p.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			if source.ServiceAccountToken != nil && source.ServiceAccountToken.Audience == wanted {
				return nil
			}
		}
	}
	return fmt.Errorf("audience %q not found in pod spec volume", wanted)
}

func (w write) lease() error {
	if w.GetNamespace() != corev1.NamespaceNodeLease {
		return fmt.Errorf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	name := w.GetName()
	if l, ok := w.GetObject().(*coordinationv1.Lease); ok && w.GetOperation() == admission.Create {
		name = l.Name
	}
	if name != w.node {
		return errors.New("can only access node lease with the same name as the requesting node")
	}
	return nil
}

func (w write) request(asked func([]byte) (string, error)) error {
	r, _ := w.GetObject().(*certificatesv1.CertificateSigningRequest)
	if w.GetOperation() != admission.Create || r == nil ||
		r.Spec.SignerName != certificatesv1.KubeletServingSignerName && r.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	name, err := asked(r.Spec.Request)
	if err != nil {
		return fmt.Errorf("unable to parse csr: %w", err)
	}
	if name != UserPrefix+w.node {
		return fmt.Errorf("can only create a node CSR with CN=%s%s", UserPrefix, w.node)
	}
	return nil
}
