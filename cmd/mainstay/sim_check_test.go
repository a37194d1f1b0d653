package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A simCheck looks on and finds what must never be.
type simCheck struct {
	*sim
	invariants []simInvariant
	before     *store.Snapshot
	lates      map[netip.Addr]time.Time // addresses whose withdrawal took too long
	resized    map[string]bool          // Deployments of which the user changed size or strategy, and the controllers are not done with it
	since      map[netip.Addr]time.Time // since when a service leads to where nobody is
	touched    []types.UID              // pods of which something was started
}

// begin looks at what a new daemon finds.
func (c *simCheck) begin() {
	c.before = c.life.store.Snapshot()
	c.lates = map[netip.Addr]time.Time{}
	clear(c.since)
}

// step looks at what the last step did.
func (c *simCheck) step() {
	for _, i := range c.invariants {
		if i.step != nil {
			c.hold(i, func() { i.step(c) })
		}
	}
	if c.life == nil {
		return
	}
	b, err := c.life.store.Since(c.before.Revision(), store.Query{})
	if errors.Is(err, store.ErrCompacted) { // by one step that did very much
		c.before = c.life.store.Snapshot()
		return
	}
	c.must(err)
	for _, d := range b.Deltas {
		after, err := c.life.store.At(d.Revision)
		c.must(err)
		c.delta(after, d)
		c.before = after
	}
	if c.t.Failed() {
		c.t.Fatalf("at %s, after\n%s\n%s", c.now.Format(time.TimeOnly), c.ledger.tail(60), c.fake)
	}
}

func (c *simCheck) delta(after *store.Snapshot, d store.Delta) {
	for _, i := range c.invariants {
		if i.transaction != nil {
			c.hold(i, func() { i.transaction(c, after, d) })
		}
	}
}

// commit notes which rollouts the user has interfered with.
func (c *simCheck) commit(from, to simCommit) {
	for key, a := range to.apps {
		b := from.apps[key]
		if a.Replicas != b.Replicas || a.Surge != b.Surge || a.Unavailable != b.Unavailable || a.Recreate != b.Recreate || a.Paused != b.Paused || a.MinReady != b.MinReady {
			c.resized[key] = true
		}
	}
}

// refused: the only commits that may be are those that bring back what is still on its way out.
func (c *simCheck) refused(to simCommit, err error) {
	if !strings.Contains(err.Error(), "is being deleted") && !strings.Contains(err.Error(), "being terminated") {
		c.t.Errorf("%s is refused: %v", to.Subject, err)
	}
}

// rollout checks what the controllers, who planned on one state, have made of a Deployment.
func (c *simCheck) rollout(d *appsv1.Deployment, planned, after *store.Snapshot) {
	key := d.Namespace + "/" + d.Name
	if d.DeletionTimestamp != nil || c.resized[key] {
		return
	}
	want, surge, unavailable := *d.Spec.Replicas, 0, 0
	if r := d.Spec.Strategy.RollingUpdate; r != nil {
		surge, _ = intstr.GetScaledValueFromIntOrPercent(r.MaxSurge, int(want), true)
		unavailable, _ = intstr.GetScaledValueFromIntOrPercent(r.MaxUnavailable, int(want), false)
		if surge == 0 && unavailable == 0 {
			unavailable = 1
		}
	}
	var asked, askedBefore, lasting, lastingBefore int32
	grown, others := "", map[string]bool{}
	for rs := range store.List[*appsv1.ReplicaSet](after, store.OwnedBy(d.UID)) {
		size, was := *rs.Spec.Replicas, int32(0)
		if old, ok := store.Get[*appsv1.ReplicaSet](planned, rs.Namespace, rs.Name); ok && old.UID == rs.UID {
			was = *old.Spec.Replicas
		}
		pods, ready := c.pods(d, planned, rs)
		asked, askedBefore = asked+size, askedBefore+was
		lasting, lastingBefore = lasting+min(ready, size), lastingBefore+min(ready, was)
		now, left := c.pods(d, after, rs)
		if now > pods && now > max(size, was) {
			c.t.Errorf("%s has %d pods, %d before, asked for %d", rs.Name, now, pods, max(size, was))
		}
		if kept := c.kept(d, planned, after, rs); rs.DeletionTimestamp == nil && kept < min(ready, was) {
			c.t.Errorf("%s had %d available pods and was to have %d pods: %d of them are left (%d)", rs.Name, ready, was, kept, left)
		}
		if size > was {
			grown = rs.Name
		}
		for p := range store.List[*corev1.Pod](planned, store.OwnedBy(rs.UID)) {
			if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
				others[rs.Name] = true
			}
		}
	}
	if asked > want+int32(surge) && asked > askedBefore {
		c.t.Errorf("%s: %d replicas are asked for, %d before, where %d and a surge of %d are allowed", key, asked, askedBefore, want, surge)
	}
	if lasting < lastingBefore && lasting < want-min(int32(unavailable), want) && d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		c.t.Errorf("%s: %d pods were available and to stay, now %d of %d are, with %d allowed to be unavailable", key, lastingBefore, lasting, want, unavailable)
	}
	if delete(others, grown); grown != "" && len(others) > 0 && d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		c.t.Errorf("%s is recreated: %s grows while there are pods of %v", key, grown, others)
	}
}

// pods are how many live pods rs has, and how many of them are available.
func (c *simCheck) pods(d *appsv1.Deployment, s *store.Snapshot, rs *appsv1.ReplicaSet) (live, ready int32) {
	for p := range store.List[*corev1.Pod](s, store.OwnedBy(rs.UID), store.Active) {
		if live++; c.available(d, p) {
			ready++
		}
	}
	return live, ready
}

