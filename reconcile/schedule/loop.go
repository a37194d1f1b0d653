package schedule

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	helper "k8s.io/component-helpers/scheduling/corev1"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/loop"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Scheduler binds pods to nodes. All pods that wait are decided on one evolving view and bound in one transaction. It is one
// goroutine: Run, or Step in a simulation.
type Scheduler struct {
	store   store.Store
	carrier *control.Carrier
	profile Profile
	opts    control.Options

	view  *View
	from  store.Revision
	more  <-chan struct{}
	queue *loop.Loop[string] // one key: there is something to decide
}

const (
	name    = "default-scheduler"
	batch   = 512
	everyOf = "pods"
)

// New makes a scheduler.
func New(st store.Store, carrier *control.Carrier, profile Profile, opts control.Options) *Scheduler {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Rand == nil {
		opts.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	s := &Scheduler{store: st, carrier: carrier, profile: profile, opts: opts}
	s.queue = loop.New("schedule", func(ctx context.Context, _ string) (time.Duration, error) { return 0, s.bind(ctx) }, loop.Options{Now: opts.Now, Log: opts.Log})
	return s
}

// Run schedules until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if !s.Step(ctx) {
			s.queue.Wait(ctx, s.more)
		}
	}
	return ctx.Err()
}

// Step reads what has changed and decides about the pods that wait. It returns false if there was nothing to do.
func (s *Scheduler) Step(ctx context.Context) bool {
	s.follow()
	return s.queue.Step(ctx)
}

// Next is when there will be something to do by itself.
func (s *Scheduler) Next() (time.Time, bool) { return s.queue.Next() }

func (s *Scheduler) follow() {
	b, err := s.store.Since(s.from, store.Query{})
	if s.view == nil || errors.Is(err, store.ErrCompacted) {
		now := s.store.Snapshot()
		s.view, s.from = NewView(now).Over(nil), now.Revision() // with none, or it would keep this one
		s.queue.Wake(everyOf)
		b, err = s.store.Since(s.from, store.Query{})
	}
	if err != nil {
		return
	}
	for _, d := range b.Deltas {
		for _, c := range d.Changes {
			s.view = s.view.After(c)
			if matters(c) {
				s.queue.Wake(everyOf)
			}
		}
	}
	s.from, s.more = b.Upto, b.More
}

// matters tells whether a change may give a pod a node: a pod that waits, room that became free, a node that is not what it
// was to the rules.
func matters(c store.Change) bool {
	switch o := c.Object().(type) {
	case *corev1.Pod:
		was, _ := c.Old.(*corev1.Pod)
		return waits(o) && (was == nil || !waits(was)) || was != nil && occupies(was) && (c.New == nil || !occupies(o))
	case *corev1.Node:
		was, _ := c.Old.(*corev1.Node)
		return c.New != nil && (was == nil || was.Generation != o.Generation || !slices.Equal(was.Spec.Taints, o.Spec.Taints) || was.Spec.Unschedulable != o.Spec.Unschedulable ||
			!sameLists(was.Status.Allocatable, o.Status.Allocatable) || !sameLabels(was, o))
	}
	return mattersToClaims(c)
}

func sameLists(a, b corev1.ResourceList) bool {
	if len(a) != len(b) {
		return false
	}
	for k, q := range a {
		if o, ok := b[k]; !ok || q.Cmp(o) != 0 {
			return false
		}
	}
	return true
}

func sameLabels(a, b metav1.Object) bool {
	x, y := a.GetLabels(), b.GetLabels()
	if len(x) != len(y) {
		return false
	}
	for k, v := range x {
		if w, ok := y[k]; !ok || v != w {
			return false
		}
	}
	return true
}

// waits tells whether a pod wants a node from this scheduler.
func waits(p *corev1.Pod) bool {
	return p.Spec.NodeName == "" && p.DeletionTimestamp == nil && len(p.Spec.SchedulingGates) == 0 &&
		(p.Spec.SchedulerName == "" || p.Spec.SchedulerName == name) &&
		p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// pending are the pods that wait, the most important first, then the oldest.
func pending(s *store.Snapshot) []*corev1.Pod {
	pods := slices.Collect(store.List[*corev1.Pod](s, store.OnNode(""), store.Matching(func(o store.Object) bool { return waits(o.(*corev1.Pod)) })))
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(
			cmp.Compare(helper.PodPriority(b), helper.PodPriority(a)),
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(store.RevisionOf(a), store.RevisionOf(b)),
			strings.Compare(a.Name, b.Name))
	})
	return pods
}

// bind decides about the pods that wait, and writes what was decided.
func (s *Scheduler) bind(ctx context.Context) error {
	now := s.store.Snapshot()
	w := control.World{Snapshot: now, Now: s.opts.Now(), Rand: s.opts.Rand}
	pods := pending(now)
	more := len(pods) > batch
	plans := s.decide(w, pods[:min(batch, len(pods))])
	if more {
		defer s.queue.Wake(everyOf)
	}
	if len(plans) == 0 {
		return nil
	}
	_, err := s.store.Update(ctx, "scheduler", func(tx *store.Tx) error {
		for _, p := range plans {
			if err := s.carrier.Carry(tx, w, name, p); errors.Is(err, store.ErrConflict) {
				s.queue.Wake(everyOf)
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// decide is the pure part: a plan for each pod of which there is something new to say.
func (s *Scheduler) decide(w control.World, pods []*corev1.Pod) []control.Plan {
	var plans []control.Plan
	view := s.view.Over(w.Snapshot)
	for _, pod := range pods {
		d := Decide(view, pod, s.profile, w.Rand)
		var p control.Plan
		if d.Node == "" {
			refuse(&p, pod, d, w.Now)
		} else if !promise(&p, w.Snapshot, pod, d.Node) {
			next := pod.DeepCopy()
			next.Spec.NodeName = d.Node
			setScheduled(next, corev1.PodCondition{Status: corev1.ConditionTrue}, w.Now)
			view = view.With(next, d.Node)
			p.Update(next, d.Explain())
			p.Event(pod, "Scheduled", "Successfully assigned %s/%s to %s", pod.Namespace, pod.Name, d.Node)
		}
		if len(p.Writes)+len(p.Events) > 0 {
			plans = append(plans, p)
		}
	}
	return plans
}

// refuse says why there is no node, unless the pod says so already.
func refuse(p *control.Plan, pod *corev1.Pod, d Decision, now time.Time) {
	why := d.Explain()
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Message == why {
			return
		}
	}
	next := pod.DeepCopy()
	setScheduled(next, corev1.PodCondition{Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: why}, now)
	p.Status(next, why)
	p.Warn(pod, "FailedScheduling", "%s", why)
}

func setScheduled(pod *corev1.Pod, c corev1.PodCondition, now time.Time) {
	c.Type, c.LastTransitionTime, c.ObservedGeneration = corev1.PodScheduled, metav1.NewTime(now), pod.Generation
	for i, old := range pod.Status.Conditions {
		if old.Type == c.Type {
			if old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			pod.Status.Conditions[i] = c
			return
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, c)
}
