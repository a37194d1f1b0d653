package pod

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// bringUp leads a pod to where all that should run runs: init containers one after the other, a sidecar among them until it
// has started, then the others, each as soon as its image is here. None of these waits for another to be ready, but for its
// postStart hook to be done.
func (v *view) bringUp() {
	if at := v.deadline(); !at.IsZero() {
		v.within(at.Sub(v.now))
	}
	turn := v.turn()
	for _, c := range turn {
		if v.toStart(c) {
			v.pull(c)
			v.pullVolumes(c)
		}
	}
	v.surroundings(turn)
	held := false
	for _, c := range turn {
		if c.running() || !held || c.role == ephemeral {
			v.run(c)
		}
		held = held || v.holds(c)
	}
	v.clear()
}

// turn are the containers whose turn it is: those that somebody added, sidecars that have had theirs, which are started again
// when they end, and the init container that is next, or else those that do the pod's work.
func (v *view) turn() []*container {
	var next *container
	if !v.initialized() {
		next = v.initializing()
	}
	var turn []*container
	for c := range v.all() {
		switch {
		case c.role == ephemeral && !v.sandboxReady():
		case c.role == ephemeral, c == next, c.role == regular && next == nil, c.role == sidecar && (next == nil || v.hadTurn(c, next)):
			turn = append(turn, c)
		}
	}
	return turn
}

// hadTurn tells whether a sidecar comes before the init container whose turn it is.
func (v *view) hadTurn(c, next *container) bool {
	for i := range v.init {
		switch &v.init[i] {
		case c:
			return true
		case next:
			return false
		}
	}
	return false
}

// toStart tells whether the next run of c is to be made, or started, now.
func (v *view) toStart(c *container) bool {
	verdict, at := v.judge(c)
	if verdict == wait {
		v.within(at.Sub(v.now))
	}
	return verdict == start && !v.unclear(c)
}

// unclear tells whether the newest run is in a state in which it cannot be left behind: it must be removed first.
func (v *view) unclear(c *container) bool {
	last := c.last()
	return last != nil && last.State == runtime.Unknown
}

// next is the number of the run that is to be made or started.
func (c *container) next() int {
	switch last := c.last(); {
	case last != nil && last.State == runtime.Created:
		return last.ID.Attempt
	case c.begun():
		return c.restarts() + 1
	}
	return 0
}

func (c *container) created() bool {
	last := c.last()
	return last != nil && last.State == runtime.Created
}

// image is what the next run is made from, when it is here.
func (v *view) image(c *container) (Image, bool) {
	i, ok := v.seen.Images[c.spec.Name]
	return i, ok && i.Attempt == c.next()
}

func (v *view) pull(c *container) {
	if _, asked := v.image(c); !asked && !c.created() {
		v.do(Step{Op: Pull, Container: c.spec.Name, Attempt: c.next()})
	}
}

func (v *view) sandboxReady() bool { return v.seen.Sandbox != nil && v.seen.Sandbox.Ready }

// surroundings makes what the containers whose turn it is need to run.
func (v *view) surroundings(turn []*container) {
	needed := false
	for _, c := range turn {
		needed = needed || c.running() || v.toStart(c)
	}
	sandbox := v.sandboxReady()
	if !sandbox && !needed {
		return
	}
	ok := sandbox || v.do(Step{Op: MakeSandbox})
	if ok && (!sandbox || v.seen.Network != Here) {
		ok = v.do(Step{Op: Attach})
	}
	if ok && (v.seen.Volumes != Here || v.seen.Stale) {
		v.do(Step{Op: MakeVolumes})
	}
}

// run takes c from where it is to where it runs, as far as the surroundings are there.
func (v *view) run(c *container) {
	switch {
	case c.running():
		v.tend(c)
	case v.sandboxReady() && v.seen.Network == Here && v.seen.Volumes == Here && v.toStart(c):
		v.start(c)
	}
}

func (v *view) start(c *container) {
	s := Step{Op: Create, Container: c.spec.Name, Attempt: c.next()}
	if !c.created() {
		if i, ok := v.image(c); !ok || i.Pulling || !v.mountImages(c) {
			return
		}
		if last := c.last(); last != nil && last.Labels[imageLabel] == c.spec.Image {
			s.Crashes = crashes(last)
		}
		if !v.do(s) {
			return
		}
	}
	v.do(Step{Op: Start, Container: s.Container, Attempt: s.Attempt})
}

// tend looks after a container that runs: its postStart hook is run, then it is probed. It is ended when the hook or, for
// good, a probe has failed, or when its image is no longer the one that is wanted.
func (v *view) tend(c *container) {
	if !v.hooked(c) {
		v.postStart(c)
		return
	}
	v.check(c)
	if told, ok := v.seen.Stops[c.last().ID]; ok { // what for may be forgotten, as the result of a probe that is not run any more
		v.stop(c, told.Grace, true, "")
		return
	}
	kind, p := v.failed(c)
	grace := graceOf(v.want)
	switch {
	case p != nil:
		if p.TerminationGracePeriodSeconds != nil {
			grace = time.Duration(*p.TerminationGracePeriodSeconds) * time.Second
		}
		v.stop(c, grace, true, fmt.Sprintf("Container %s failed %s probe, will be restarted", c.spec.Name, lower(kind)))
	case c.last().Labels[imageLabel] != c.spec.Image && c.role != ephemeral:
		v.stop(c, grace, true, fmt.Sprintf("Container %s definition changed, will be restarted", c.spec.Name))
	}
}

// clear removes runs that ended and that nothing depends on any more, once their end is written down: those before the
// newest one, init containers when the others have begun, and newest runs in an unclear state.
func (v *view) clear() {
	past := false
	for i := range v.main {
		past = past || v.main[i].last() != nil
	}
	for i := range v.init {
		v.clearRuns(&v.init[i], past && v.init[i].role == initial)
	}
	for i := range v.main {
		v.clearRuns(&v.main[i], false)
	}
}

func (v *view) clearRuns(c *container, all bool) {
	for i := range c.runs {
		r := &c.runs[i]
		ended := r.State == runtime.Exited || r.State == runtime.Unknown
		needed := i == len(c.runs)-1 && !all && !v.unclear(c)
		if ended && !needed && c.recorded(r.ID) {
			v.do(Step{Op: Remove, Container: r.ID.Name, Attempt: r.ID.Attempt})
		}
	}
}

func graceOf(p *corev1.Pod) time.Duration {
	seconds := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if p.Spec.TerminationGracePeriodSeconds != nil {
		seconds = *p.Spec.TerminationGracePeriodSeconds
	}
	if p.DeletionTimestamp != nil && p.DeletionGracePeriodSeconds != nil {
		seconds = *p.DeletionGracePeriodSeconds
	}
	return time.Duration(seconds) * time.Second
}
