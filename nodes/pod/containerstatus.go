package pod

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// ContainerID is how a run of a container is named in a pod's status.
func ContainerID(id runtime.ID) string { return "containerd://" + id.String() }

// Reasons that containers wait for, as Kubernetes names them.
const (
	creating         = "ContainerCreating"
	podInitializing  = "PodInitializing"
	crashLoop        = "CrashLoopBackOff"
	pullBackOff      = "ImagePullBackOff"
	errPull          = "ErrImagePull"
	configError      = "CreateContainerConfigError"
	unknownStatus    = "ContainerStatusUnknown"
	deadlineExceeded = "DeadlineExceeded"
	killed           = 137 // the exit code of what was killed
	cannotRun        = 128 // the exit code of what could not be started
)

func (v *view) containerStatuses(cs []container) []corev1.ContainerStatus {
	if len(cs) == 0 {
		return nil
	}
	all := make([]corev1.ContainerStatus, len(cs))
	for i := range cs {
		all[i] = v.containerStatus(&cs[i])
	}
	return all
}

func (v *view) containerStatus(c *container) corev1.ContainerStatus {
	started := v.started(c)
	s := corev1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, RestartCount: int32(c.restarts()),
		Started: &started, Ready: v.containerReady(c),
	}
	if last := c.last(); last != nil {
		s.ContainerID, s.Image, s.ImageID = ContainerID(last.ID), last.Image, last.ImageID
	} else if c.prev != nil {
		s.ContainerID, s.Image, s.ImageID = c.prev.ContainerID, c.prev.Image, c.prev.ImageID
	}
	if c.last() != nil || c.begun() {
		s.VolumeMounts, s.StopSignal = mountStatuses(c.spec), stopSignalStatus(c)
	}
	if c.role != ephemeral && c.running() {
		s.AllocatedResources = c.spec.Resources.Requests
		s.Resources = &corev1.ResourceRequirements{Requests: c.spec.Resources.Requests, Limits: c.spec.Resources.Limits}
	}
	s.State = v.state(c)
	if s.State.Terminated == nil && c.ended(nil) != nil {
		s.LastTerminationState.Terminated = c.ended(v.seen.Messages)
	} else {
		s.LastTerminationState.Terminated = v.endBefore(c)
	}
	return s
}

// mountStatuses are the volumes that a container mounts.
func mountStatuses(c *corev1.Container) []corev1.VolumeMountStatus {
	var all []corev1.VolumeMountStatus
	for _, m := range c.VolumeMounts {
		s := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			how := corev1.RecursiveReadOnlyDisabled
			s.RecursiveReadOnly = &how
		}
		all = append(all, s)
	}
	return all
}

// stopSignalStatus is the signal that a container names, or that its image does.
func stopSignalStatus(c *container) *corev1.Signal {
	if l := c.spec.Lifecycle; l != nil && l.StopSignal != nil {
		return l.StopSignal
	}
	if c.last() == nil || c.last().StopSignal == 0 {
		if c.prev != nil {
			return c.prev.StopSignal
		}
		return nil
	}
	name := corev1.Signal(unix.SignalName(c.last().StopSignal))
	if name == "" {
		return nil
	}
	return &name
}

// state is what the container does now.
func (v *view) state(c *container) corev1.ContainerState {
	if c.running() && v.hooked(c) {
		return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: when(c.last().Started)}}
	}
	verdict, _ := v.judge(c)
	end := c.ended(v.seen.Messages)
	waiting := v.failing(c)
	switch {
	case end != nil && (verdict == done || v.ending() || c.role == initial && v.initialized()):
		return corev1.ContainerState{Terminated: end}
	case waiting != nil:
	case verdict == wait:
		waiting = v.crashLooping(c, end)
	case end != nil:
		return corev1.ContainerState{Terminated: end}
	case v.later(c):
		waiting = &corev1.ContainerStateWaiting{Reason: podInitializing}
	default:
		waiting = v.held()
	}
	return corev1.ContainerState{Waiting: waiting}
}

// later tells whether init containers have their turn before c.
func (v *view) later(c *container) bool {
	return !v.initialized() && (c.role == regular || c.role != ephemeral && v.initializing() != c && !v.hadTurn(c, v.initializing()))
}

