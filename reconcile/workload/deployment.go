package workload

import (
	"cmp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Deployment keeps, for each Deployment, one ReplicaSet per version of its template, and moves replicas from the older ones
// to the newest as its strategy allows.
type Deployment struct{}

func (Deployment) Name() string { return "deployment-controller" }

func (Deployment) Owns() []control.Owned {
	return []control.Owned{{Kind: replicaSetKind}, {Kind: deploymentKind, Part: control.Status}, {Kind: deploymentKind}}
}

func (Deployment) Watches() []control.Watch {
	return []control.Watch{
		{Kind: deploymentKind},
		control.Controlled(replicaSetKind, deploymentKind),
		{Kind: replicaSetKind, Keys: orphanWakes(deploymentKind, func(d *appsv1.Deployment) *metav1.LabelSelector { return d.Spec.Selector })},
		{Kind: podKind, Keys: recreated},
	}
}

// recreated wakes the Deployment of a pod that is gone: one that recreates waits for the last old pod.
func recreated(s *store.Snapshot, c store.Change) []store.Key {
	if c.New != nil && active(asPod(c.New)) {
		return nil
	}
	k, ok := control.ControllerOf(c.Object(), replicaSetKind)
	if !ok {
		return nil
	}
	rs, ok := store.Get[*appsv1.ReplicaSet](s, k.Namespace, k.Name)
	if !ok {
		return nil
	}
	if k, ok = control.ControllerOf(rs, deploymentKind); !ok {
		return nil
	}
	return []store.Key{k}
}

// rollout is one Deployment while it is planned: what is there, and what the plan makes of it.
type rollout struct {
	control.World
	d      *appsv1.Deployment // as it is
	next   *appsv1.Deployment // as it shall be: annotations and status
	newest *appsv1.ReplicaSet // of the wanted template; nil if there is none
	old    []*appsv1.ReplicaSet
	size   map[*appsv1.ReplicaSet]int32 // replicas that the plan gives to each that it changes
	plan   control.Plan
}

// Plan moves a Deployment on by one step.
func (Deployment) Plan(w control.World, key store.Key) (control.Plan, error) {
	d, ok := store.Get[*appsv1.Deployment](w.Snapshot, key.Namespace, key.Name)
	if !ok {
		return control.Plan{}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return control.Plan{}, err
	}
	r := &rollout{World: w, d: d, next: d.DeepCopy(), size: map[*appsv1.ReplicaSet]int32{}}
	r.gather(selector)
	if d.DeletionTimestamp == nil {
		r.step()
	}
	r.status()
	r.write()
	return r.plan, nil
}

// gather finds the ReplicaSets, the oldest first, and adopts and releases as their labels say.
func (r *rollout) gather(selector labels.Selector) {
	f := familyOf[*appsv1.ReplicaSet](r.Snapshot, r.d, selector)
	for _, rs := range f.adopted {
		r.plan.Update(withOwner(rs, r.d, appsv1.SchemeGroupVersion.WithKind("Deployment")), "its labels match")
	}
	for _, rs := range f.released {
		r.plan.Update(withoutOwner(rs, r.d), "its labels match no more")
	}
	all := slices.DeleteFunc(f.kept, func(rs *appsv1.ReplicaSet) bool { return rs.DeletionTimestamp != nil })
	slices.SortStableFunc(all, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(revisionOf(a), revisionOf(b)), strings.Compare(a.Name, b.Name))
	})
	for _, rs := range all {
		if r.newest == nil && sameTemplate(&rs.Spec.Template, &r.d.Spec.Template) {
			r.newest = rs
		} else {
			r.old = append(r.old, rs)
		}
	}
}

// step decides what happens to the ReplicaSets.
func (r *rollout) step() {
	switch {
	case r.d.Spec.Paused || r.rescaled():
		r.scale()
	case r.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		if !r.stopOld() {
			r.ensureNewest()
			r.setSize(r.newest, replicas(r.d.Spec.Replicas))
		}
	default:
		r.ensureNewest()
		r.roll()
	}
	if r.newest != nil && r.complete() && !r.d.Spec.Paused {
		r.forget()
	}
}

// write puts the sizes, revisions and status that were decided into the plan, where they differ from what is.
func (r *rollout) write() {
	for _, rs := range r.all() {
		if rs.ResourceVersion == "" {
			continue // created by this plan
		}
		next := rs.DeepCopy()
		if n, ok := r.size[rs]; ok {
			next.Spec.Replicas = &n
		}
		r.annotate(next)
		if was, is := replicas(rs.Spec.Replicas), replicas(next.Spec.Replicas); was != is {
			r.announce(rs, was, is)
		}
		if !equality.Semantic.DeepEqual(rs.Spec, next.Spec) || !equality.Semantic.DeepEqual(rs.Annotations, next.Annotations) {
			r.plan.Update(next, "rollout of "+r.d.Name)
		}
	}
	if !equality.Semantic.DeepEqual(r.d.Annotations, r.next.Annotations) {
		r.plan.Update(r.next, "revision")
	} else if !equality.Semantic.DeepEqual(r.d.Status, r.next.Status) {
		r.plan.Status(r.next, "its ReplicaSets changed")
	}
}

func (r *rollout) announce(rs *appsv1.ReplicaSet, was, is int32) {
	verb := "up"
	if is < was {
		verb = "down"
	}
	r.plan.Event(r.d, "ScalingReplicaSet", "Scaled %s replica set %s from %d to %d", verb, rs.Name, was, is)
}

// all are the ReplicaSets of the Deployment, the newest last. The slice is the caller's.
func (r *rollout) all() []*appsv1.ReplicaSet {
	all := slices.Clone(r.old)
	if r.newest != nil {
		all = append(all, r.newest)
	}
	return all
}

// sizeOf is how many replicas the plan leaves to rs.
func (r *rollout) sizeOf(rs *appsv1.ReplicaSet) int32 {
	if n, ok := r.size[rs]; ok {
		return n
	}
	return replicas(rs.Spec.Replicas)
}

func (r *rollout) setSize(rs *appsv1.ReplicaSet, n int32) {
	if n = max(n, 0); n == r.sizeOf(rs) {
		return
	}
	r.size[rs] = n
	if rs.ResourceVersion == "" {
		rs.Spec.Replicas = &n // created by this plan
		r.announce(rs, 0, n)
	}
}

func sum(sets []*appsv1.ReplicaSet, of func(*appsv1.ReplicaSet) int32) int32 {
	var n int32
	for _, rs := range sets {
		n += of(rs)
	}
	return n
}
