package workload

import (
	"cmp"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var (
	daemonSetKind    = schema.GroupKind{Group: "apps", Kind: "DaemonSet"}
	daemonSetVersion = appsv1.SchemeGroupVersion.WithKind("DaemonSet")
	nodeKind         = schema.GroupKind{Kind: "Node"}
)

// failurePace is how long a daemon's pod must have been there, at least, before one that failed is replaced.
const failurePace = 10 * time.Second

// DaemonSet keeps a pod of each DaemonSet on each node that it is for.
type DaemonSet struct{}

func (DaemonSet) Name() string { return "daemonset-controller" }

func (DaemonSet) Owns() []control.Owned {
	return []control.Owned{{Kind: podKind}, {Kind: revisionKind}, {Kind: daemonSetKind, Part: control.Status}}
}

func (DaemonSet) Watches() []control.Watch {
	selector := func(d *appsv1.DaemonSet) *metav1.LabelSelector { return d.Spec.Selector }
	return []control.Watch{
		{Kind: daemonSetKind},
		control.Controlled(podKind, daemonSetKind),
		control.Controlled(revisionKind, daemonSetKind),
		{Kind: podKind, Keys: orphanWakes(daemonSetKind, selector)},
		{Kind: accountKind, Keys: accountWakes(func(d *appsv1.DaemonSet) *corev1.PodTemplateSpec { return &d.Spec.Template })},
		{Kind: nodeKind, Keys: nodeWakes},
	}
}

// nodeWakes are all DaemonSets, if a node comes, goes, or is another one to them.
func nodeWakes(s *store.Snapshot, c store.Change) []store.Key {
	if c.Old != nil && c.New != nil {
		was, is := c.Old.(*corev1.Node), c.New.(*corev1.Node)
		if equality.Semantic.DeepEqual(was.Labels, is.Labels) && equality.Semantic.DeepEqual(was.Spec, is.Spec) {
			return nil
		}
	}
	var keys []store.Key
	for d := range store.List[*appsv1.DaemonSet](s) {
		keys = append(keys, s.Key(d))
	}
	return keys
}

// daemons is one DaemonSet while it is planned.
type daemons struct {
	control.World
	d     *appsv1.DaemonSet // as it is
	next  *appsv1.DaemonSet // with the status that it shall have
	hash  string            // of the revision that is wanted
	all   []*corev1.Pod
	on    []*station     // by node
	trial *control.Trial // of the pods that are created
	plan  control.Plan
	gone  map[types.UID]bool // pods that the plan deletes
}

// A station is a node, and the daemon's pods that are there or bound to be.
type station struct {
	node       *corev1.Node
	want, keep bool // a pod should be there; one that is there may stay
	pods       []*corev1.Pod
	created    bool // by this plan
}

// Plan moves a DaemonSet on by one step.
func (DaemonSet) Plan(w control.World, key store.Key) (control.Plan, error) {
	d, ok := store.Get[*appsv1.DaemonSet](w.Snapshot, key.Namespace, key.Name)
	if !ok {
		return control.Plan{}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return control.Plan{}, err
	}
	r := &daemons{World: w, d: d, next: d.DeepCopy(), gone: map[types.UID]bool{}, trial: w.Trial()}
	f := familyOf[*corev1.Pod](w.Snapshot, d, selector)
	r.all = append(slices.Clone(f.kept), f.adopted...)
	r.stations()
	if d.DeletionTimestamp == nil {
		takeIn(&r.plan, f, d, daemonSetVersion)
		h := gatherHistory(&r.plan, w.Snapshot, d, daemonSetVersion, selector)
		current := h.ensure(&r.plan, w.Snapshot, &d.Spec.Template, appsv1.DefaultDaemonSetUniqueLabelKey, &r.next.Status.CollisionCount)
		r.hash = current.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]
		r.manage()
		r.renew()
		h.forget(&r.plan, d.Spec.RevisionHistoryLimit, func(rev *appsv1.ControllerRevision) bool {
			return rev == current || slices.ContainsFunc(r.all, func(p *corev1.Pod) bool {
				return p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == rev.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]
			})
		})
		r.status()
	}
	if !equality.Semantic.DeepEqual(r.d.Status, r.next.Status) {
		r.plan.Status(r.next, "its pods or nodes changed")
	}
	return r.plan, nil
}

