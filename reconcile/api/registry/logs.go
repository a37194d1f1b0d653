package registry

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
)

// logs serve pods/log.
type logs struct {
	pods    *resource
	from    Logs
	closing <-chan struct{}
}

var (
	_ rest.GetterWithOptions = (*logs)(nil)
	_ rest.StorageMetadata   = (*logs)(nil)
)

// New implements rest.Storage.
func (*logs) New() runtime.Object { return &corev1.Pod{} }

// Destroy implements rest.Storage.
func (*logs) Destroy() {}

// ProducesMIMETypes implements rest.StorageMetadata.
func (*logs) ProducesMIMETypes(string) []string { return []string{"text/plain"} }

// ProducesObject implements rest.StorageMetadata.
func (*logs) ProducesObject(string) any { return "" }

// NewGetOptions implements rest.GetterWithOptions.
func (*logs) NewGetOptions() (runtime.Object, bool, string) {
	return &corev1.PodLogOptions{}, false, ""
}

// Get implements rest.GetterWithOptions.
func (l *logs) Get(ctx context.Context, name string, o runtime.Object) (runtime.Object, error) {
	opts := o.(*corev1.PodLogOptions)
	if errs := checkLogOptions(opts); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "PodLogOptions"}, name, errs)
	}
	found, err := l.pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pod := found.(*corev1.Pod)
	if opts.Container, err = containerOf(pod, opts.Container); err != nil {
		return nil, err
	}
	if pod.Spec.NodeName == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", name))
	}
	return &logStream{logs: l, namespace: pod.Namespace, pod: name, opts: opts}, nil
}

// containerOf is the container of pod that is meant: its only one, if none is named.
func containerOf(pod *corev1.Pod, name string) (string, error) {
	var usual, initial []string
	for _, c := range pod.Spec.Containers {
		usual = append(usual, c.Name)
	}
	for _, c := range pod.Spec.InitContainers {
		initial = append(initial, c.Name)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if c.Name == name {
			return name, nil
		}
	}
	if name == "" && len(usual) == 1 {
		return usual[0], nil
	}
	all := slices.Concat(initial, usual)
	for _, c := range pod.Spec.EphemeralContainers {
		all = append(all, c.Name)
	}
	for _, has := range all {
		if has == name {
			return name, nil
		}
	}
	if name != "" {
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
	}
	message := fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", pod.Name, strings.Join(usual, " "))
	if len(initial) > 0 {
		message += fmt.Sprintf(" or one of the init containers: [%s]", strings.Join(initial, " "))
	}
	return "", apierrors.NewBadRequest(message)
}

func checkLogOptions(o *corev1.PodLogOptions) field.ErrorList {
	var errs field.ErrorList
	if n := o.TailLines; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(field.NewPath("tailLines"), *n, "must be greater than or equal to 0"))
	}
	if n := o.LimitBytes; n != nil && *n < 1 {
		errs = append(errs, field.Invalid(field.NewPath("limitBytes"), *n, "must be greater than 0"))
	}
	if n := o.SinceSeconds; n != nil && *n < 1 {
		errs = append(errs, field.Invalid(field.NewPath("sinceSeconds"), *n, "must be greater than 0"))
	}
	if o.SinceSeconds != nil && o.SinceTime != nil {
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	}
	if s := o.Stream; s != nil && *s != corev1.LogStreamAll && *s != corev1.LogStreamStdout && *s != corev1.LogStreamStderr {
		errs = append(errs, field.NotSupported(field.NewPath("stream"), *s, []string{corev1.LogStreamAll, corev1.LogStreamStdout, corev1.LogStreamStderr}))
	} else if s != nil && *s != corev1.LogStreamAll && o.TailLines != nil {
		errs = append(errs, field.Forbidden(field.NewPath("tailLines"), "not together with one stream: the lines of both are counted"))
	}
	return errs
}

// logStream is the answer to a request for logs: it is opened when it is about to be sent.
type logStream struct {
	*logs
	namespace, pod string
	opts           *corev1.PodLogOptions
}

var _ rest.ResourceStreamer = (*logStream)(nil)

// GetObjectKind implements runtime.Object.
func (*logStream) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object. Nobody copies a stream.
func (s *logStream) DeepCopyObject() runtime.Object { return s }

// InputStream implements rest.ResourceStreamer.
func (s *logStream) InputStream(ctx context.Context, _, _ string) (io.ReadCloser, bool, string, error) {
	ctx, cancel := context.WithCancel(ctx)
	in, err := s.from.Logs(ctx, s.namespace, s.pod, s.opts)
	if err != nil {
		cancel()
		return nil, false, "", err
	}
	go func() { // ends with the request
		select {
		case <-s.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	return &cancelled{in, cancel}, s.opts.Follow, "text/plain", nil
}

// cancelled cancels when it is closed.
type cancelled struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (c *cancelled) Close() error {
	defer c.cancel()
	return c.ReadCloser.Close()
}
