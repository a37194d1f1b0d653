package admit

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// RuntimeClass gives a new pod what its RuntimeClass brings: overhead, a node selector and tolerations. It is idempotent. The
// error, an API status in the words of Kubernetes, is that of a class that is not there or does not go with the pod.
func RuntimeClass(s *store.Snapshot, p *corev1.Pod) error {
	no := func(format string, args ...any) error {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, p.Name, fmt.Errorf("pod rejected: "+format, args...))
	}
	class := &nodev1.RuntimeClass{}
	if name := p.Spec.RuntimeClassName; name != nil && *name != "" {
		var ok bool
		if class, ok = store.Get[*nodev1.RuntimeClass](s, "", *name); !ok {
			return no("RuntimeClass %q not found", *name)
		}
	}
	switch {
	case class.Overhead == nil && len(p.Spec.Overhead) > 0:
		return no("Pod Overhead set without corresponding RuntimeClass defined Overhead")
	case class.Overhead != nil && p.Spec.Overhead != nil && !equality.Semantic.DeepEqual(class.Overhead.PodFixed, p.Spec.Overhead):
		return no("Pod's Overhead doesn't match RuntimeClass's defined Overhead")
	case class.Overhead != nil:
		p.Spec.Overhead = class.Overhead.PodFixed.DeepCopy()
	}
	if class.Scheduling == nil {
		return nil
	}
	for key, value := range class.Scheduling.NodeSelector {
		if own, ok := p.Spec.NodeSelector[key]; ok && own != value {
			return no("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, value, key, own)
		}
	}
	for key, value := range class.Scheduling.NodeSelector {
		if p.Spec.NodeSelector == nil {
			p.Spec.NodeSelector = map[string]string{}
		}
		p.Spec.NodeSelector[key] = value
	}
	for _, t := range class.Scheduling.Tolerations {
		if !slices.ContainsFunc(p.Spec.Tolerations, func(o corev1.Toleration) bool { return equality.Semantic.DeepEqual(o, t) }) {
			p.Spec.Tolerations = append(p.Spec.Tolerations, t)
		}
	}
	return nil
}

// runtimeClass does that for a request.
func (p Plugin) runtimeClass(a admission.Attributes) error {
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok || a.GetOperation() != admission.Create || a.GetSubresource() != "" {
		return nil
	}
	return RuntimeClass(p.Reader.Snapshot(), pod)
}
