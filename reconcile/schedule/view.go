// Package schedule decides which node a pod runs on. Rules are in schedule/plugin, a file each. A decision is a pure function
// of a view of the nodes, the pod and a source of chance, so it can be printed, replayed, and asked for ahead of time.
package schedule

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Resources are amounts by resource name: CPU in thousandths of a core, the rest in units (memory and storage in bytes).
type Resources map[corev1.ResourceName]int64

// ResourcesOf reads a resource list.
func ResourcesOf(l corev1.ResourceList) Resources {
	r := make(Resources, len(l))
	for name, q := range l {
		if name == corev1.ResourceCPU {
			r[name] = q.MilliValue()
		} else {
			r[name] = q.Value()
		}
	}
	return r
}

func (r Resources) plus(o Resources, sign int64) Resources {
	sum := maps.Clone(r)
	for name, n := range o {
		sum[name] += sign * n
	}
	return sum
}

// Requests is what pod asks for: the sum of its containers, or its largest init container, and its overhead.
func Requests(pod *corev1.Pod) Resources {
	return ResourcesOf(resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}))
}

// NodeInfo is a node with the pods that are bound to it. It never changes.
type NodeInfo struct {
	Node        *corev1.Node
	Pods        []*corev1.Pod
	Allocatable Resources
	Requested   Resources // by Pods together
}

// View is all nodes. It never changes: With, Without and After return another one that shares what is the same.
type View struct {
	nodes []*NodeInfo              // by name
	bound map[string][]*corev1.Pod // to nodes that are not there (yet)
	state *store.Snapshot          // what else pods refer to
}

// State is what pods refer to beside nodes: claims, volumes. nil: nothing is known of it.
func (v *View) State() *store.Snapshot { return v.state }

// Over is the view with another state.
func (v *View) Over(s *store.Snapshot) *View {
	c := *v
	c.state = s
	return &c
}

// NewView reads the nodes and the pods on them.
func NewView(s *store.Snapshot) *View {
	v := &View{bound: map[string][]*corev1.Pod{}, state: s}
	for n := range store.List[*corev1.Node](s) {
		info := newNodeInfo(n)
		for p := range store.List[*corev1.Pod](s, store.OnNode(n.Name)) {
			if occupies(p) {
				info = info.with(p)
			}
		}
		v.nodes = append(v.nodes, info)
	}
	for p := range store.List[*corev1.Pod](s) {
		if _, ok := v.find(p.Spec.NodeName); !ok && occupies(p) {
			v.bound[p.Spec.NodeName] = append(v.bound[p.Spec.NodeName], p)
		}
	}
	return v
}

// occupies tells whether a pod takes room on its node: from the moment that it is bound until it has ended.
func occupies(p *corev1.Pod) bool {
	return p.Spec.NodeName != "" && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

func newNodeInfo(n *corev1.Node) *NodeInfo {
	return &NodeInfo{Node: n, Allocatable: ResourcesOf(n.Status.Allocatable), Requested: Resources{}}
}

func (n *NodeInfo) with(p *corev1.Pod) *NodeInfo {
	c := *n
	c.Pods = append(slices.Clip(n.Pods), p)
	c.Requested = n.Requested.plus(Requests(p), 1)
	return &c
}

func (n *NodeInfo) without(uid types.UID) *NodeInfo {
	i := slices.IndexFunc(n.Pods, func(p *corev1.Pod) bool { return p.UID == uid })
	if i < 0 {
		return n
	}
	c := *n
	c.Requested = n.Requested.plus(Requests(n.Pods[i]), -1)
	c.Pods = slices.Delete(slices.Clone(n.Pods), i, i+1)
	return &c
}

// Nodes are all nodes, by name.
func (v *View) Nodes() []*NodeInfo { return v.nodes }

// Node returns one by name.
func (v *View) Node(name string) (*NodeInfo, bool) {
	i, ok := v.find(name)
	if !ok {
		return nil, false
	}
	return v.nodes[i], true
}

func (v *View) find(name string) (int, bool) {
	return slices.BinarySearchFunc(v.nodes, name, func(n *NodeInfo, name string) int { return strings.Compare(n.Node.Name, name) })
}

func (v *View) replace(i int, n *NodeInfo) *View {
	if v.nodes[i] == n {
		return v
	}
	c := &View{nodes: slices.Clone(v.nodes), bound: v.bound, state: v.state}
	c.nodes[i] = n
	return c
}

// With is the view in which pod runs on node, which must be there.
func (v *View) With(pod *corev1.Pod, node string) *View {
	i, ok := v.find(node)
	if !ok {
		return v
	}
	return v.replace(i, v.nodes[i].with(pod))
}

// Without is the view in which those pods are gone.
func (v *View) Without(pods ...*corev1.Pod) *View {
	for _, p := range pods {
		if i, ok := v.find(p.Spec.NodeName); ok {
			v = v.replace(i, v.nodes[i].without(p.UID))
		}
	}
	return v
}

// After is the view after a change to the store.
func (v *View) After(c store.Change) *View {
	switch c.Object().(type) {
	case *corev1.Node:
		return v.afterNode(c)
	case *corev1.Pod:
		return v.afterPod(c)
	}
	return v
}

func (v *View) afterNode(c store.Change) *View {
	name := c.Object().GetName()
	i, there := v.find(name)
	next := &View{nodes: slices.Clone(v.nodes), bound: maps.Clone(v.bound), state: v.state}
	switch {
	case c.New == nil && there:
		next.bound[name] = v.nodes[i].Pods
		next.nodes = slices.Delete(next.nodes, i, i+1)
	case c.New == nil:
	case there:
		n := *v.nodes[i]
		n.Node = c.New.(*corev1.Node)
		n.Allocatable = ResourcesOf(n.Node.Status.Allocatable)
		next.nodes[i] = &n
	default:
		n := newNodeInfo(c.New.(*corev1.Node))
		for _, p := range v.bound[name] {
			n = n.with(p)
		}
		delete(next.bound, name)
		next.nodes = slices.Insert(next.nodes, i, n)
	}
	return next
}

func (v *View) afterPod(c store.Change) *View {
	was, _ := c.Old.(*corev1.Pod)
	is, _ := c.New.(*corev1.Pod)
	if was != nil && !occupies(was) {
		was = nil
	}
	if is != nil && !occupies(is) {
		is = nil
	}
	if was == nil && is == nil {
		return v
	}
	name := cmpOr(is, was).Spec.NodeName
	i, there := v.find(name)
	if !there {
		next := &View{nodes: v.nodes, bound: maps.Clone(v.bound), state: v.state}
		pods := slices.DeleteFunc(slices.Clone(next.bound[name]), func(p *corev1.Pod) bool { return p.UID == cmpOr(was, is).UID })
		if is != nil {
			pods = append(pods, is)
		}
		next.bound[name] = pods
		return next
	}
	n := v.nodes[i]
	if was != nil {
		n = n.without(was.UID)
	}
	if is != nil {
		n = n.without(is.UID).with(is)
	}
	return v.replace(i, n)
}

func cmpOr(a, b *corev1.Pod) *corev1.Pod {
	if a != nil {
		return a
	}
	return b
}
