package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/volume"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const patience = 2 * time.Minute // with one step

// held is the slots that a pod has in one turn.
type held struct {
	agent *Agent
	uid   types.UID
	has   *slots
	waits bool // in line for one
}

// wants is what a step needs a slot of; nil: it is quick, or waits for something else than this machine.
func (h *held) wants(op pod.Op) *slots {
	switch op {
	case pod.Create, pod.Start:
		return h.agent.starting
	case pod.Remove, pod.RemoveSandbox:
		return h.agent.removing
	}
	return nil
}

// take has a slot for a step, giving back one that it does not need.
func (h *held) take(op pod.Op) bool {
	need := h.wants(op)
	if need == h.has {
		return true
	}
	h.give()
	if need != nil && !need.take(h.uid) {
		h.waits = true
		return false
	}
	h.has = need
	return true
}

func (h *held) give() {
	if h.has != nil {
		h.has.give()
		h.has = nil
	}
}

// sync leaves the lines for what is not to be done any more.
func (h *held) sync(steps []pod.Step) {
	wanted := map[*slots]bool{}
	for _, s := range steps {
		wanted[h.wants(s.Op)] = true
	}
	for _, s := range []*slots{h.agent.starting, h.agent.removing} {
		if !wanted[s] {
			s.leave(h.uid)
		}
	}
}

// close gives back what is held, and places in lines unless the turn ended for want of a slot.
func (h *held) close() {
	h.give()
	if !h.waits {
		h.agent.starting.leave(h.uid)
		h.agent.removing.leave(h.uid)
	}
}

// act does steps in order, until one fails. It returns false if the next one must wait for a slot.
func (a *Agent) act(ctx context.Context, h *held, w *worker, want *corev1.Pod, s *store.Snapshot, steps []pod.Step) bool {
	for _, step := range steps {
		if !h.take(step.Op) {
			return false
		}
		limited, cancel := context.WithTimeout(ctx, patience)
		err := a.do(limited, w, want, s, step)
		cancel()
		if ctx.Err() != nil {
			return true
		}
		if err != nil {
			a.failed(w, want, step, err)
			return true
		}
		if step.Op != pod.Pull { // which has only begun
			delete(w.seen.Failed, step.Move())
		}
	}
	return true
}

// do does one step.
func (a *Agent) do(ctx context.Context, w *worker, want *corev1.Pod, s *store.Snapshot, step pod.Step) error {
	switch step.Op {
	case pod.Pull:
		a.pull(w, want, s, step)
	case pod.MakeSandbox:
		return a.makeSandbox(ctx, w, want, s)
	case pod.Attach:
		return a.attach(ctx, w, want)
	case pod.MakeVolumes:
		return a.makeVolumes(w, want, s)
	case pod.MountImage:
		return a.mountImage(ctx, w, step)
	case pod.Create:
		return a.create(ctx, w, want, s, step)
	case pod.Start:
		return a.start(ctx, w, want, step)
	case pod.RunHook:
		a.hook(w, want, step)
	case pod.Remove:
		return a.remove(ctx, w, step)
	case pod.Withdraw:
		a.withdraw(w, want)
	case pod.Signal:
		return a.signal(ctx, w, want, step)
	case pod.Detach:
		return a.detach(ctx, w, want)
	case pod.RemoveSandbox:
		return a.removeSandbox(ctx, w)
	case pod.RemoveVolumes:
		return a.removeVolumes(w)
	case pod.RemoveFiles:
		return a.removeFiles(w)
	}
	return nil
}

func (w *worker) id(step pod.Step) runtime.ID {
	return runtime.ID{Pod: w.uid, Name: step.Container, Attempt: step.Attempt}
}

func (a *Agent) makeSandbox(ctx context.Context, w *worker, want *corev1.Pod, s *store.Snapshot) error {
	spec, err := pod.SandboxSpec(want, a.place, s)
	if err != nil {
		return err
	}
	box, err := a.cfg.Runtime.MakeSandbox(ctx, spec)
	if err != nil {
		return err
	}
	w.seen.Sandbox, w.seen.Network = &box, pod.Unknown
	return nil
}

