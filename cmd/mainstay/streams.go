package main

import (
	"context"
	"net"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/agent"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/reconcile/api/registry"
	"github.com/mainstay-gitops/mainstay/reconcile/api/remote"
)

// containers are the agent as the API sees it.
type containers struct{ agent *agent.Agent }

var _ registry.Streams = containers{}

func (c containers) Running(ctx context.Context, namespace, pod, container string) error {
	return c.agent.Running(ctx, namespace, pod, container)
}

func (c containers) Exec(ctx context.Context, namespace, pod string, o *corev1.PodExecOptions, s remote.Streams) error {
	x := streamsOf(ctx, s)
	x.Command = o.Command
	code, err := c.agent.Exec(ctx, namespace, pod, o.Container, x)
	if err == nil && code != 0 {
		err = &remote.ExitError{Code: code}
	}
	return err
}

func (c containers) Attach(ctx context.Context, namespace, pod string, o *corev1.PodAttachOptions, s remote.Streams) error {
	return c.agent.Attach(ctx, namespace, pod, o.Container, streamsOf(ctx, s))
}

func (c containers) Dial(ctx context.Context, namespace, pod string, port uint16) (net.Conn, error) {
	return c.agent.Dial(ctx, namespace, pod, port)
}

// streamsOf are a client's streams in the words of the runtime.
func streamsOf(ctx context.Context, s remote.Streams) runtime.Exec {
	x := runtime.Exec{Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr, TTY: s.TTY}
	if s.Resize == nil {
		return x
	}
	sizes := make(chan runtime.Size)
	x.Resize = sizes
	go func() { // ends with the client
		defer close(sizes)
		for size := range s.Resize {
			select {
			case sizes <- runtime.Size(size):
			case <-ctx.Done():
			}
		}
	}()
	return x
}
