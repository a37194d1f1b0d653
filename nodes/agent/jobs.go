package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// pull has an image here, in the background. What became of it comes by mail.
func (a *Agent) pull(w *worker, want *corev1.Pod, s *store.Snapshot, step pod.Step) {
	if w.seen.Images == nil {
		w.seen.Images = map[string]pod.Image{}
	}
	w.seen.Images[step.Container] = pod.Image{Attempt: step.Attempt, Pulling: true}
	ctx, end := context.WithCancel(a.life)
	if w.pulls == nil {
		w.pulls = map[string]context.CancelFunc{}
	}
	w.pulls[step.Container] = end
	c := pod.ContainerNamed(want, step.Container)
	auth := credentials(want, c.Image, s)
	a.spawn(func() {
		defer end()
		begun := a.cfg.Now()
		got, pulled, err := a.ensure(ctx, want, c, auth)
		if ctx.Err() != nil {
			a.post(w, func(w *worker) { delete(w.seen.Images, step.Container) })
			return
		}
		a.pulled(want, c, got, pulled, a.cfg.Now().Sub(begun), err)
		a.post(w, func(w *worker) {
			if err != nil {
				delete(w.seen.Images, step.Container)
				w.fail(step, a.cfg.Now(), pullReason(err), err.Error())
				return
			}
			delete(w.seen.Failed, step.Move())
			w.seen.Images[step.Container] = pod.Image{Attempt: step.Attempt, Name: got.Ref}
		})
	})
}

// ensure has an image here, and says whether it had to be pulled.
func (a *Agent) ensure(ctx context.Context, want *corev1.Pod, c *corev1.Container, auth image.Auth) (image.Image, bool, error) {
	policy := image.Policy(c.ImagePullPolicy)
	if policy == "" {
		policy = image.DefaultPolicy(c.Image)
	}
	name, err := image.Normalize(c.Image)
	local := image.Host(name) == image.Local
	if err == nil && (policy != image.Always || local) {
		if got, err := a.cfg.Images.Store.Get(ctx, name); err == nil {
			return got, false, nil
		}
	}
	if err == nil && policy != image.Never && !local {
		a.podEvent(want, normal("Pulling", c.Name, fmt.Sprintf("Pulling image %q", c.Image)))
	}
	got, err := a.cfg.Images.Ensure(ctx, c.Image, policy, auth)
	return got, true, err
}

// pulled tells people what became of an image.
func (a *Agent) pulled(want *corev1.Pod, c *corev1.Container, got image.Image, pulled bool, took time.Duration, err error) {
	switch {
	case err != nil:
		a.podEvent(want, warning("Failed", c.Name, fmt.Sprintf("Failed to pull image %q: %s", c.Image, err)))
		a.podEvent(want, warning("Failed", c.Name, "Error: "+pullReason(err)))
	case pulled:
		a.podEvent(want, normal("Pulled", c.Name, fmt.Sprintf("Successfully pulled image %q in %s", c.Image, took.Round(time.Millisecond))))
	default:
		a.podEvent(want, normal("Pulled", c.Name, fmt.Sprintf("Container image %q already present on machine", c.Image)))
	}
}

// pullReason is what a failure is called in the pod's status.
func pullReason(err error) string {
	e, ok := errors.AsType[*image.Error](err)
	switch {
	case ok && e.Reason == image.InvalidName:
		return "InvalidImageName"
	case ok && e.Reason == image.NeverPull:
		return "ErrImageNeverPull"
	}
	return "ErrImagePull"
}

// withdraw asks the network to lead nobody to the pod, in the background. It may not take for ever: then the pod ends
// without.
func (a *Agent) withdraw(w *worker, want *corev1.Pod) {
	w.seen.Withdraw = pod.Withdrawal{Asked: true}
	addr := w.address(want)
	a.spawn(func() {
		ctx, cancel := context.WithTimeout(a.life, a.cfg.Withdraw)
		defer cancel()
		if err := a.withdrawn(ctx, addr); err != nil && a.life.Err() == nil {
			a.cfg.Log.Warn("ending a pod although its address may still be in use", "pod", want.Namespace+"/"+want.Name, "address", addr, "err", err)
		}
		at := a.cfg.Now()
		a.post(w, func(w *worker) { w.seen.Withdraw.Done = at })
	})
}

func (a *Agent) withdrawn(ctx context.Context, addr netip.Addr) error {
	if !addr.IsValid() {
		return nil
	}
	return a.cfg.Network.Withdrawn(ctx, addr)
}

// output keeps the beginning of what a command writes, from both of its streams.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

const maxOutput = 10 << 10

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if room := maxOutput - o.text.Len(); room > 0 {
		o.text.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// probeExec runs a probe's command.
func (a *Agent) probeExec(ctx context.Context, id runtime.ID, command []string) (int, string, error) {
	var o output
	code, err := a.cfg.Runtime.Exec(ctx, id, runtime.Exec{Command: command, Stdout: &o, Stderr: &o})
	o.mu.Lock()
	defer o.mu.Unlock()
	return code, o.text.String(), err
}

// probeFailed tells people of a probe that failed.
func (a *Agent) probeFailed(c pod.Check, message string) {
	a.probeEvent(c, warning("Unhealthy", c.ID.Name, fmt.Sprintf("%s probe failed: %s", c.Kind, message)))
}

// probeDoubted tells people of a probe that passed by an odd answer.
func (a *Agent) probeDoubted(c pod.Check, message string) {
	a.probeEvent(c, warning("ProbeWarning", c.ID.Name, fmt.Sprintf("%s probe warning: %s", c.Kind, message)))
}

func (a *Agent) probeEvent(c pod.Check, e pod.Event) {
	a.mu.Lock()
	var key store.Key
	if w := a.workers[c.ID.Pod]; w != nil {
		key = w.key
	}
	a.mu.Unlock()
	if want, ok := store.Get[*corev1.Pod](a.cfg.Reader.Snapshot(), key.Namespace, key.Name); ok && want.UID == c.ID.Pod {
		a.podEvent(want, e)
	}
}