func (a *Agent) attach(ctx context.Context, w *worker, want *corev1.Pod) error {
	if want.Spec.HostNetwork {
		w.seen.Network, w.seen.Address = pod.Here, a.place.Host
		return nil
	}
	addr, err := a.cfg.Network.Attach(ctx, w.uid, w.seen.Sandbox.NetNS)
	if err != nil {
		return err
	}
	if addr != w.seen.Address {
		w.seen.Volumes = pod.Unknown // its files name the address
	}
	w.seen.Network, w.seen.Address = pod.Here, addr
	return nil
}

func (a *Agent) makeVolumes(w *worker, want *corev1.Pod, s *store.Snapshot) error {
	w.seen.Files = pod.Unknown
	again, err := a.cfg.Volumes.Make(want, a.world(w, s))
	if err != nil {
		return err
	}
	if w.made == "" { // once is enough
		_, notes := pod.Resolv(want, a.place)
		for _, note := range notes {
			a.podEvent(want, warning("DNSConfigForming", "", note))
		}
	}
	w.again = again
	w.seen.Volumes, w.seen.Stale = pod.Here, false
	w.made = volume.Version(want, s)
	return nil
}

// mountImage mounts the image of a volume that was pulled.
func (a *Agent) mountImage(ctx context.Context, w *worker, step pod.Step) error {
	m, err := a.cfg.Runtime.MountImage(ctx, w.uid, step.Volume, w.seen.VolumeImages[step.Volume].Name)
	if err == nil || errors.Is(err, runtime.ErrNoImage) { // somebody removed it: it is pulled again
		delete(w.seen.VolumeImages, step.Volume)
	}
	if err != nil {
		return fmt.Errorf("volume %q: %w", step.Volume, err)
	}
	w.seen.Sandbox.Images = append(w.seen.Sandbox.Images, m)
	return nil
}

// create makes a run of a container, and has what it will write copied.
func (a *Agent) create(ctx context.Context, w *worker, want *corev1.Pod, s *store.Snapshot, step pod.Step) error {
	world := a.world(w, s)
	c := pod.ContainerNamed(want, step.Container)
	mounts, err := a.cfg.Volumes.Mounts(want, c, step.Attempt, world)
	if err != nil {
		return err
	}
	spec, err := pod.ContainerSpec(want, pod.Making{
		Step: step, Image: w.seen.Images[step.Container], Place: a.place, Address: w.seen.Address, Mounts: mounts,
		Tell: func(e pod.Event) { a.podEvent(want, e) },
	}, s)
	if err != nil {
		return err
	}
	if err := a.cfg.Runtime.Create(ctx, spec); err != nil {
		if errors.Is(err, runtime.ErrNoImage) {
			delete(w.seen.Images, step.Container) // somebody removed it: it is pulled again
		}
		return err
	}
	a.podEvent(want, normal("Created", step.Container, "Created container: "+step.Container))
	a.clearLogs(w, step)
	a.copyOutput(ctx, w, spec.ID)
	return nil
}

func (a *Agent) start(ctx context.Context, w *worker, want *corev1.Pod, step pod.Step) error {
	err := a.cfg.Runtime.Start(ctx, w.id(step))
	if _, own := errors.AsType[*runtime.StartError](err); own {
		a.podEvent(want, warning("Failed", step.Container, "Error: "+err.Error()))
		return nil // the container has ended with it
	}
	if err != nil {
		return err
	}
	a.podEvent(want, normal("Started", step.Container, "Started container "+step.Container))
	return nil
}

func (a *Agent) remove(ctx context.Context, w *worker, step pod.Step) error {
	id := w.id(step)
	a.awaitOutput(ctx, w, id)
	if err := a.cfg.Runtime.Remove(ctx, id); err != nil {
		return err
	}
	delete(w.seen.Stops, id)
	delete(w.seen.Messages, id)
	delete(w.copying, id)
	return nil
}

