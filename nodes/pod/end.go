package pod

import (
	"fmt"
	"strings"
	"syscall"
	"time"
)

func lower(k Kind) string { return strings.ToLower(string(k)) }

// end takes down a pod that is to be deleted: first nobody is led to it any more, then its containers are told to end,
// then they are killed, then all is given back.
func (v *view) end() {
	var running []*container
	for _, cs := range [][]container{v.init, v.main} {
		for i := range cs {
			if cs[i].running() {
				running = append(running, &cs[i])
			}
		}
	}
	if len(running) == 0 {
		v.release(true)
		return
	}
	for _, c := range running {
		v.check(c)
	}
	grace := graceOf(v.want)
	if grace > 0 && !v.withdrawn() {
		return
	}
	for _, c := range running {
		v.stop(c, grace, fmt.Sprintf("Stopping container %s", c.spec.Name))
	}
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

const killAgain = time.Second // after a kill that did not end a container

// stop ends a container that runs: its stop signal, the grace period, then SIGKILL.
func (v *view) stop(c *container, grace time.Duration, why string) {
	last := c.last()
	told := v.seen.Stops[last.ID]
	s := Step{Op: Signal, Container: last.ID.Name, Attempt: last.ID.Attempt, Why: why}
	if told.Asked.IsZero() && grace > 0 {
		v.do(s)
		return
	}
	s.Signal = syscall.SIGKILL
	rest := told.Asked.Add(grace).Sub(v.now)
	if !told.Killed.IsZero() {
		rest = told.Killed.Add(killAgain).Sub(v.now)
	}
	if rest > 0 {
		v.within(rest)
		return
	}
	v.do(s)
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
