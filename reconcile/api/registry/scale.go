package registry

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// scales serve the scale subresource: autoscaling/v1 Scale.
type scales struct{ res *resource }

var (
	_ rest.Patcher                  = (*scales)(nil)
	_ rest.GroupVersionKindProvider = (*scales)(nil)
)

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (*scales) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

// New implements rest.Storage.
func (*scales) New() runtime.Object { return &autoscalingv1.Scale{} }

// Destroy implements rest.Storage.
func (*scales) Destroy() {}

// Get implements rest.Getter.
func (s *scales) Get(ctx context.Context, name string, opts *metav1.GetOptions) (runtime.Object, error) {
	o, err := s.res.Get(ctx, name, opts)
	if err != nil {
		return nil, err
	}
	return scaleOf(o)
}

// Update implements rest.Updater.
func (s *scales) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, _ bool, opts *metav1.UpdateOptions) (runtime.Object, bool, error) {
	createScale := func(ctx context.Context, o runtime.Object) error {
		scale, err := scaleOf(o)
		if err != nil {
			return err
		}
		return create(ctx, scale)
	}
	updateScale := func(ctx context.Context, o, old runtime.Object) error {
		newScale, err := scaleOf(o)
		if err != nil {
			return err
		}
		oldScale, err := scaleOf(old)
		if err != nil {
			return err
		}
		return update(ctx, newScale, oldScale)
	}
	o, _, err := s.res.Update(ctx, name, &scaleInfo{info, s.res}, createScale, updateScale, false, opts)
	if err != nil {
		return nil, false, err
	}
	scale, err := scaleOf(o)
	return scale, false, err
}

// ConvertToTable implements rest.TableConvertor.
func (s *scales) ConvertToTable(ctx context.Context, o, opts runtime.Object) (*metav1.Table, error) {
	return rest.NewDefaultTableConvertor(s.res.kind.Resource()).ConvertToTable(ctx, o, opts)
}

// scaleInfo turns an update of a scale into one of the object that is scaled.
type scaleInfo struct {
	rest.UpdatedObjectInfo
	res *resource
}

// UpdatedObject implements rest.UpdatedObjectInfo.
func (i *scaleInfo) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	o := old.DeepCopyObject().(store.Object)
	version := i.res.kind.GroupVersion()
	fields := managedfields.NewScaleHandler(o.GetManagedFields(), version,
		managedfields.ResourcePathMappings{version.String(): fieldpath.MakePathOrDie("spec", "replicas")})
	was, err := scaleOf(o)
	if err != nil {
		return nil, err
	}
	if was.ManagedFields, err = fields.ToSubresource(); err != nil {
		return nil, err
	}
	result, err := i.UpdatedObjectInfo.UpdatedObject(ctx, was)
	if err != nil {
		return nil, err
	}
	scale, ok := result.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a Scale, not a %T", result))
	}
	if err := i.check(scale, o); err != nil {
		return nil, err
	}
	setReplicas(o, scale.Spec.Replicas)
	if scale.ResourceVersion != "" {
		o.SetResourceVersion(scale.ResourceVersion)
	}
	owners, err := fields.ToParent(scale.ManagedFields)
	if err != nil {
		return nil, err
	}
	o.SetManagedFields(owners)
	return o, nil
}

func (i *scaleInfo) check(scale *autoscalingv1.Scale, o store.Object) error {
	if err := precondition(scale.UID, "", o); err != nil {
		return apierrors.NewConflict(i.res.kind.Resource(), o.GetName(), err)
	}
	if n := scale.Spec.Replicas; n < 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: autoscalingv1.GroupName, Kind: "Scale"}, o.GetName(),
			field.ErrorList{field.Invalid(field.NewPath("spec", "replicas"), n, "must be greater than or equal to 0")})
	}
	return nil
}

// scaleOf is how many replicas o wants and has.
func scaleOf(o runtime.Object) (*autoscalingv1.Scale, error) {
	var wanted *int32
	var selector *metav1.LabelSelector
	scale := &autoscalingv1.Scale{}
	switch o := o.(type) {
	case *appsv1.Deployment:
		wanted, selector, scale.Status.Replicas = o.Spec.Replicas, o.Spec.Selector, o.Status.Replicas
	case *appsv1.ReplicaSet:
		wanted, selector, scale.Status.Replicas = o.Spec.Replicas, o.Spec.Selector, o.Status.Replicas
	case *appsv1.StatefulSet:
		wanted, selector, scale.Status.Replicas = o.Spec.Replicas, o.Spec.Selector, o.Status.Replicas
	case *corev1.ReplicationController:
		wanted, selector, scale.Status.Replicas = o.Spec.Replicas, &metav1.LabelSelector{MatchLabels: o.Spec.Selector}, o.Status.Replicas
	default:
		return nil, fmt.Errorf("scale a %T: it has no replicas", o)
	}
	if wanted != nil {
		scale.Spec.Replicas = *wanted
	}
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, fmt.Errorf("read the selector: %w", err)
	}
	scale.Status.Selector = s.String()
	m := o.(store.Object)
	scale.ObjectMeta = metav1.ObjectMeta{Name: m.GetName(), Namespace: m.GetNamespace(), UID: m.GetUID(),
		ResourceVersion: m.GetResourceVersion(), CreationTimestamp: m.GetCreationTimestamp()}
	return scale, nil
}

// setReplicas is for what scaleOf takes.
func setReplicas(o store.Object, n int32) {
	switch o := o.(type) {
	case *appsv1.Deployment:
		o.Spec.Replicas = &n
	case *appsv1.ReplicaSet:
		o.Spec.Replicas = &n
	case *appsv1.StatefulSet:
		o.Spec.Replicas = &n
	case *corev1.ReplicationController:
		o.Spec.Replicas = &n
	}
}
