package registry

import (
	"context"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// requestedBy notes who asks for a certificate.
func requestedBy(ctx context.Context, r *certificatesv1.CertificateSigningRequest) {
	who, ok := request.UserFrom(ctx)
	if !ok {
		return
	}
	r.Spec.Username, r.Spec.UID, r.Spec.Groups = who.GetName(), who.GetUID(), who.GetGroups()
	for k, v := range who.GetExtra() {
		if r.Spec.Extra == nil {
			r.Spec.Extra = map[string]certificatesv1.ExtraValue{}
		}
		r.Spec.Extra[k] = v
	}
}

func newApproval(res *resource) *part {
	return newPart(res, approvalStrategy{res.UpdateStrategy.(strategy)})
}

// approvalStrategy is that of writes to the approval subresource of requests for certificates.
type approvalStrategy struct{ strategy }

// PrepareForUpdate implements rest.RESTUpdateStrategy.
func (s approvalStrategy) PrepareForUpdate(_ context.Context, o, old runtime.Object) {
	scheme.PrepareApproval(o.(*certificatesv1.CertificateSigningRequest), old.(*certificatesv1.CertificateSigningRequest), s.now())
}

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (s approvalStrategy) ValidateUpdate(_ context.Context, o, old runtime.Object) field.ErrorList {
	return scheme.ValidateApproval(o.(*certificatesv1.CertificateSigningRequest), old.(*certificatesv1.CertificateSigningRequest))
}

// GetResetFields implements rest.ResetFieldsStrategy.
func (s approvalStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	set := fieldpath.NewSet(fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("status", "certificate"))
	return map[fieldpath.APIVersion]*fieldpath.Set{fieldpath.APIVersion(s.kind.GroupVersion().String()): set}
}

// stampConditions gives the conditions of a request for a certificate the times that they lack.
func stampConditions(o, old store.Object, now time.Time) {
	if r, ok := o.(*certificatesv1.CertificateSigningRequest); ok {
		scheme.StampConditions(r, old.(*certificatesv1.CertificateSigningRequest), now)
	}
}
