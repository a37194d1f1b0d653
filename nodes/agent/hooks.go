package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// hook runs a container's lifecycle hook, in the background. What became of it comes by mail.
func (a *Agent) hook(w *worker, want *corev1.Pod, step pod.Step) {
	call, ok := pod.CallOf(want, step, w.seen.Address.String())
	if !ok {
		return
	}
	if step.Hook == pod.PreStop {
		a.told(w, want, step)
	}
	if w.seen.Hooks == nil {
		w.seen.Hooks, w.hooks = map[pod.HookKey]pod.Hook{}, map[pod.HookKey]context.CancelFunc{}
	}
	ctx, end := hookContext(a.life, step.Within)
	w.seen.Hooks[call.HookKey], w.hooks[call.HookKey] = pod.Hook{}, end
	a.spawn(func() {
		defer end()
		err := a.prober.RunHook(ctx, call)
		if a.life.Err() != nil {
			return // the next process runs it again
		}
		if err != nil && !errors.Is(ctx.Err(), context.Canceled) { // nobody wants it any more
			a.podEvent(want, warning("Failed"+string(step.Hook)+"Hook", step.Container, fmt.Sprintf("%sHook failed: %s", step.Hook, err)))
		}
		a.post(w, func(w *worker) {
			if _, known := w.seen.Hooks[call.HookKey]; known {
				w.seen.Hooks[call.HookKey] = pod.Hook{Done: true, Failed: err != nil}
			}
		})
	})
}

func hookContext(life context.Context, within time.Duration) (context.Context, context.CancelFunc) {
	if within == 0 {
		return context.WithCancel(life)
	}
	return context.WithTimeout(life, within)
}

// endHooks ends hooks of runs that do not run any more, and those of a start that is to come to nothing.
func (w *worker) endHooks() {
	for k, end := range w.hooks {
		c := w.container(k.ID)
		told := !w.seen.Stops[k.ID].Began.IsZero()
		if c == nil || c.State != runtime.Running || k.Kind == pod.PostStart && told {
			end()
		}
		if c == nil {
			delete(w.hooks, k)
			delete(w.seen.Hooks, k)
		}
	}
}

// told keeps account of a container whose end begins, and tells people.
func (a *Agent) told(w *worker, want *corev1.Pod, step pod.Step) {
	id := w.id(step)
	if w.seen.Stops == nil {
		w.seen.Stops = map[runtime.ID]pod.Stop{}
	}
	stop := w.seen.Stops[id]
	if !stop.Began.IsZero() {
		return
	}
	stop.Began, stop.Grace = a.cfg.Now(), step.Grace
	w.seen.Stops[id] = stop
	if w.orphan == nil {
		a.podEvent(want, normal("Killing", step.Container, step.Why))
	}
}
