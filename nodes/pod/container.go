package pod

import (
	"iter"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// Labels that a run of a container carries, so that whoever finds it knows how it came about.
const (
	crashesLabel = "mainstay.dev/crashes" // how often in a row the container ended before this run
	imageLabel   = "mainstay.dev/image"   // as the pod named it

	// MessageLabel holds the container's terminationMessagePolicy.
	MessageLabel = "mainstay.dev/message-policy"
)

func before(c *runtime.Container) int {
	n, _ := strconv.Atoi(c.Labels[crashesLabel])
	return n
}

// A role is what a container does for its pod.
type role string

const (
	regular   role = "container" // the pod's work
	initial   role = "init"      // runs before the others, to its end
	sidecar   role = "sidecar"   // is started before the others, in line with those that run to their end, and outlives them
	ephemeral role = "ephemeral" // was added while the pod ran, for somebody who looks for a fault; never runs twice
)

// container is one of a pod's containers: what is wanted and what is there.
type container struct {
	role   role
	spec   *corev1.Container
	runs   []runtime.Container     // oldest first
	prev   *corev1.ContainerStatus // nil: none
	stored *corev1.ContainerStatus // what is known to be written; nil: nothing
}

func (v *view) containers(as role, specs []corev1.Container, runs map[string][]runtime.Container, prev, stored []corev1.ContainerStatus) []container {
	cs := make([]container, len(specs))
	for i := range specs {
		name := specs[i].Name
		r := runs[name]
		slices.SortFunc(r, func(a, b runtime.Container) int { return a.ID.Attempt - b.ID.Attempt })
		cs[i] = container{as, &specs[i], r, statusOf(prev, name), statusOf(stored, name)}
		if as == initial && isSidecar(&specs[i]) {
			cs[i].role = sidecar
		}
	}
	return cs
}

func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// all are the pod's containers, of every role.
func (v *view) all() iter.Seq[*container] {
	return func(yield func(*container) bool) {
		for _, cs := range [][]container{v.init, v.main, v.extra} {
			for i := range cs {
				if !yield(&cs[i]) {
					return
				}
			}
		}
	}
}

func statusOf(all []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	for i := range all {
		if all[i].Name == name {
			return &all[i]
		}
	}
	return nil
}

// last is the newest run; nil if there is none.
func (c *container) last() *runtime.Container {
	if len(c.runs) == 0 {
		return nil
	}
	return &c.runs[len(c.runs)-1]
}

func (c *container) running() bool {
	last := c.last()
	return last != nil && last.State == runtime.Running
}

// restarts is the number of the newest run, which may be gone.
func (c *container) restarts() int {
	switch last := c.last(); {
	case last != nil:
		return last.ID.Attempt
	case c.prev != nil:
		return int(c.prev.RestartCount)
	}
	return 0
}

// begun tells whether the container was ever made.
func (c *container) begun() bool {
	return c.last() != nil || c.prev != nil && c.prev.ContainerID != ""
}

// ended is how the newest run ended; nil if it has not.
func (c *container) ended(messages map[runtime.ID]string) *corev1.ContainerStateTerminated {
	switch last := c.last(); {
	case last == nil && c.begun():
		return lost(c.prev)
	case last != nil && (last.State == runtime.Exited || last.State == runtime.Unknown):
		return terminated(last, messages[last.ID])
	}
	return nil
}

// recorded tells whether the end of a run is in the stored status, so that the run itself may be removed.
func (c *container) recorded(id runtime.ID) bool {
	if c.stored == nil {
		return false
	}
	for _, s := range []corev1.ContainerState{c.stored.State, c.stored.LastTerminationState} {
		if s.Terminated != nil && s.Terminated.ContainerID == ContainerID(id) {
			return true
		}
	}
	return int(c.stored.RestartCount) > id.Attempt+1
}

// verdict is what is to become of a container.
type verdict string

const (
	keep  verdict = "keep"  // it runs
	start verdict = "start" // make and start its next run, or start the one that is made
	wait  verdict = "wait"  // start it later
	done  verdict = "done"  // it ended and stays so
)

// judge says what is to become of a container, and when if the verdict is wait.
func (v *view) judge(c *container) (verdict, time.Time) {
	last := c.last()
	end := c.ended(v.seen.Messages)
	switch {
	case end == nil && last != nil && last.State == runtime.Running:
		return keep, time.Time{}
	case end == nil:
		return start, time.Time{}
	case v.expired():
		return done, time.Time{}
	case c.role == initial && last == nil && end.ExitCode == 0:
		return start, time.Time{} // it succeeded in a sandbox that is no more
	case !again(v.want.Spec.RestartPolicy, c, end.ExitCode):
		return done, time.Time{}
	case last == nil:
		return start, time.Time{}
	}
	if at := restartAt(last); at.After(v.now) && last.Labels[imageLabel] == c.spec.Image {
		return wait, at
	}
	return start, time.Time{}
}

// again tells whether a container that ended is to run once more: as the first of its rules says that fits, else as its own
// policy says, else the pod's. One that is to run before the others needs to succeed only once.
func again(policy corev1.RestartPolicy, c *container, code int32) bool {
	switch c.role {
	case ephemeral:
		return false
	case sidecar:
		return true
	}
	if slices.ContainsFunc(c.spec.RestartPolicyRules, func(r corev1.ContainerRestartRule) bool { return fits(r.ExitCodes, code) }) {
		return true // the one action that is supported
	}
	if own := c.spec.RestartPolicy; own != nil {
		policy = corev1.RestartPolicy(*own)
	}
	switch {
	case policy == corev1.RestartPolicyNever:
		return false
	case policy == corev1.RestartPolicyOnFailure || c.role == initial:
		return code != 0
	}
	return true
}

func fits(rule *corev1.ContainerRestartRuleOnExitCodes, code int32) bool {
	switch {
	case rule == nil:
		return false
	case rule.Operator == corev1.ContainerRestartRuleOnExitCodesOpNotIn:
		return !slices.Contains(rule.Values, code)
	}
	return slices.Contains(rule.Values, code)
}

// initialized tells whether the init containers are done. Once another container was made in this sandbox they have been,
// whatever is left of them; and when no other container is to run again they do not matter.
func (v *view) initialized() bool {
	for i := range v.main {
		if v.main[i].last() != nil {
			return true
		}
	}
	return v.worked() || v.initializing() == nil
}

// worked tells whether the containers that do the pod's work have ended and stay so.
func (v *view) worked() bool {
	for i := range v.main {
		if verdict, _ := v.judge(&v.main[i]); verdict != done {
			return false
		}
	}
	return true
}

// initializing is the init container whose turn it is; nil if all have succeeded in this sandbox, and sidecars have started.
func (v *view) initializing() *container {
	for i := range v.init {
		c := &v.init[i]
		last := c.last()
		passed := last != nil && last.State == runtime.Exited && last.ExitCode == 0
		if c.role == sidecar {
			passed = v.started(c) || v.passedOn(i)
		}
		if !passed {
			return c
		}
	}
	return nil
}

// passedOn tells whether an init container after the i-th was made: then those before it have had their turn.
func (v *view) passedOn(i int) bool {
	return slices.ContainsFunc(v.init[i+1:], func(c container) bool { return c.last() != nil })
}

// initFailed tells whether an init container has failed and is not to run again: then the pod has failed.
func (v *view) initFailed() bool {
	if v.initialized() {
		return false
	}
	verdict, _ := v.judge(v.initializing())
	return verdict == done
}
