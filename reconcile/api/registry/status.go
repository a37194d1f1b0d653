package registry

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// part is a subresource that shows the whole object and writes a part of it.
type part struct{ store *genericregistry.Store }

var (
	_ rest.Patcher             = (*part)(nil)
	_ rest.ResetFieldsStrategy = (*part)(nil)
)

// newPart is a part of res's objects that is written as the strategy says.
func newPart(res *resource, update interface {
	rest.RESTUpdateStrategy
	rest.ResetFieldsStrategy
}) *part {
	s := *res.Store
	s.UpdateStrategy, s.ResetFieldsStrategy = update, update
	return &part{&s}
}

// New implements rest.Storage.
func (p *part) New() runtime.Object { return p.store.New() }

// Destroy implements rest.Storage.
func (*part) Destroy() {}

// Get implements rest.Getter.
func (p *part) Get(ctx context.Context, name string, opts *metav1.GetOptions) (runtime.Object, error) {
	return p.store.Get(ctx, name, opts)
}

// Update implements rest.Updater. It creates nothing, not even by an apply.
func (p *part) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, _ bool, opts *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return p.store.Update(ctx, name, info, create, update, false, opts)
}

// GetResetFields implements rest.ResetFieldsStrategy.
func (p *part) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return p.store.GetResetFields()
}

// ConvertToTable implements rest.TableConvertor.
func (p *part) ConvertToTable(ctx context.Context, o, opts runtime.Object) (*metav1.Table, error) {
	return p.store.ConvertToTable(ctx, o, opts)
}

func newStatus(res *resource) *part {
	return newPart(res, statusStrategy{res.UpdateStrategy.(strategy)})
}

// statusStrategy is that of writes to the status subresource.
type statusStrategy struct{ strategy }

// PrepareForUpdate implements rest.RESTUpdateStrategy.
func (s statusStrategy) PrepareForUpdate(_ context.Context, o, old runtime.Object) {
	s.kind.PrepareStatusUpdate(o.(store.Object), old.(store.Object))
	stampConditions(o.(store.Object), old.(store.Object), s.now())
}

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (s statusStrategy) ValidateUpdate(_ context.Context, o, old runtime.Object) field.ErrorList {
	return s.kind.ValidateStatusUpdate(o.(store.Object), old.(store.Object))
}

// GetResetFields implements rest.ResetFieldsStrategy.
func (s statusStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.reset("spec", "metadata")
}

func newEphemeral(res *resource) *part {
	return newPart(res, ephemeralStrategy{res.UpdateStrategy.(strategy)})
}

// ephemeralStrategy is that of writes to the ephemeralcontainers subresource of pods.
type ephemeralStrategy struct{ strategy }

// PrepareForUpdate implements rest.RESTUpdateStrategy.
func (s ephemeralStrategy) PrepareForUpdate(_ context.Context, o, old runtime.Object) {
	s.kind.PrepareEphemeralUpdate(o.(*corev1.Pod), old.(*corev1.Pod))
}

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (s ephemeralStrategy) ValidateUpdate(_ context.Context, o, old runtime.Object) field.ErrorList {
	return s.kind.ValidateEphemeralUpdate(o.(store.Object), old.(store.Object))
}

func newFinalize(res *resource) *part {
	return newPart(res, finalizeStrategy{res.UpdateStrategy.(strategy)})
}

// finalizeStrategy is that of writes to the finalize subresource of namespaces.
type finalizeStrategy struct{ strategy }

// PrepareForUpdate implements rest.RESTUpdateStrategy.
func (finalizeStrategy) PrepareForUpdate(_ context.Context, o, old runtime.Object) {
	scheme.PrepareFinalize(o.(*corev1.Namespace), old.(*corev1.Namespace))
}
