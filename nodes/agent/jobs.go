package agent

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

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
	if want, ok := store.Get[*corev1.Pod](a.cfg.Reader.Snapshot(), key.Namespace, key.Name); ok && local(want) == c.ID.Pod {
		a.podEvent(want, e)
	}
}
