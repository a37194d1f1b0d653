package store

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// An Index finds objects by values computed from them. Values must depend on the object alone.
type Index struct {
	Name   string
	Values func(Object) []string
}

func (x Index) values(o Object) []string {
	if o == nil {
		return nil
	}
	return x.Values(o)
}

const (
	ownerIndex   = "owner"
	nodeIndex    = "node"
	serviceIndex = "service"
)

// builtIn are the indexes that every store has: see OwnedBy, OnNode, OfService.
func builtIn() []Index {
	return []Index{
		{ownerIndex, func(o Object) []string {
			var uids []string
			for _, r := range o.GetOwnerReferences() {
				uids = append(uids, string(r.UID))
			}
			if len(uids) == 0 && adoptable(o) {
				uids = append(uids, "")
			}
			return uids
		}},
		{nodeIndex, func(o Object) []string {
			if p, ok := o.(*corev1.Pod); ok {
				return []string{p.Spec.NodeName}
			}
			return nil
		}},
		{serviceIndex, func(o Object) []string {
			if s, ok := o.(*discoveryv1.EndpointSlice); ok {
				return []string{s.Labels[discoveryv1.LabelServiceName]}
			}
			return nil
		}},
	}
}

// adoptable are the kinds that controllers look for without an owner, to adopt them.
func adoptable(o Object) bool {
	switch o.(type) {
	case *corev1.Pod, *appsv1.ReplicaSet, *appsv1.ControllerRevision:
		return true
	}
	return false
}

// indexKey is the entry of k under value. The order is that of value, kind and path, so that a value, or a value and a
// kind, is one range.
func indexKey(value string, k Key) string {
	return value + "\x00" + k.Kind.Kind + "." + k.Kind.Group + "\x00" + k.path()
}

// splitIndexKey takes what follows the value in an index key.
func splitIndexKey(rest string) (kind schema.GroupKind, path string) {
	name, path, _ := strings.Cut(rest[1:], "\x00")
	kind.Kind, kind.Group, _ = strings.Cut(name, ".")
	return kind, path
}

// prefix is the range of q in its index.
func (q Query) prefix() string {
	p := q.Value + "\x00"
	if q.Kind.Empty() {
		return p
	}
	p += q.Kind.Kind + "." + q.Kind.Group + "\x00"
	return p + q.namespacePrefix()
}
