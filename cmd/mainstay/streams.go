package main

import (
	"context"
	"net"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/agent"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/usage"
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

// measured is what the meter of a node says, as the API sees it.
type measured struct {
	meter *usage.Meter
	node  string
}

var _ registry.Usage = measured{}

func (m measured) Nodes(ctx context.Context) (map[string]registry.Used, error) {
	got, err := m.meter.Measure(ctx)
	return map[string]registry.Used{m.node: usedAt(got, got.Node)}, err
}

func (m measured) Containers(ctx context.Context) (map[types.UID]map[string]registry.Used, error) {
	got, err := m.meter.Measure(ctx)
	out := map[types.UID]map[string]registry.Used{}
	for id, u := range got.Containers {
		if out[id.Pod] == nil {
			out[id.Pod] = map[string]registry.Used{}
		}
		out[id.Pod][id.Name] = usedAt(got, u)
	}
	return out, err
}

func usedAt(m usage.Measurement, u usage.Used) registry.Used {
	return registry.Used{Cores: u.Cores, Memory: u.Memory, At: m.At, Window: u.Window}
}
