package admit

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// runtimeClass gives a new pod what its RuntimeClass brings: overhead, a node selector and tolerations. It refuses a class
// that is not there or does not go with the pod.
func runtimeClass(s *store.Snapshot, r *Request) error {
	p := r.pod()
	if p == nil || r.Operation != Create {
		return nil
	}
	no := func(format string, args ...any) error { return r.forbidf("pod rejected: "+format, args...) }
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
