package registry

import (
	"context"
	"fmt"
	"net"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/mainstay-gitops/mainstay/reconcile/api/remote"
)

// Streams reach into the containers that run. The node that runs them implements it. Errors that are an API status are
// passed on to the client as they are.
type Streams interface {
	// Running tells why a container of a pod is none that runs now.
	Running(ctx context.Context, namespace, pod, container string) error
	// Exec runs a command in a container until its end. An exit code other than 0 is a *remote.ExitError. When ctx ends
	// the command is killed.
	Exec(ctx context.Context, namespace, pod string, o *corev1.PodExecOptions, s remote.Streams) error
	// Attach joins what a container reads and writes from now on, until it ends or ctx does. The container runs on.
	Attach(ctx context.Context, namespace, pod string, o *corev1.PodAttachOptions, s remote.Streams) error
	// Dial connects with a port of a pod as its own containers do on localhost.
	Dial(ctx context.Context, namespace, pod string, port uint16) (net.Conn, error)
}

// connects serve a subresource that is a stream: pods/exec, pods/attach, pods/portforward.
type connects struct {
	pods    *resource
	options func() runtime.Object
	// open checks what is asked for, and returns what serves it.
	open func(ctx context.Context, pod *corev1.Pod, options runtime.Object) (http.HandlerFunc, error)
}

var _ rest.Connecter = (*connects)(nil)

// New implements rest.Storage.
func (*connects) New() runtime.Object { return &corev1.Pod{} }

// Destroy implements rest.Storage.
func (*connects) Destroy() {}

// NewConnectOptions implements rest.Connecter.
func (c *connects) NewConnectOptions() (runtime.Object, bool, string) { return c.options(), false, "" }

// ConnectMethods implements rest.Connecter.
func (*connects) ConnectMethods() []string { return []string{http.MethodGet, http.MethodPost} }

// Connect implements rest.Connecter.
func (c *connects) Connect(ctx context.Context, name string, o runtime.Object, _ rest.Responder) (http.Handler, error) {
	found, err := c.pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pod := found.(*corev1.Pod)
	if pod.Spec.NodeName == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", name))
	}
	return c.open(ctx, pod, o)
}

func (r *Registry) exec(pods *resource) *connects {
	return &connects{pods, func() runtime.Object { return &corev1.PodExecOptions{} }, func(ctx context.Context, pod *corev1.Pod, options runtime.Object) (http.HandlerFunc, error) {
		o := options.(*corev1.PodExecOptions)
		want := remote.Wanted{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, TTY: o.TTY}
		if len(o.Command) == 0 {
			return nil, apierrors.NewBadRequest("you must specify a command for the container")
		}
		if err := r.ready(ctx, pod, &o.Container, want); err != nil {
			return nil, err
		}
		return func(w http.ResponseWriter, req *http.Request) {
			remote.ServeExec(w, req, r.Closing, want, func(ctx context.Context, s remote.Streams) error {
				return r.Streams.Exec(ctx, pod.Namespace, pod.Name, o, s)
			})
		}, nil
	}}
}

func (r *Registry) attach(pods *resource) *connects {
	return &connects{pods, func() runtime.Object { return &corev1.PodAttachOptions{} }, func(ctx context.Context, pod *corev1.Pod, options runtime.Object) (http.HandlerFunc, error) {
		o := options.(*corev1.PodAttachOptions)
		want := remote.Wanted{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, TTY: o.TTY}
		if err := r.ready(ctx, pod, &o.Container, want); err != nil {
			return nil, err
		}
		return func(w http.ResponseWriter, req *http.Request) {
			remote.ServeAttach(w, req, r.Closing, want, func(ctx context.Context, s remote.Streams) error {
				return r.Streams.Attach(ctx, pod.Namespace, pod.Name, o, s)
			})
		}, nil
	}}
}

// ready names the container, if it was not named, and tells why a client cannot be connected with it.
func (r *Registry) ready(ctx context.Context, pod *corev1.Pod, container *string, want remote.Wanted) error {
	if err := want.Check(); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	name, err := containerOf(pod, *container)
	if err != nil {
		return err
	}
	*container = name
	return r.Streams.Running(ctx, pod.Namespace, pod.Name, name)
}

func (r *Registry) portForward(pods *resource) *connects {
	return &connects{pods, func() runtime.Object { return &corev1.PodPortForwardOptions{} }, func(_ context.Context, pod *corev1.Pod, options runtime.Object) (http.HandlerFunc, error) {
		o := options.(*corev1.PodPortForwardOptions)
		return func(w http.ResponseWriter, req *http.Request) {
			remote.ServePorts(w, req, r.Closing, remote.Ports{
				Pod: pod.Name, UID: string(pod.UID), Wanted: o.Ports,
				Dial: func(ctx context.Context, port uint16) (net.Conn, error) {
					return r.Streams.Dial(ctx, pod.Namespace, pod.Name, port)
				},
			})
		}, nil
	}}
}
