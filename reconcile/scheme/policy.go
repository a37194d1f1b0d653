package scheme

import (
	policyv1 "k8s.io/api/policy/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/columns"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/validate"
)

func policyKinds() []*Kind {
	return []*Kind{
		typed(Kind{GroupVersionKind: policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"), Plural: "poddisruptionbudgets", Short: list("pdb"), Namespaced: true, Status: true}, rules[*policyv1.PodDisruptionBudget]{
			generation: true, validate: validate.PodDisruptionBudget, update: validate.PodDisruptionBudgetUpdate, status: validate.PodDisruptionBudgetStatusUpdate,
			table: columns.PodDisruptionBudgets(),
		}),
	}
}