// held is what a container waits for that is not its own matter: the pod's sandbox, network and volumes.
func (v *view) held() *corev1.ContainerStateWaiting {
	w := &corev1.ContainerStateWaiting{Reason: creating}
	if len(v.unsupported) > 0 {
		w.Reason, w.Message = configError, strings.Join(v.unsupported, "; ")
		return w
	}
	for _, op := range []Op{MakeSandbox, Attach, MakeVolumes} {
		if f, ok := v.seen.Failed[Move{Op: op}]; ok {
			w.Message = f.Message
			return w
		}
	}
	return w
}

// failing is why the container's next run cannot be made; nil if nothing is known against it.
func (v *view) failing(c *container) *corev1.ContainerStateWaiting {
	f, image, ok := v.hindrance(c)
	switch {
	case !ok:
		return nil
	case f.Reason == errPull && f.Count > 1:
		return &corev1.ContainerStateWaiting{Reason: pullBackOff, Message: fmt.Sprintf("Back-off pulling image %q: %s", image, f.Message)}
	}
	return &corev1.ContainerStateWaiting{Reason: f.Reason, Message: f.Message}
}

// hindrance is what keeps the container's next run from being made, and the image that it is about, if it is about one.
func (v *view) hindrance(c *container) (f Failure, image string, ok bool) {
	for _, op := range []Op{Pull, Create, Start} {
		if f, ok := v.seen.Failed[Move{Op: op, Container: c.spec.Name}]; ok && f.Attempt == c.next() {
			return f, c.spec.Image, true
		}
	}
	if v.later(c) {
		return Failure{}, "", false // the failure is that of another container, too
	}
	return v.imageFailure(c)
}

func (v *view) crashLooping(c *container, end *corev1.ContainerStateTerminated) *corev1.ContainerStateWaiting {
	last := c.last()
	wait := doubled(restartMin, restartMax, crashes(last)-2)
	m := fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
		wait, c.spec.Name, v.want.Name, v.want.Namespace, v.want.UID)
	if last.StartError != "" {
		m += ": " + end.Message
	}
	return &corev1.ContainerStateWaiting{Reason: crashLoop, Message: m}
}

// endBefore is how the run before the newest one ended; nil if there was none or nothing is known of it.
func (v *view) endBefore(c *container) *corev1.ContainerStateTerminated {
	last := c.last()
	switch {
	case len(c.runs) > 1:
		r := &c.runs[len(c.runs)-2]
		return terminated(r, v.seen.Messages[r.ID])
	case c.prev == nil || c.prev.ContainerID == "":
		return nil
	case last == nil || c.prev.ContainerID == ContainerID(last.ID):
		return c.prev.LastTerminationState.Terminated
	}
	return lost(c.prev)
}

// terminated is how a run ended.
func terminated(r *runtime.Container, message string) *corev1.ContainerStateTerminated {
	t := &corev1.ContainerStateTerminated{
		ExitCode: int32(r.ExitCode), Message: message, ContainerID: ContainerID(r.ID),
		StartedAt: when(r.Started), FinishedAt: when(r.Finished),
	}
	switch {
	case r.State == runtime.Unknown:
		t.Reason, t.ExitCode = unknownStatus, killed
		t.Message = "the process that watches over the container was killed, and how the container ended is not known"
	case r.StartError != "":
		t.Reason, t.Message = "StartError", r.StartError
		if t.ExitCode == 0 {
			t.ExitCode = cannotRun
		}
	case r.OOMKilled:
		t.Reason = "OOMKilled"
	case r.ExitCode == 0:
		t.Reason = "Completed"
	default:
		t.Reason = "Error"
	}
	return t
}

// lost is how a run ended of which nothing is left but what the status says.
func lost(s *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if s.State.Terminated != nil {
		return s.State.Terminated
	}
	if t := s.LastTerminationState.Terminated; t != nil && t.ContainerID == s.ContainerID {
		return t
	}
	t := &corev1.ContainerStateTerminated{
		ExitCode: killed, Reason: unknownStatus, ContainerID: s.ContainerID,
		Message: "the container is gone, and how it ended is not known: this machine was restarted, or somebody removed it",
	}
	if s.State.Running != nil {
		t.StartedAt = s.State.Running.StartedAt
	}
	return t
}
