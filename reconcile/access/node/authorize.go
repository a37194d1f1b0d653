// Package node narrows what a machine may: it sees and writes its own Node and Lease, the pods that are bound to it, and what
// those refer to. So a machine that is taken over gives away no more than what ran on it. It is pure: every function reads
// a snapshot.
package node

import (
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/mainstay-gitops/mainstay/reconcile/access/policy"
	"github.com/mainstay-gitops/mainstay/reconcile/access/rbac"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// UserPrefix begins the names of machines as users; the name of the Node follows.
const UserPrefix = "system:node:"

// Identity tells whether who is a machine, and which: one of the group system:nodes whose name says so.
func Identity(who user.Info) (name string, ok bool) {
	name, ok = strings.CutPrefix(who.GetName(), UserPrefix)
	return name, ok && slices.Contains(who.GetGroups(), user.NodesGroup)
}

// An inquiry is what one machine asks for.
type inquiry struct {
	authorizer.Attributes
	s    *store.Snapshot
	node string
}

// Authorize tells whether the node may do what a asks for, and if not, why.
func Authorize(s *store.Snapshot, node string, a authorizer.Attributes) (authorizer.Decision, string) {
	why := "unknown node"
	if node != "" {
		why = inquiry{a, s, node}.refused()
	}
	if why == "" {
		return authorizer.DecisionAllow, ""
	}
	return authorizer.DecisionNoOpinion, why
}

// refused tells why not; "" if it is allowed.
func (q inquiry) refused() string {
	if !q.IsResourceRequest() {
		return q.general()
	}
	switch (schema.GroupResource{Group: q.GetAPIGroup(), Resource: q.GetResource()}) {
	case schema.GroupResource{Resource: "secrets"}:
		return q.read(func(p *corev1.Pod) bool { return usesSecret(p, q.GetName()) })
	case schema.GroupResource{Resource: "configmaps"}:
		return q.read(func(p *corev1.Pod) bool { return usesConfigMap(p, q.GetName()) })
	case schema.GroupResource{Resource: "persistentvolumeclaims"}:
		return q.claim()
	case schema.GroupResource{Resource: "persistentvolumes"}:
		return q.get(func() bool { return q.usesVolume() })
	case schema.GroupResource{Group: storagev1.GroupName, Resource: "volumeattachments"}:
		return q.get(func() bool { return q.attached() })
	case schema.GroupResource{Resource: "serviceaccounts"}:
		return q.account()
	case schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"}:
		return q.lease()
	case schema.GroupResource{Group: storagev1.GroupName, Resource: "csinodes"}:
		return q.own("CSINode")
	case schema.GroupResource{Resource: "nodes"}:
		return q.self()
	case schema.GroupResource{Resource: "pods"}:
		return q.pod()
	case schema.GroupResource{Group: certificatesv1.GroupName, Resource: "clustertrustbundles"}:
		return "there are none"
	}
	return q.general()
}

// general is what all nodes may alike.
func (q inquiry) general() string {
	for _, r := range policy.Node() {
		if rbac.Allows(&r, q) {
			return ""
		}
	}
	return "nodes may not"
}

func (q inquiry) unrelated() string {
	return fmt.Sprintf("no relationship found between node '%s' and this object", q.node)
}

// read: single objects of a namespace, if a pod of the node uses them.
func (q inquiry) read(used func(*corev1.Pod) bool) string {
	switch {
	case !slices.Contains([]string{"get", "list", "watch"}, q.GetVerb()):
		return "can only read resources of this type"
	case q.GetSubresource() != "":
		return "cannot read subresource"
	case q.GetNamespace() == "":
		return "can only read namespaced object of this type"
	case q.GetName() == "":
		return "No Object name found"
	case !q.used(used):
		return q.unrelated()
	}
	return ""
}

// get: one object, if it is the node's.
func (q inquiry) get(related func() bool) string {
	switch {
	case q.GetVerb() != "get":
		return "can only get individual resources of this type"
	case q.GetSubresource() != "":
		return "cannot get subresource"
	case q.GetName() == "":
		return "No Object name found"
	case !related():
		return q.unrelated()
	}
	return ""
}

// used tells whether a pod of the node in the namespace is such a one. What the machine itself brings refers to nothing.
func (q inquiry) used(by func(*corev1.Pod) bool) bool {
	for p := range store.List[*corev1.Pod](q.s, store.OnNode(q.node), store.InNamespace(q.GetNamespace())) {
		if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; !mirror && by(p) {
			return true
		}
	}
	return false
}

func (q inquiry) claim() string {
	related := func() bool { return q.used(func(p *corev1.Pod) bool { return usesClaim(p, q.GetName()) }) }
	if q.GetSubresource() != "status" {
		return q.get(related)
	}
	switch {
	case q.GetVerb() != "update" && q.GetVerb() != "patch":
		return "can only get/update/patch this type"
	case !related():
		return q.unrelated()
	}
	return ""
}

// usesVolume tells whether a claim that a pod of the node uses is bound to the volume.
func (q inquiry) usesVolume() bool {
	for p := range store.List[*corev1.Pod](q.s, store.OnNode(q.node)) {
		for _, name := range claims(p) {
			o, _ := q.s.Get(store.Key{Kind: schema.GroupKind{Kind: "PersistentVolumeClaim"}, Namespace: p.Namespace, Name: name})
			if c, ok := o.(*corev1.PersistentVolumeClaim); ok && c.Spec.VolumeName == q.GetName() {
				return true
			}
		}
	}
	return false
}

func (q inquiry) attached() bool {
	o, _ := q.s.Get(store.Key{Kind: schema.GroupKind{Group: storagev1.GroupName, Kind: "VolumeAttachment"}, Name: q.GetName()})
	a, ok := o.(*storagev1.VolumeAttachment)
	return ok && a.Spec.NodeName == q.node
}

func (q inquiry) account() string {
	uses := func(p *corev1.Pod) bool { return p.Spec.ServiceAccountName == q.GetName() }
	switch {
	case q.GetVerb() == "get" && q.GetSubresource() == "":
		return q.read(uses)
	case q.GetVerb() != "create" || q.GetName() == "":
		return "can only create tokens for individual service accounts"
	case q.GetSubresource() != "token":
		return "can only create token subresource of serviceaccount"
	case !q.used(uses):
		return q.unrelated()
	}
	return ""
}

func (q inquiry) lease() string {
	if q.GetNamespace() != corev1.NamespaceNodeLease {
		return fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	return q.own("node lease")
}

// own: an object of the node's own name. Of one that is created, the name is looked at when it is admitted.
func (q inquiry) own(what string) string {
	switch {
	case !slices.Contains([]string{"get", "create", "update", "patch", "delete"}, q.GetVerb()) || q.GetSubresource() != "":
		return fmt.Sprintf("can only get, create, update, patch, or delete a %s", what)
	case q.GetVerb() != "create" && q.GetName() != q.node:
		return fmt.Sprintf("can only access %s with the same name as the requesting node", what)
	}
	return ""
}

func (q inquiry) self() string {
	switch verb := q.GetSubresource() + " " + q.GetVerb(); verb {
	case " create", " update", " patch", "status update", "status patch":
		return "" // which one, is looked at when it is admitted
	case " get", " list", " watch":
		switch q.GetName() {
		case q.node:
			return ""
		case "":
			return fmt.Sprintf("node '%s' cannot read all nodes, only its own Node object", q.node)
		}
		return fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", q.node, q.GetName())
	}
	return "nodes may not"
}

func (q inquiry) pod() string {
	bound := func() bool {
		p, ok := store.Get[*corev1.Pod](q.s, q.GetNamespace(), q.GetName())
		return ok && p.Spec.NodeName == q.node
	}
	switch q.GetSubresource() + " " + q.GetVerb() {
	case " create", " delete", "status update", "status patch", "eviction create":
		return "" // of which pod, is looked at when it is admitted
	case " get":
		return q.get(bound)
	case " list", " watch":
		wanted, err := q.GetFieldSelector()
		for _, r := range wanted {
			if err == nil && r.Field == "spec.nodeName" && (r.Operator == selection.Equals || r.Operator == selection.DoubleEquals) && r.Value == q.node {
				return ""
			}
		}
		if q.GetName() != "" && bound() {
			return ""
		}
		return "can only list/watch pods with spec.nodeName field selector"
	}
	return "nodes may not"
}