func (a *Agent) signal(ctx context.Context, w *worker, want *corev1.Pod, step pod.Step) error {
	id, sig := w.id(step), step.Signal
	c := w.container(id)
	if sig == 0 && c != nil {
		sig = c.StopSignal
	}
	if err := a.cfg.Runtime.Signal(ctx, id, sig); err != nil && !errors.Is(err, runtime.ErrNotFound) {
		return err
	}
	a.told(w, want, step)
	told, now := w.seen.Stops[id], a.cfg.Now()
	if told.Asked.IsZero() {
		told.Asked = now
	}
	if step.Signal != 0 {
		told.Killed = now
	}
	w.seen.Stops[id] = told
	return nil
}

func (a *Agent) detach(ctx context.Context, w *worker, want *corev1.Pod) error {
	if !want.Spec.HostNetwork {
		if err := a.cfg.Network.Detach(ctx, w.uid); err != nil {
			return err
		}
	}
	w.seen.Network = pod.Gone
	return nil
}

func (a *Agent) removeSandbox(ctx context.Context, w *worker) error {
	if w.seen.Sandbox != nil {
		for _, c := range w.seen.Sandbox.Containers {
			a.awaitOutput(ctx, w, c.ID)
		}
	}
	if err := a.cfg.Runtime.RemoveSandbox(ctx, w.uid); err != nil {
		return err
	}
	for _, done := range w.copying { // which would make the pod's folder anew
		await(ctx, done)
	}
	w.seen.Stops, w.seen.Messages, w.copying = nil, nil, nil
	return nil
}

func (a *Agent) removeVolumes(w *worker) error {
	if err := a.cfg.Volumes.Remove(w.uid); err != nil {
		return err
	}
	w.seen.Volumes = pod.Gone
	return nil
}

func (a *Agent) removeFiles(w *worker) error {
	if err := a.cfg.Volumes.RemoveAll(w.uid); err != nil {
		return err
	}
	w.seen.Files = pod.Gone
	return nil
}

// failed keeps account of a step that failed, and tells people.
func (a *Agent) failed(w *worker, want *corev1.Pod, step pod.Step, err error) {
	reason, event := why(step, err)
	w.fail(step, a.cfg.Now(), reason, err.Error())
	if w.orphan != nil {
		a.cfg.Log.Warn("removing what is left of a pod failed, trying again", "pod", want.Namespace+"/"+want.Name, "uid", w.uid, "step", step, "err", err)
		return
	}
	a.podEvent(want, warning(event, step.Container, fmt.Sprintf("Error: %s", err)))
}

func (w *worker) fail(step pod.Step, now time.Time, reason, message string) {
	if w.seen.Failed == nil {
		w.seen.Failed = map[pod.Move]pod.Failure{}
	}
	f := w.seen.Failed[step.Move()]
	if f.Attempt != step.Attempt {
		f.Count = 0
	}
	w.seen.Failed[step.Move()] = pod.Failure{Attempt: step.Attempt, Count: f.Count + 1, At: now, Reason: reason, Message: message}
}

// why is what a failure is called in the pod's status, and as an event.
func why(step pod.Step, err error) (reason, event string) {
	_, config := errors.AsType[*runtime.ConfigError](err)
	switch {
	case config && step.Op == pod.MakeSandbox:
		return "FailedCreatePodSandBox", "FailedCreatePodSandBox"
	case config:
		return "CreateContainerConfigError", "Failed"
	case step.Op == pod.Create:
		return "CreateContainerError", "Failed"
	case step.Op == pod.Start:
		return "RunContainerError", "Failed"
	case step.Op == pod.MakeVolumes || step.Op == pod.MountImage:
		return "FailedMount", "FailedMount"
	case step.Op == pod.MakeSandbox || step.Op == pod.Attach:
		return "FailedCreatePodSandBox", "FailedCreatePodSandBox"
	}
	return "FailedKillPod", "FailedKillPod"
}

func normal(reason, container, message string) pod.Event {
	return pod.Event{Type: corev1.EventTypeNormal, Reason: reason, Container: container, Message: message}
}

func warning(reason, container, message string) pod.Event {
	return pod.Event{Type: corev1.EventTypeWarning, Reason: reason, Container: container, Message: message}
}