// kept are how many of the pods of rs that were available are still wanted.
func (c *simCheck) kept(d *appsv1.Deployment, before, after *store.Snapshot, rs *appsv1.ReplicaSet) (n int32) {
	for p := range store.List[*corev1.Pod](before, store.OwnedBy(rs.UID), store.Active) {
		now, ok := store.Get[*corev1.Pod](after, p.Namespace, p.Name)
		if c.available(d, p) && (ok && now.UID == p.UID && now.DeletionTimestamp == nil || c.deletedByHand(p)) {
			n++
		}
	}
	return n
}

// deletedByHand tells whether somebody else than the controllers has deleted a pod after they planned.
func (c *simCheck) deletedByHand(p *corev1.Pod) bool {
	now, ok := store.Get[*corev1.Pod](c.before, p.Namespace, p.Name)
	return !ok || now.UID != p.UID || now.DeletionTimestamp != nil
}

func (c *simCheck) available(d *appsv1.Deployment, p *corev1.Pod) bool {
	for _, cond := range p.Status.Conditions {
		if cond.Type == corev1.PodReady && cond.Status == corev1.ConditionTrue {
			return !cond.LastTransitionTime.Add(time.Duration(d.Spec.MinReadySeconds) * time.Second).After(c.life.plannedAt)
		}
	}
	return false
}

// late notes that an address could not be withdrawn in time: its pod ends all the same. That takes trouble.
func (c *simCheck) late(a netip.Addr) {
	const lasts = 12 * time.Second // until what failed is tried again
	c.lates[a] = c.now
	if c.now.Sub(c.trouble) > lasts {
		c.t.Errorf("%s was not withdrawn in time although nothing failed", a)
	}
}

// call looks at a call of the runtime that is about to be made.
func (c *simCheck) call(call runtimetest.Call) {
	if call.Verb == "Start" {
		c.touched = append(c.touched, call.Pod)
	}
	for _, i := range c.invariants {
		if i.call != nil {
			c.hold(i, func() { i.call(c, call) })
		}
	}
}

// signal checks that nobody is led to a pod that is told to end.
func (c *simCheck) signal(id runtime.ID) {
	a, attached := c.net.addresses[id.Pod]
	if _, late := c.lates[a]; late || !attached {
		return
	}
	for p := range store.List[*corev1.Pod](c.life.store.Snapshot()) {
		if p.UID != id.Pod || p.DeletionTimestamp == nil || *p.DeletionGracePeriodSeconds == 0 {
			continue
		}
		if led := c.led(); len(led[a]) > 0 {
			c.t.Errorf("%s of pod %s is told to end while %v lead to %s", id.Name, p.Name, led[a], a)
		}
	}
}

// led are the frontends that lead to each address, save those that lead only to who terminates.
func (c *simCheck) led() map[netip.Addr][]service.Frontend {
	rows, err := service.Read(context.Background(), c.tables)
	c.must(err)
	slots, backends := map[service.Slot]service.ID{}, map[service.ID]service.Backend{}
	for _, e := range rows.Slots {
		slots[e.Key] = e.Value
	}
	for _, e := range rows.Backends {
		backends[e.Key] = e.Value
	}
	led := map[netip.Addr][]service.Frontend{}
	for _, f := range rows.Frontends {
		var members []service.Backend
		for i := range f.Value.Count {
			b, ok := backends[slots[service.Slot{Set: f.Value.ID, Index: i}]]
			if !ok {
				c.t.Errorf("%s leads astray in slot %d of set %d", f.Key, i, f.Value.ID)
			}
			members = append(members, b)
		}
		if slices.ContainsFunc(members, func(b service.Backend) bool { return !b.Terminating }) {
			for _, b := range members {
				led[b.Addr()] = append(led[b.Addr()], f.Key)
			}
		}
	}
	return led
}

// oneRuns checks that of each container of a pod only one run runs.
func (c *simCheck) oneRuns(uid types.UID) {
	box, err := c.fake.Sandbox(context.Background(), uid)
	if err != nil {
		return
	}
	runs := map[string]int{}
	for _, r := range box.Containers {
		if r.State == runtime.Running {
			if runs[r.ID.Name]++; runs[r.ID.Name] > 1 {
				c.t.Errorf("container %s of pod %s runs twice:\n%s", r.ID.Name, uid, c.fake)
			}
		}
	}
}

// wait looks on before the clock moves.
func (c *simCheck) wait() {
	for _, i := range c.invariants {
		if i.clock != nil && c.life != nil {
			c.hold(i, func() { i.clock(c) })
		}
	}
}

// astray checks that services do not lead to where nobody is for long.
func (c *simCheck) astray() {
	const longest = time.Minute
	runs := map[netip.Addr]bool{netip.MustParseAddr("10.244.0.1"): true}
	for uid, a := range c.net.addresses {
		box, err := c.fake.Sandbox(context.Background(), uid)
		runs[a] = err == nil && slices.ContainsFunc(box.Containers, func(r runtime.Container) bool { return r.State == runtime.Running })
	}
	led := c.led()
	for a, by := range led {
		since, known := c.since[a]
		switch {
		case runs[a]:
			delete(c.since, a)
		case !known:
			c.since[a] = c.now
		case c.now.Sub(since) > longest:
			c.t.Fatalf("at %s %v lead to %s, where nobody is since %s\n%s", c.now.Format(time.TimeOnly), by, a, since.Format(time.TimeOnly), c.ledger.tail(60))
		}
	}
	for a := range c.since {
		if len(led[a]) == 0 {
			delete(c.since, a)
		}
	}
}
