package columns

import (
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// CustomResourceDefinitions shows when they were made.
func CustomResourceDefinitions() Table[*apiextensionsv1.CustomResourceDefinition] {
	h := header("Name,Created At")
	h[1].Type = "date"
	return Table[*apiextensionsv1.CustomResourceDefinition]{h, func(d *apiextensionsv1.CustomResourceDefinition, _ time.Time) []any {
		return []any{d.Name, d.CreationTimestamp.UTC().Format(time.RFC3339)}
	}}
}

// APIServices shows who serves them, and whether they can be reached.
func APIServices() Table[*apiregistrationv1.APIService] {
	return Table[*apiregistrationv1.APIService]{header("Name,Service,Available,Age"), func(s *apiregistrationv1.APIService, now time.Time) []any {
		service := "Local"
		if r := s.Spec.Service; r != nil {
			service = r.Namespace + "/" + r.Name
		}
		available := string(apiregistrationv1.ConditionUnknown)
		for _, c := range s.Status.Conditions {
			if c.Type != apiregistrationv1.Available {
				continue
			}
			available = string(c.Status)
			if c.Status != apiregistrationv1.ConditionTrue && c.Reason != "" {
				available = fmt.Sprintf("%s (%s)", c.Status, c.Reason)
			}
		}
		return []any{s.Name, service, available, created(s, now)}
	}}
}
