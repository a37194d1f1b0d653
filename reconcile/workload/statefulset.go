package workload

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var (
	statefulSetKind    = schema.GroupKind{Group: "apps", Kind: "StatefulSet"}
	statefulSetVersion = appsv1.SchemeGroupVersion.WithKind("StatefulSet")
	claimKind          = schema.GroupKind{Kind: "PersistentVolumeClaim"}
)

// StatefulSet keeps, for each StatefulSet, pods with names and claims of their own, in order.
type StatefulSet struct{}

func (StatefulSet) Name() string { return "statefulset-controller" }

func (StatefulSet) Owns() []control.Owned {
	return []control.Owned{{Kind: podKind}, {Kind: revisionKind}, {Kind: claimKind}, {Kind: statefulSetKind, Part: control.Status}}
}

func (StatefulSet) Watches() []control.Watch {
	return []control.Watch{
		{Kind: statefulSetKind},
		control.Controlled(podKind, statefulSetKind),
		control.Controlled(revisionKind, statefulSetKind),
		{Kind: podKind, Keys: orphanWakes(statefulSetKind, func(s *appsv1.StatefulSet) *metav1.LabelSelector { return s.Spec.Selector })},
		{Kind: podKind, Keys: namesakeWakes},
		{Kind: claimKind, Keys: claimWakes},
		{Kind: accountKind, Keys: accountWakes(func(s *appsv1.StatefulSet) *corev1.PodTemplateSpec { return &s.Spec.Template })},
	}
}

// namesakeWakes is the StatefulSet that may have waited for the name of a pod that is gone.
func namesakeWakes(s *store.Snapshot, c store.Change) []store.Key {
	if c.New != nil {
		return nil
	}
	return setNamed(s, c.Old.GetNamespace(), parentOf(c.Old.GetName()))
}

// claimWakes is the StatefulSet whose pod may have waited for a claim that is gone, or had one that is.
func claimWakes(s *store.Snapshot, c store.Change) []store.Key {
	if c.New != nil {
		return nil
	}
	var keys []store.Key
	name := parentOf(c.Old.GetName())
	for set := range store.List[*appsv1.StatefulSet](s, store.InNamespace(c.Old.GetNamespace())) {
		if strings.HasSuffix(name, "-"+set.Name) && len(set.Spec.VolumeClaimTemplates) > 0 {
			keys = append(keys, s.Key(set))
		}
	}
	return keys
}

func setNamed(s *store.Snapshot, namespace, name string) []store.Key {
	if set, ok := store.Get[*appsv1.StatefulSet](s, namespace, name); ok {
		return []store.Key{s.Key(set)}
	}
	return nil
}

func parentOf(name string) string {
	i := strings.LastIndex(name, "-")
	return name[:max(i, 0)]
}

// ordinal is the number of a pod of set; false if its name is not that of one.
func ordinal(set *appsv1.StatefulSet, p *corev1.Pod) (int, bool) {
	text, ok := strings.CutPrefix(p.Name, set.Name+"-")
	if !ok || !digits.MatchString(text) {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}

var digits = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)

// series is one StatefulSet while it is planned.
type series struct {
	control.World
	trial           *control.Trial      // of the pods that are created
	set             *appsv1.StatefulSet // as it is
	next            *appsv1.StatefulSet // with the status that it shall have
	pods            []*corev1.Pod       // all of them
	place           []*corev1.Pod       // those in its range, by place; nil where none is
	spare           []*corev1.Pod       // those beyond, the highest first
	current, update *appsv1.ControllerRevision
	plan            control.Plan
}

// Plan moves a StatefulSet on by one step.
func (StatefulSet) Plan(w control.World, key store.Key) (control.Plan, error) {
	set, ok := store.Get[*appsv1.StatefulSet](w.Snapshot, key.Namespace, key.Name)
	if !ok {
		return control.Plan{}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return control.Plan{}, err
	}
	r := &series{World: w, trial: w.Trial(), set: set, next: set.DeepCopy()}
	f := familyOf[*corev1.Pod](w.Snapshot, set, selector)
	stranger := func(p *corev1.Pod) bool { _, ok := ordinal(set, p); return !ok }
	f.adopted = slices.DeleteFunc(f.adopted, stranger)
	r.sort(append(slices.Clone(f.kept), f.adopted...))
	if set.DeletionTimestamp != nil {
		return r.plan, nil
	}
	takeIn(&r.plan, f, set, statefulSetVersion)
	h := gatherHistory(&r.plan, w.Snapshot, set, statefulSetVersion, selector)
	r.update = h.ensure(&r.plan, w.Snapshot, &set.Spec.Template, "controller.kubernetes.io/hash", &r.next.Status.CollisionCount)
	if r.current = h.named(set.Status.CurrentRevision); r.current == nil {
		r.current = r.update
	}
	if err := r.step(); err != nil {
		return control.Plan{}, err
	}
	h.forget(&r.plan, set.Spec.RevisionHistoryLimit, func(rev *appsv1.ControllerRevision) bool {
		return rev == r.current || rev == r.update || slices.ContainsFunc(r.pods, func(p *corev1.Pod) bool { return revisionName(p) == rev.Name })
	})
	r.status()
	if !equality.Semantic.DeepEqual(set.Status, r.next.Status) {
		r.plan.Status(r.next, "its pods changed")
	}
	return r.plan, nil
}

