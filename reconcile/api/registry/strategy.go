package registry

import (
	"context"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// strategy asks scheme what becomes of an object that is created or updated.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	kind *scheme.Kind
	now  func() time.Time
}

var (
	_ rest.RESTCreateStrategy  = strategy{}
	_ rest.RESTUpdateStrategy  = strategy{}
	_ rest.ResetFieldsStrategy = strategy{}
)

// NamespaceScoped implements rest.RESTCreateStrategy.
func (s strategy) NamespaceScoped() bool { return s.kind.Namespaced }

// PrepareForCreate implements rest.RESTCreateStrategy. Its caller gave the object its UID.
func (s strategy) PrepareForCreate(ctx context.Context, o runtime.Object) {
	object := o.(store.Object)
	s.kind.PrepareCreate(object, object.GetUID(), s.now())
	if r, ok := o.(*certificatesv1.CertificateSigningRequest); ok {
		requestedBy(ctx, r)
	}
}

// Validate implements rest.RESTCreateStrategy.
func (s strategy) Validate(ctx context.Context, o runtime.Object) field.ErrorList {
	return s.kind.ValidateIn(asked(ctx), o.(store.Object))
}

// WarningsOnCreate implements rest.RESTCreateStrategy.
func (s strategy) WarningsOnCreate(_ context.Context, o runtime.Object) []string {
	return s.kind.Warnings(o.(store.Object), nil)
}

// PrepareForUpdate implements rest.RESTUpdateStrategy.
func (s strategy) PrepareForUpdate(_ context.Context, o, old runtime.Object) {
	s.kind.PrepareUpdate(o.(store.Object), old.(store.Object))
}

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (s strategy) ValidateUpdate(ctx context.Context, o, old runtime.Object) field.ErrorList {
	return s.kind.ValidateUpdateIn(asked(ctx), o.(store.Object), old.(store.Object))
}

// asked is the version that a request is made in.
func asked(ctx context.Context) schema.GroupVersion {
	info, ok := request.RequestInfoFrom(ctx)
	if !ok {
		return schema.GroupVersion{}
	}
	return schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}
}

// WarningsOnUpdate implements rest.RESTUpdateStrategy.
func (s strategy) WarningsOnUpdate(_ context.Context, o, old runtime.Object) []string {
	return s.kind.Warnings(o.(store.Object), old.(store.Object))
}

// Canonicalize implements rest.RESTCreateStrategy and rest.RESTUpdateStrategy: objects are canonical already.
func (strategy) Canonicalize(runtime.Object) {}

// AllowCreateOnUpdate implements rest.RESTUpdateStrategy: PUT does not create.
func (strategy) AllowCreateOnUpdate(context.Context) bool { return false }

// AllowUnconditionalUpdate implements rest.RESTUpdateStrategy: an update need not name the version that it replaces.
func (strategy) AllowUnconditionalUpdate(context.Context) bool { return true }

// GetResetFields implements rest.ResetFieldsStrategy: whoever applies a status here does not own it.
func (s strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	if !s.kind.Status {
		return nil
	}
	return s.reset("status")
}

func (s strategy) reset(paths ...string) map[fieldpath.APIVersion]*fieldpath.Set {
	set := fieldpath.NewSet()
	for _, p := range paths {
		set.Insert(fieldpath.MakePathOrDie(p))
	}
	all := map[fieldpath.APIVersion]*fieldpath.Set{}
	for _, gv := range s.kind.Served() {
		all[fieldpath.APIVersion(gv.String())] = set
	}
	return all
}
