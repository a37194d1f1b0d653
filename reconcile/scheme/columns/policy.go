package columns

import (
	"time"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// PodDisruptionBudgets shows how much may be disrupted.
func PodDisruptionBudgets() Table[*policyv1.PodDisruptionBudget] {
	return Table[*policyv1.PodDisruptionBudget]{
		header("Name,Min Available,Max Unavailable,Allowed Disruptions:integer,Age"),
		func(b *policyv1.PodDisruptionBudget, now time.Time) []any {
			return []any{b.Name, share(b.Spec.MinAvailable), share(b.Spec.MaxUnavailable), int64(b.Status.DisruptionsAllowed), created(b, now)}
		},
	}
}

func share(v *intstr.IntOrString) string {
	if v == nil {
		return "N/A"
	}
	return v.String()
}
