package pod

import (
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

// container is one of a pod's containers: what is wanted and what is there.
type container struct {
	spec   *corev1.Container
	runs   []runtime.Container     // oldest first
	prev   *corev1.ContainerStatus // nil: none
	stored *corev1.ContainerStatus // what is known to be written; nil: nothing
}

func (v *view) containers(specs []corev1.Container, runs map[string][]runtime.Container, prev, stored []corev1.ContainerStatus) []container {
	cs := make([]container, len(specs))
	for i := range specs {
		name := specs[i].Name
		r := runs[name]
		slices.SortFunc(r, func(a, b runtime.Container) int { return a.ID.Attempt - b.ID.Attempt })
		cs[i] = container{&specs[i], r, statusOf(prev, name), statusOf(stored, name)}
	}
	return cs
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
	init := v.isInit(c)
	switch {
	case end == nil && last != nil && last.State == runtime.Running:
		return keep, time.Time{}
	case end == nil:
		return start, time.Time{}
	case init && last == nil && end.ExitCode == 0:
		return start, time.Time{} // it succeeded in a sandbox that is no more
	case !again(v.want.Spec.RestartPolicy, init, end.ExitCode):
		return done, time.Time{}
	case last == nil:
		return start, time.Time{}
	}
	if at := restartAt(last); at.After(v.now) && last.Labels[imageLabel] == c.spec.Image {
		return wait, at
	}
	return start, time.Time{}
}

func (v *view) isInit(c *container) bool {
	return slices.ContainsFunc(v.init, func(i container) bool { return i.spec == c.spec })
}

// again tells whether a container that ended is to run once more. One that is to run before the others needs to succeed
// only once.
func again(policy corev1.RestartPolicy, init bool, code int32) bool {
	switch {
	case policy == corev1.RestartPolicyNever:
		return false
	case policy == corev1.RestartPolicyOnFailure || init:
		return code != 0
	}
	return true
}

// initialized tells whether the init containers are done. Once another container was made in this sandbox they have been,
// whatever is left of them; and when no other container is to run again they do not matter.
func (v *view) initialized() bool {
	over := true
	for i := range v.main {
		c := &v.main[i]
		if c.last() != nil {
			return true
		}
		if verdict, _ := v.judge(c); verdict != done {
			over = false
		}
	}
	return over || v.initializing() == nil
}

// initializing is the init container whose turn it is; nil if all have succeeded in this sandbox.
func (v *view) initializing() *container {
	for i := range v.init {
		c := &v.init[i]
		if last := c.last(); last == nil || last.State != runtime.Exited || last.ExitCode != 0 {
			return c
		}
	}
	return nil
}
