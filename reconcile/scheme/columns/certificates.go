package columns

import (
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// CertificateSigningRequests shows who asks whom, and what became of it.
func CertificateSigningRequests() Table[*certificatesv1.CertificateSigningRequest] {
	return Table[*certificatesv1.CertificateSigningRequest]{
		header("Name,Age,SignerName,Requestor,RequestedDuration,Condition"),
		func(r *certificatesv1.CertificateSigningRequest, now time.Time) []any {
			asked := none
			if s := r.Spec.ExpirationSeconds; s != nil {
				asked = duration.HumanDuration(time.Duration(*s) * time.Second)
			}
			return []any{r.Name, created(r, now), or(r.Spec.SignerName, none), r.Spec.Username, asked, decision(r)}
		},
	}
}

func decision(r *certificatesv1.CertificateSigningRequest) string {
	seen := map[certificatesv1.RequestConditionType]bool{}
	for _, c := range r.Status.Conditions {
		seen[c.Type] = true
	}
	text := "Pending"
	switch {
	case seen[certificatesv1.CertificateDenied]:
		text = "Denied"
	case seen[certificatesv1.CertificateApproved]:
		text = "Approved"
	}
	if seen[certificatesv1.CertificateFailed] {
		text += ",Failed"
	}
	if len(r.Status.Certificate) > 0 {
		text += ",Issued"
	}
	return text
}
