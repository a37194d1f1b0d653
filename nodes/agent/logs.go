package agent

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/stream"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Logs gives out what a container of a pod of this node writes or wrote, as kubectl asks for it. With Follow it goes on
// until the container ends, or ctx. It also is an io.WriterTo. Errors are those of the API.
func (a *Agent) Logs(ctx context.Context, namespace, name string, o *corev1.PodLogOptions) (io.ReadCloser, error) {
	p, ok := store.Get[*corev1.Pod](a.cfg.Reader.Snapshot(), namespace, name)
	if !ok || p.Spec.NodeName != a.cfg.Node.Name {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), name)
	}
	container, err := logContainer(p, o.Container)
	if err != nil {
		return nil, err
	}
	id, err := a.logRun(p, container, o.Previous)
	if err != nil {
		return nil, err
	}
	if a.cfg.Logs == nil {
		return nil, apierrors.NewBadRequest("this node keeps no logs")
	}
	r, err := a.cfg.Logs.Read(ctx, a.logPath(id), logOptions(o, a.cfg.Now()))
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("container %q in pod %q: %w", container, name, err))
	}
	return r, nil
}

// logContainer is the container that is asked for, or the only one.
func logContainer(p *corev1.Pod, name string) (string, error) {
	var names []string
	for _, c := range p.Spec.Containers {
		names = append(names, c.Name)
	}
	switch {
	case name == "" && len(names) == 1:
		return names[0], nil
	case name == "":
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", p.Name, strings.Join(names, " ")))
	case pod.ContainerNamed(p, name) == nil:
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, p.Name))
	}
	return name, nil
}

// logRun is the run of a container whose log is asked for: the newest, or the last one that ended.
func (a *Agent) logRun(p *corev1.Pod, container string, previous bool) (runtime.ID, error) {
	newest := newestLog(a.cfg.Volumes.ContainerDir(local(p), container))
	id := runtime.ID{Pod: local(p), Name: container, Attempt: newest}
	status := a.containerStatus(p, container)
	if !previous {
		if newest >= 0 {
			return id, nil
		}
		reason := "ContainerCreating"
		if status.State.Waiting != nil {
			reason = status.State.Waiting.Reason
		}
		return id, apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start: %s", container, p.Name, reason))
	}
	if end := status.LastTerminationState.Terminated; end != nil {
		_, text, _ := strings.Cut(end.ContainerID, "://")
		if last, err := runtime.ParseID(text); err == nil {
			return last, nil
		}
	}
	return id, apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", container, p.Name))
}

// containerStatus is the newest status of a container, written or not.
func (a *Agent) containerStatus(p *corev1.Pod, name string) corev1.ContainerStatus {
	status := a.statusOf(local(p))
	if status == nil {
		status = &p.Status
	}
	for _, all := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses} {
		for _, s := range all {
			if s.Name == name {
				return s
			}
		}
	}
	return corev1.ContainerStatus{}
}

func (a *Agent) statusOf(uid types.UID) *corev1.PodStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w := a.workers[uid]; w != nil {
		return w.status
	}
	return nil
}

func logOptions(o *corev1.PodLogOptions, now time.Time) stream.Options {
	out := stream.Options{Follow: o.Follow, Timestamps: o.Timestamps, Tail: -1}
	if o.TailLines != nil {
		out.Tail = *o.TailLines
	}
	if o.LimitBytes != nil {
		out.Limit = *o.LimitBytes
	}
	switch {
	case o.SinceTime != nil:
		out.Since = o.SinceTime.Time
	case o.SinceSeconds != nil:
		out.Since = now.Add(-time.Duration(*o.SinceSeconds) * time.Second)
	}
	if o.Stream != nil && *o.Stream != corev1.LogStreamAll {
		out.Stream = strings.ToLower(*o.Stream)
	}
	return out
}
