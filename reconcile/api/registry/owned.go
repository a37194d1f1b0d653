package registry

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"

	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Owned tells whether an object came from Git, and what its source wants of those who change it by hand.
type Owned func(*store.Snapshot, store.Key) (apply.Brought, bool)

// Update implements rest.Updater. Whoever writes a field that Git owns is warned of it or, if the source wants that, refused.
func (r *resource) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, force bool, opts *metav1.UpdateOptions) (runtime.Object, bool, error) {
	if r.owned == nil {
		return r.Store.Update(ctx, name, info, create, update, force, opts)
	}
	told := ""
	o, made, err := r.Store.Update(ctx, name, info, create, func(ctx context.Context, o, old runtime.Object) error {
		text, err := r.writing(o.(store.Object), old.(store.Object))
		if err != nil {
			return err
		}
		told = text
		return update(ctx, o, old)
	}, force, opts)
	if err == nil && told != "" {
		warning.AddWarning(ctx, "", told)
	}
	return o, made, err
}

// writing is the warning of an update, or the error that refuses it.
func (r *resource) writing(o, old store.Object) (string, error) {
	by, ok := r.owned(store.Key{Kind: r.kind.GroupKind(), Namespace: old.GetNamespace(), Name: old.GetName()})
	if !ok {
		return "", nil
	}
	taken, err := by.Taken(o, old)
	if err != nil || len(taken) == 0 {
		return "", err
	}
	text, refused := by.Writing(taken)
	return text, r.forbid(old.GetName(), refused)
}

// deleting is the warning of a deletion, or the error that refuses it.
func (r *resource) deleting(old store.Object) (string, error) {
	if r.owned == nil || old.GetDeletionTimestamp() != nil {
		return "", nil
	}
	by, ok := r.owned(store.Key{Kind: r.kind.GroupKind(), Namespace: old.GetNamespace(), Name: old.GetName()})
	if !ok {
		return "", nil
	}
	text, refused := by.Deleting()
	if refused == nil {
		text = fmt.Sprintf("%s %s: %s", r.kind.Singular, old.GetName(), text) // a collection has many
	}
	return text, r.forbid(old.GetName(), refused)
}

func (r *resource) forbid(name string, why error) error {
	if why == nil {
		return nil
	}
	return apierrors.NewForbidden(r.kind.Resource(), name, why)
}
