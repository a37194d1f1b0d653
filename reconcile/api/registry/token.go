package registry

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/api/kubestore"
)

// tokens serve serviceaccounts/token: they make tokens, and keep none.
type tokens struct {
	accounts *resource
	store    kubestore.Store
	issuer   *access.Issuer
}

var (
	_ rest.NamedCreater             = (*tokens)(nil)
	_ rest.GroupVersionKindProvider = (*tokens)(nil)
)

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (*tokens) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
}

// New implements rest.Storage.
func (*tokens) New() runtime.Object { return &authenticationv1.TokenRequest{} }

// Destroy implements rest.Storage.
func (*tokens) Destroy() {}

// Create implements rest.NamedCreater.
func (t *tokens) Create(ctx context.Context, name string, o runtime.Object, validate rest.ValidateObjectFunc, opts *metav1.CreateOptions) (runtime.Object, error) {
	r := o.(*authenticationv1.TokenRequest)
	found, err := t.accounts.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	account := found.(*corev1.ServiceAccount)
	switch {
	case r.Name == "":
		r.Name = account.Name
	case r.Name != account.Name:
		return nil, apierrors.NewBadRequest("name in URL does not match name in TokenRequest object")
	}
	switch {
	case r.Namespace == "":
		r.Namespace = account.Namespace
	case r.Namespace != account.Namespace:
		return nil, apierrors.NewBadRequest("namespace in URL does not match namespace in TokenRequest object")
	}
	if err := validate(ctx, r.DeepCopy()); err != nil {
		return nil, err
	}
	if err := t.issuer.Grant(t.store.Snapshot(), account, r); err != nil {
		return nil, err
	}
	if len(opts.DryRun) > 0 {
		r.Status.Token = ""
	}
	r.CreationTimestamp = metav1.NewTime(t.accounts.now())
	return r, nil
}
