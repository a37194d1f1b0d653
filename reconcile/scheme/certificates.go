package scheme

import (
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/columns"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/validate"
)

func certificatesKinds() []*Kind {
	return []*Kind{
		typed(Kind{GroupVersionKind: certificatesv1.SchemeGroupVersion.WithKind("CertificateSigningRequest"), Plural: "certificatesigningrequests",
			Short: list("csr"), Status: true, Others: list("approval")}, rules[*certificatesv1.CertificateSigningRequest]{
			create: createSigningRequest, change: changeSigningRequest, changeState: changeSigningRequestStatus,
			validate: validate.CertificateSigningRequest, update: validate.CertificateSigningRequestUpdate, status: validate.CertificateSigningRequestStatusUpdate,
			table: columns.CertificateSigningRequests(), labels: list("spec.signerName"),
			fields: func(r *certificatesv1.CertificateSigningRequest, set fields.Set) {
				set["spec.signerName"] = r.Spec.SignerName
			},
		}),
	}
}

// createSigningRequest: who asks is not for them to say.
func createSigningRequest(r *certificatesv1.CertificateSigningRequest, _ time.Time) {
	r.Spec.Username, r.Spec.UID, r.Spec.Groups, r.Spec.Extra = "", "", nil, nil
}

// changeSigningRequest: what is asked for stays.
func changeSigningRequest(new, old *certificatesv1.CertificateSigningRequest) {
	new.Spec = old.DeepCopy().Spec
}

// changeSigningRequestStatus: who writes the status does not decide.
func changeSigningRequestStatus(new, old *certificatesv1.CertificateSigningRequest) {
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		had, has := conditionsOf(old, t), conditionsOf(new, t)
		if len(had) != len(has) {
			continue // refused by validation
		}
		for i := range had {
			*has[i] = *had[i].DeepCopy()
		}
	}
}

func conditionsOf(r *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) []*certificatesv1.CertificateSigningRequestCondition {
	var all []*certificatesv1.CertificateSigningRequestCondition
	for i := range r.Status.Conditions {
		if r.Status.Conditions[i].Type == t {
			all = append(all, &r.Status.Conditions[i])
		}
	}
	return all
}

// PrepareApproval is PrepareUpdate for a write to the approval subresource: of new, only the conditions remain.
func PrepareApproval(new, old *certificatesv1.CertificateSigningRequest, now time.Time) {
	keepIdentity(new, old)
	StampConditions(new, old, now)
	conditions, was := new.Status.Conditions, old.DeepCopy()
	new.Spec, new.Status = was.Spec, was.Status
	new.Status.Conditions = conditions
}

// StampConditions gives new's conditions the times that they lack.
func StampConditions(new, old *certificatesv1.CertificateSigningRequest, now time.Time) {
	for i := range new.Status.Conditions {
		c := &new.Status.Conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = stamp(now)
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = stamp(now)
		for _, had := range conditionsOf(old, c.Type) {
			if had.Status == c.Status && !had.LastTransitionTime.IsZero() {
				c.LastTransitionTime = had.LastTransitionTime
				break
			}
		}
	}
}

// ValidateApproval is ValidateUpdate for a write to the approval subresource.
func ValidateApproval(new, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	return validate.CertificateSigningRequestApproval(new, old)
}
