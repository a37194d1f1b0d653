package pod

import (
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// HookKind is when in a container's life a hook is run.
type HookKind string

const (
	PostStart HookKind = "PostStart"
	PreStop   HookKind = "PreStop"
)

// A HookKey names a hook of one run of a container.
type HookKey struct {
	ID   runtime.ID
	Kind HookKind
}

// A Hook is how far one that was begun has come.
type Hook struct{ Done, Failed bool }

// A HookCall is a hook that is to be run.
type HookCall struct {
	HookKey
	Handler *corev1.LifecycleHandler
	Host    string // of an HTTP hook: what it says, else the pod's address
	Port    int    // of an HTTP hook; 0: the container has no port of that name
}

// CallOf is what the hook that a step names is to do; false if the container has no such hook.
func CallOf(p *corev1.Pod, s Step, address string) (HookCall, bool) {
	c := ContainerNamed(p, s.Container)
	if c == nil || handler(c, s.Hook) == nil {
		return HookCall{}, false
	}
	call := HookCall{
		HookKey: HookKey{runtime.ID{Pod: p.UID, Name: s.Container, Attempt: s.Attempt}, s.Hook},
		Handler: handler(c, s.Hook), Host: address,
	}
	if g := call.Handler.HTTPGet; g != nil {
		call.Port = port(c, g.Port)
		if g.Port == intstr.FromString("") {
			call.Port = 80
		}
		if g.Host != "" {
			call.Host = g.Host
		}
	}
	return call, true
}

func handler(c *corev1.Container, k HookKind) *corev1.LifecycleHandler {
	switch {
	case c.Lifecycle == nil:
		return nil
	case k == PostStart:
		return c.Lifecycle.PostStart
	}
	return c.Lifecycle.PreStop
}

// hooked tells whether the postStart hook of a container that runs, if it has one, is done: so it is if the status says that
// the container runs.
func (v *view) hooked(c *container) bool {
	if handler(c.spec, PostStart) == nil {
		return true
	}
	id := c.last().ID
	if h, begun := v.seen.Hooks[HookKey{id, PostStart}]; begun {
		return h.Done && !h.Failed
	}
	return c.prev != nil && c.prev.ContainerID == ContainerID(id) && c.prev.State.Running != nil
}

// postStart has a container's hook run, and ends a container whose hook has failed.
func (v *view) postStart(c *container) {
	id := c.last().ID
	h, begun := v.seen.Hooks[HookKey{id, PostStart}]
	switch {
	case !begun:
		v.do(Step{Op: RunHook, Container: id.Name, Attempt: id.Attempt, Hook: PostStart})
	case h.Failed:
		v.stop(c, graceOf(v.want), true, "FailedPostStartHook")
	}
}

// holds tells whether the containers after c wait for its postStart hook: not if it cannot be started.
func (v *view) holds(c *container) bool {
	switch {
	case handler(c.spec, PostStart) == nil:
		return false
	case c.running():
		return !v.hooked(c)
	}
	return v.toStart(c) && v.failing(c) == nil
}

// preStop has a container's hook run when its end begins, and tells whether it is done.
func (v *view) preStop(c *container, grace time.Duration, why string) bool {
	if handler(c.spec, PreStop) == nil {
		return true
	}
	id := c.last().ID
	h, begun := v.seen.Hooks[HookKey{id, PreStop}]
	if !begun {
		v.do(Step{Op: RunHook, Container: id.Name, Attempt: id.Attempt, Hook: PreStop, Within: grace + lastGrace, Grace: grace, Why: why})
	}
	return h.Done
}

// realtime signals, as the C library numbers them for programs.
const (
	rtMin = 34
	rtMax = 64
)

// stopSignal is the signal that a container's lifecycle names; 0 if it names none.
func stopSignal(c *corev1.Container) syscall.Signal {
	if c.Lifecycle == nil || c.Lifecycle.StopSignal == nil {
		return 0
	}
	name := string(*c.Lifecycle.StopSignal)
	for prefix, base := range map[string]int{"SIGRTMIN": rtMin, "SIGRTMAX": rtMax} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			n, _ := strconv.Atoi(rest) // "" is 0, and "+1" 1
			return syscall.Signal(base + n)
		}
	}
	return unix.SignalNum(name)
}