func revisionName(p *corev1.Pod) string { return p.Labels[appsv1.ControllerRevisionHashLabelKey] }

func (r *series) start() int {
	if o := r.set.Spec.Ordinals; o != nil {
		return int(o.Start)
	}
	return 0
}

// sort puts pods in their places.
func (r *series) sort(pods []*corev1.Pod) {
	r.pods = pods
	r.place = make([]*corev1.Pod, replicas(r.set.Spec.Replicas))
	for _, p := range pods {
		n, ok := ordinal(r.set, p)
		if i := n - r.start(); ok && i >= 0 && i < len(r.place) {
			r.place[i] = p
		} else if ok {
			r.spare = append(r.spare, p)
		}
	}
	slices.SortFunc(r.spare, func(a, b *corev1.Pod) int {
		i, _ := ordinal(r.set, a)
		j, _ := ordinal(r.set, b)
		return j - i
	})
}

func (r *series) ordered() bool {
	return r.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
}

// step makes what is missing, the lowest first; then removes what is too much, the highest first; then renews what is of
// an older template, the highest first. In order, each waits until all before are well.
func (r *series) step() error {
	r.retain()
	for i := range r.place {
		if wait, err := r.fill(i); err != nil || wait && r.ordered() {
			return err
		}
	}
	for _, p := range r.spare {
		if r.shed(p); r.ordered() {
			return nil // the next one when this is gone
		}
	}
	r.renew()
	return nil
}

// fill sees to it that there is a pod at a place, as it should be. It tells whether the places after must wait.
func (r *series) fill(i int) (wait bool, err error) {
	p := r.place[i]
	switch {
	case p == nil:
		return true, r.create(i)
	case p.DeletionTimestamp != nil:
		return true, nil
	case !active(p):
		r.plan.Warn(r.set, "RecreatingFailedPod", "StatefulSet %s/%s is recreating failed Pod %s", r.set.Namespace, r.set.Name, p.Name)
		r.remove(p, "it has ended")
		return true, nil
	}
	if missing, _ := r.claims(p, i+r.start()); p.Status.Phase == corev1.PodPending && p.Spec.NodeName == "" {
		for _, c := range missing {
			r.plan.Create(c, "a claim of its pod is missing")
		}
	}
	r.identify(p, i)
	return !r.well(p), nil
}

// well tells whether a pod runs and has been ready for as long as is asked. If it is only a matter of time, the plan is
// made again then.
func (r *series) well(p *corev1.Pod) bool {
	if p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning {
		return false
	}
	ok, left := available(p, time.Duration(r.set.Spec.MinReadySeconds)*time.Second, r.Now)
	r.plan.Again(left)
	return ok
}

// create makes the pod for a place, and the claims that it has not yet.
func (r *series) create(i int) error {
	n := i + r.start()
	p, err := r.podFor(n)
	if err != nil {
		return err
	}
	if _, taken := store.Get[*corev1.Pod](r.Snapshot, p.Namespace, p.Name); taken {
		r.plan.Warn(r.set, "FailedCreate", "create Pod %s in StatefulSet %s failed error: there is a pod of that name, which is not its own", p.Name, r.set.Name)
		return nil
	}
	missing, ending := r.claims(p, n)
	if ending != "" {
		r.plan.Warn(r.set, "FailedCreate", "create Pod %s in StatefulSet %s failed error: pvc %s is being deleted", p.Name, r.set.Name, ending)
		return nil
	}
	for _, c := range missing {
		r.plan.Create(c, "its pod is to be made")
		r.plan.Event(r.set, "SuccessfulCreate", "create Claim %s Pod %s in StatefulSet %s success", c.Name, p.Name, r.set.Name)
	}
	before := len(r.plan.Events)
	if create(&r.plan, r.trial, r.set, p, "its ordinal has no pod") == nil {
		r.plan.Events[before].Message = fmt.Sprintf("create Pod %s in StatefulSet %s successful", p.Name, r.set.Name)
	}
	return nil
}

func (r *series) remove(p *corev1.Pod, why string) {
	r.plan.Delete(p, why)
	r.plan.Event(r.set, "SuccessfulDelete", "delete Pod %s in StatefulSet %s successful", p.Name, r.set.Name)
}

// shed removes a pod that is beyond the range. In order, one that is not ready waits until those before it are.
func (r *series) shed(p *corev1.Pod) {
	_, ready := readySince(p)
	if p.DeletionTimestamp != nil || r.ordered() && !ready && p != r.firstUnwell() {
		return
	}
	r.remove(p, "its ordinal is too high")
}

// firstUnwell is the pod with the lowest ordinal of those that are not ready.
func (r *series) firstUnwell() *corev1.Pod {
	spare := slices.Clone(r.spare)
	slices.Reverse(spare)
	for _, p := range slices.Concat(r.place, spare) {
		if p == nil {
			continue
		}
		if _, ready := readySince(p); !ready || p.DeletionTimestamp != nil {
			return p
		}
	}
	return nil
}
