package pod

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

func lower(k Kind) string { return strings.ToLower(string(k)) }

// end takes down a pod that is to be deleted, and gives everything back.
func (v *view) end() {
	if !v.anyRunning() {
		v.release(true)
		return
	}
	v.takeDown()
}

// windUp ends what still runs of a pod that is over.
func (v *view) windUp() {
	if v.anyRunning() {
		v.takeDown()
	}
}

// takeDown ends all that runs: first nobody is led to the pod any more, then its containers are told to end, sidecars after
// the others and the last one first, then they are killed.
func (v *view) takeDown() {
	for c := range v.all() {
		if c.running() {
			v.check(c)
		}
	}
	grace := v.grace()
	if grace > 0 && !v.withdrawn() {
		return
	}
	alone := true
	for _, c := range v.endOrder() {
		if c.running() {
			v.stop(c, grace, c.role != sidecar || alone, fmt.Sprintf("Stopping container %s", c.spec.Name))
			alone = false
		}
	}
}

// endOrder is the order in which containers end: sidecars after the others, the last one first.
func (v *view) endOrder() []*container {
	var first, last []*container
	for c := range v.all() {
		if c.role == sidecar {
			last = append(last, c)
		} else {
			first = append(first, c)
		}
	}
	slices.Reverse(last)
	return append(first, last...)
}

// over tells whether the pod is to end, or has ended, by itself: its time is up, an init container has failed for good, or the
// containers that do its work have ended and stay so.
func (v *view) over() bool { return v.expired() || v.initFailed() || v.worked() }

// deadline is when the pod's time is up; zero: never.
func (v *view) deadline() time.Time {
	seconds := v.want.Spec.ActiveDeadlineSeconds
	if seconds == nil || v.prev.StartTime == nil {
		return time.Time{}
	}
	return v.prev.StartTime.Add(time.Duration(*seconds) * time.Second)
}

func (v *view) expired() bool {
	at := v.deadline()
	return !at.IsZero() && !at.After(v.now)
}

// withdrawn tells whether nobody is led to the pod's address any more, and packets that were under way have arrived.
func (v *view) withdrawn() bool {
	w := v.seen.Withdraw
	switch {
	case v.want.Spec.HostNetwork || v.prev.PodIP == "" && v.seen.Network != Here:
		return true
	case !w.Asked:
		v.do(Step{Op: Withdraw})
		return false
	case w.Done.IsZero():
		return false
	}
	rest := w.Done.Add(settle).Sub(v.now)
	if rest > 0 {
		v.within(rest)
	}
	return rest <= 0
}

const (
	killAgain = time.Second     // after a kill that did not end a container
	lastGrace = 2 * time.Second // that a container has after its signal, even if its hook has used up all the time
)

// stop ends a container that runs: its preStop hook, its stop signal when it is its turn, SIGKILL when the grace period is
// over, which counts from the beginning of the end.
func (v *view) stop(c *container, grace time.Duration, turn bool, why string) {
	last := c.last()
	told := v.seen.Stops[last.ID]
	s := Step{Op: Signal, Container: last.ID.Name, Attempt: last.ID.Attempt, Grace: grace, Why: why}
	began := v.endBegan(told)
	over := began.Add(grace)
	if told.Asked.IsZero() && grace > 0 {
		ready := v.preStop(c, grace, why) && turn
		switch late := !began.IsZero() && !over.After(v.now); {
		case ready || late:
			v.do(s)
		case !began.IsZero():
			v.within(over.Sub(v.now))
		}
		return
	}
	s.Signal = syscall.SIGKILL
	if least := told.Asked.Add(lastGrace); over.Before(least) && grace > 0 {
		over = least
	}
	rest := over.Sub(v.now)
	if !told.Killed.IsZero() {
		rest = told.Killed.Add(killAgain).Sub(v.now)
	}
	if rest > 0 {
		v.within(rest)
		return
	}
	v.do(s)
}

// endBegan is when a container's end began: if it waits for others, when theirs did. Zero: it has not.
func (v *view) endBegan(told Stop) time.Time {
	switch {
	case !told.Began.IsZero():
		return told.Began
	case !told.Asked.IsZero():
		return told.Asked
	}
	var first time.Time
	for c := range v.all() {
		if c.last() == nil {
			continue
		}
		if at := v.seen.Stops[c.last().ID].Began; !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// finish gives back what a finished pod holds, once its end is written down. Its logs stay.
func (v *view) finish() {
	if finished(v.want.Status.Phase) {
		v.release(false)
	}
}

// release gives back everything, the logs too if the pod is to be deleted.
func (v *view) release(logs bool) {
	parts := []struct {
		there bool
		op    Op
	}{
		{v.seen.Network != Gone, Detach},
		{v.seen.Sandbox != nil, RemoveSandbox},
		{v.seen.Volumes != Gone, RemoveVolumes},
		{logs && v.seen.Files != Gone, RemoveFiles},
	}
	v.next.Gone = logs
	for _, p := range parts {
		if !p.there {
			continue
		}
		v.next.Gone = false
		if !v.do(Step{Op: p.op}) {
			return
		}
	}
}
