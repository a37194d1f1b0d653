package registry

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// bindings put pods on nodes, for schedulers that are not built in.
type bindings struct{ pods *resource }

var (
	_ rest.NamedCreater                   = (*bindings)(nil)
	_ rest.SubresourceObjectMetaPreserver = (*bindings)(nil)
)

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate implements rest.SubresourceObjectMetaPreserver: the UID and the
// version of a binding are those that the pod must have.
func (*bindings) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

// New implements rest.Storage.
func (*bindings) New() runtime.Object { return &corev1.Binding{} }

// Destroy implements rest.Storage.
func (*bindings) Destroy() {}

// Create implements rest.NamedCreater.
func (b *bindings) Create(ctx context.Context, name string, o runtime.Object, validate rest.ValidateObjectFunc, opts *metav1.CreateOptions) (runtime.Object, error) {
	binding := o.(*corev1.Binding)
	if binding.Name != name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if kind := binding.Target.Kind; kind != "" && kind != "Node" || binding.Target.Name == "" {
		return nil, apierrors.NewBadRequest("the target of a binding must be a Node with a name")
	}
	if err := validate(ctx, binding.DeepCopy()); err != nil {
		return nil, err
	}
	key, err := b.pods.KeyFunc(ctx, name)
	if err != nil {
		return nil, err
	}
	_, err = b.pods.change(ctx, "binding", key, opts.DryRun, func(old store.Object) (store.Object, error) {
		if old == nil {
			return nil, apierrors.NewNotFound(b.pods.kind.Resource(), name)
		}
		next := old.DeepCopyObject().(*corev1.Pod)
		if err := bind(next, binding, b.pods.now()); err != nil {
			return nil, apierrors.NewConflict(schema.GroupResource{Resource: "pods/binding"}, name, err)
		}
		return next, nil
	})
	if err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

// bind puts pod where b says, or tells why it cannot.
func bind(pod *corev1.Pod, b *corev1.Binding, now time.Time) error {
	if err := precondition(b.UID, b.ResourceVersion, pod); err != nil {
		return err
	}
	switch {
	case pod.DeletionTimestamp != nil:
		return fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		return fmt.Errorf("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) > 0:
		return fmt.Errorf("pod %v has non-empty .spec.schedulingGates", pod.Name)
	}
	pod.Spec.NodeName = b.Target.Name
	for k, v := range b.Annotations {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, k, v)
	}
	scheduled := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second))}
	for i, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			pod.Status.Conditions[i] = scheduled
			return nil
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, scheduled)
	return nil
}

// precondition checks that o has the UID and the version that a client named, if it named any.
func precondition(uid types.UID, version string, o store.Object) error {
	var p storage.Preconditions
	if uid != "" {
		p.UID = &uid
	}
	if version != "" {
		p.ResourceVersion = &version
	}
	return p.Check(o.GetName(), o)
}
