package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/stream"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Running tells why a container of a pod of this node is none that runs now. Errors are those of the API, as they are of
// all that is asked of a container here.
func (a *Agent) Running(ctx context.Context, namespace, name, container string) error {
	_, _, err := a.running(ctx, namespace, name, container)
	return err
}

// running is a container of a pod, and its run that runs now.
func (a *Agent) running(ctx context.Context, namespace, name, container string) (*corev1.Pod, runtime.Container, error) {
	p, err := a.podHere(namespace, name)
	if err != nil {
		return nil, runtime.Container{}, err
	}
	box, err := a.cfg.Runtime.Sandbox(ctx, local(p))
	if err != nil && !errors.Is(err, runtime.ErrNotFound) {
		return nil, runtime.Container{}, apierrors.NewInternalError(err)
	}
	for _, c := range slices.Backward(box.Containers) {
		if c.ID.Name == container && c.State == runtime.Running {
			return p, c, nil
		}
	}
	why := "it is not running"
	if s := a.containerStatus(p, container).State; s.Waiting != nil {
		why = "it is waiting: " + s.Waiting.Reason
	} else if s.Terminated != nil {
		why = "it has ended: " + s.Terminated.Reason
	}
	return nil, runtime.Container{}, apierrors.NewBadRequest(fmt.Sprintf("container not found (%q) in pod %s: %s", container, name, why))
}

// podHere is a pod of this node.
func (a *Agent) podHere(namespace, name string) (*corev1.Pod, error) {
	p, ok := store.Get[*corev1.Pod](a.cfg.Reader.Snapshot(), namespace, name)
	if !ok || p.Spec.NodeName != a.cfg.Node.Name {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), name)
	}
	return p, nil
}

// Exec runs a command in a container that runs, until its end or that of ctx, which kills it, and returns its exit code.
func (a *Agent) Exec(ctx context.Context, namespace, name, container string, x runtime.Exec) (int, error) {
	_, c, err := a.running(ctx, namespace, name, container)
	if err != nil {
		return 0, err
	}
	code, err := a.cfg.Runtime.Exec(ctx, c.ID, x)
	if e, ok := errors.AsType[*runtime.StartError](err); ok {
		return 0, errors.New(e.Reason)
	}
	return code, err
}

// Dial connects with a port of a pod as its own containers do on localhost.
func (a *Agent) Dial(ctx context.Context, namespace, name string, port uint16) (net.Conn, error) {
	p, err := a.podHere(namespace, name)
	if err != nil {
		return nil, err
	}
	box, err := a.cfg.Runtime.Sandbox(ctx, local(p))
	if err != nil {
		return nil, fmt.Errorf("pod %s is not running", name)
	}
	return stream.Dial(ctx, box.NetNS, port)
}
