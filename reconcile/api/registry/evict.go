package registry

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"

	"github.com/mainstay-gitops/mainstay/reconcile/disruption"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// evictions delete pods as far as disruption budgets allow it.
type evictions struct{ pods *resource }

var (
	_ rest.NamedCreater             = (*evictions)(nil)
	_ rest.GroupVersionKindProvider = (*evictions)(nil)
)

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (*evictions) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return policyv1.SchemeGroupVersion.WithKind("Eviction")
}

// New implements rest.Storage.
func (*evictions) New() runtime.Object { return &policyv1.Eviction{} }

// Destroy implements rest.Storage.
func (*evictions) Destroy() {}

// errDry ends a transaction that is not meant.
var errDry = errors.New("this is a dry run")

// Create implements rest.NamedCreater. The budget is asked, and taken from, in the transaction that ends the pod.
func (e *evictions) Create(ctx context.Context, name string, o runtime.Object, validate rest.ValidateObjectFunc, opts *metav1.CreateOptions) (runtime.Object, error) {
	eviction := o.(*policyv1.Eviction)
	if eviction.Name != name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	if err := validate(ctx, eviction.DeepCopy()); err != nil {
		return nil, err
	}
	how := metav1.DeleteOptions{}
	if eviction.DeleteOptions != nil {
		how = *eviction.DeleteOptions.DeepCopy()
	}
	dry := dryrun.IsDryRun(how.DryRun) || dryrun.IsDryRun(opts.DryRun)
	key, err := e.pods.KeyFunc(ctx, name)
	if err != nil {
		return nil, err
	}
	err = e.pods.objects.Transact(ctx, "eviction", key, func(tx *store.Tx, k store.Key) error {
		if err := e.evict(tx, k, how); err != nil || !dry {
			return err
		}
		return errDry
	})
	if err != nil && !errors.Is(err, errDry) {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

func (e *evictions) evict(tx *store.Tx, k store.Key, how metav1.DeleteOptions) error {
	o, ok := tx.Get(k)
	if !ok {
		return apierrors.NewNotFound(e.pods.kind.Resource(), k.Name)
	}
	pod, now := o.(*corev1.Pod), e.pods.now()
	budget, err := disruption.Take(tx.Snapshot, pod, now)
	if err != nil {
		return err
	}
	// Preconditions are about the pod as it is, not as it becomes by this.
	next, gone, err := e.pods.kind.Delete(pod, how, now)
	if err != nil {
		return err
	}
	if budget != nil {
		if err := tx.Update(budget); err != nil {
			return err
		}
	}
	switch {
	case gone:
		return tx.Delete(k)
	case next != o:
		return tx.Update(disruption.Evicted(next.(*corev1.Pod), now))
	}
	return nil
}