// stations sorts the pods by node, each node's the oldest first, those that are bound before those that are not.
func (r *daemons) stations() {
	byNode := map[string][]*corev1.Pod{}
	for _, p := range r.all {
		byNode[nodeFor(p)] = append(byNode[nodeFor(p)], p)
	}
	for n := range store.List[*corev1.Node](r.Snapshot) {
		s := &station{node: n, pods: byNode[n.Name]}
		s.want, s.keep = belongs(r.d, n)
		slices.SortStableFunc(s.pods, func(a, b *corev1.Pod) int {
			return cmp.Or(first(a.Spec.NodeName != "", b.Spec.NodeName != ""), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
		})
		r.on = append(r.on, s)
		delete(byNode, n.Name)
	}
	for _, pods := range byNode { // of nodes that are not there
		for _, p := range pods {
			if p.Spec.NodeName == "" && active(p) && r.d.DeletionTimestamp == nil {
				r.remove(p, "its node is gone")
			}
		}
	}
}

func (r *daemons) remove(p *corev1.Pod, why string) {
	if r.gone[p.UID] || p.DeletionTimestamp != nil {
		return
	}
	r.gone[p.UID] = true
	remove(&r.plan, r.d, p, why)
}

func (r *daemons) create(s *station, why string) {
	if s.created {
		return
	}
	s.created = true
	_ = create(&r.plan, r.trial, r.d, daemonPod(r.d, s.node.Name, suffix(r.Rand), r.hash), why) // an event tells of a failure
}

// manage makes what is missing, and removes what has ended, is too much, or where it should not be.
func (r *daemons) manage() {
	for _, s := range r.on {
		switch {
		case s.want && len(s.pods) == 0:
			r.create(s, "the node has none")
		case s.keep:
			r.tidy(s)
		default:
			for _, p := range s.pods {
				r.remove(p, "it should not be on its node")
			}
		}
	}
}

// tidy leaves one pod on a node; while another one surges, two.
func (r *daemons) tidy(s *station) {
	var live []*corev1.Pod
	for _, p := range s.pods {
		switch {
		case p.DeletionTimestamp != nil:
		case p.Status.Phase == corev1.PodFailed:
			if left := p.CreationTimestamp.Add(failurePace).Sub(r.Now); left > 0 {
				r.plan.Again(left)
				continue
			}
			r.plan.Warn(r.d, "FailedDaemonPod", "Found failed daemon pod %s/%s on node %s, will try to kill it", p.Namespace, p.Name, s.node.Name)
			r.remove(p, "it failed")
		case p.Status.Phase == corev1.PodSucceeded:
			r.plan.Event(r.d, "SucceededDaemonPod", "Found succeeded daemon pod %s/%s on node %s, will try to delete it", p.Namespace, p.Name, s.node.Name)
			r.remove(p, "it ended")
		default:
			live = append(live, p)
		}
	}
	if surge, _ := r.fence(); surge == 0 {
		for _, p := range live[min(len(live), 1):] {
			r.remove(p, "its node has one already")
		}
		return
	}
	r.tidySurge(live)
}

// tidySurge leaves a new pod beside an old one only while the old is ready and the new is not available.
func (r *daemons) tidySurge(live []*corev1.Pod) {
	var fresh, old *corev1.Pod
	for _, p := range live {
		switch {
		case r.fresh(p) && fresh == nil:
			fresh = p
		case !r.fresh(p) && old == nil:
			old = p
		default:
			r.remove(p, "its node has one already")
		}
	}
	if fresh == nil || old == nil {
		return
	}
	_, ready := readySince(old)
	if ok, _ := r.available(fresh); ok || !ready {
		r.remove(old, "another one has taken its place")
	}
}

func (r *daemons) fresh(p *corev1.Pod) bool {
	return p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == r.hash
}

func (r *daemons) available(p *corev1.Pod) (bool, time.Duration) {
	return available(p, time.Duration(r.d.Spec.MinReadySeconds)*time.Second, r.Now)
}
