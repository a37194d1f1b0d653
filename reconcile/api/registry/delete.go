package registry

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/apiserver/pkg/warning"

	"github.com/mainstay-gitops/mainstay/reconcile/api/kubestore"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Delete implements rest.GracefulDeleter. What becomes of an object that is to be deleted, scheme says, as it does to those
// who delete from inside.
func (r *resource) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, opts *metav1.DeleteOptions) (runtime.Object, bool, error) {
	key, err := r.KeyFunc(ctx, name)
	if err != nil {
		return nil, false, err
	}
	gone, told := false, ""
	o, err := r.change(ctx, "delete", key, opts.DryRun, func(old store.Object) (store.Object, error) {
		if old == nil {
			return nil, apierrors.NewNotFound(r.kind.Resource(), name)
		}
		if err := validate(ctx, kubestore.Private(old)); err != nil {
			return nil, err
		}
		if told, err = r.deleting(old); err != nil {
			return nil, err
		}
		next, ended, err := r.kind.Delete(old, *opts, r.now())
		if gone = ended; gone || err != nil {
			return nil, err
		}
		return next, nil
	})
	if err != nil {
		return nil, false, err
	}
	if told != "" {
		warning.AddWarning(ctx, "", told)
	}
	if !gone {
		return kubestore.Private(o), false, nil
	}
	// In Kubernetes, kind is the resource here.
	return &metav1.Status{Status: metav1.StatusSuccess, Details: &metav1.StatusDetails{
		Name: name, Group: r.kind.Group, Kind: r.kind.Plural, UID: o.GetUID(),
	}}, true, nil
}

// change is kubestore's Change, or, in a dry run, what it would do.
func (r *resource) change(ctx context.Context, verb, key string, dry []string, decide kubestore.Decision) (store.Object, error) {
	if !dryrun.IsDryRun(dry) {
		return r.objects.Change(ctx, verb, key, decide)
	}
	old, err := r.objects.Current(key)
	if err != nil {
		return nil, err
	}
	next, err := decide(old)
	if next == nil {
		return old, err
	}
	return next, err
}

// DeleteCollection implements rest.CollectionDeleter: each object that the options select is deleted by itself.
func (r *resource) DeleteCollection(ctx context.Context, validate rest.ValidateObjectFunc, opts *metav1.DeleteOptions,
	selected *metainternal.ListOptions) (runtime.Object, error) {
	if r.kind.Plural == "namespaces" && r.kind.Group == "" {
		return nil, apierrors.NewMethodNotSupported(r.kind.Resource(), "deletecollection")
	}
	list, err := r.List(ctx, selected)
	if err != nil {
		return nil, err
	}
	err = meta.EachListItem(list, func(o runtime.Object) error {
		object := o.(store.Object)
		one := opts.DeepCopy()
		if one.Preconditions == nil {
			one.Preconditions = metav1.NewUIDPreconditions(string(object.GetUID())) // not another one that took its name
		}
		_, _, err := r.Delete(ctx, object.GetName(), validate, one)
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) && opts.Preconditions == nil {
			return nil
		}
		return err
	})
	return list, err
}
