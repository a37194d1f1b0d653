package lifecycle

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/admit"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var (
	quotaKind         = schema.GroupKind{Kind: "ResourceQuota"}
	priorityClassKind = schema.GroupKind{Group: "scheduling.k8s.io", Kind: "PriorityClass"}
)

// Quotas keeps what each quota says of its use as it is. What is created takes its part in the transaction that creates it; what
// is changed from inside, or is gone, gives it back here.
type Quotas struct{}

func (Quotas) Name() string { return "resourcequota-controller" }

func (Quotas) Owns() []control.Owned {
	return []control.Owned{{Kind: quotaKind, Part: control.Status}}
}

func (Quotas) Watches() []control.Watch {
	return []control.Watch{{Kind: quotaKind}, {Keys: admit.Counted}}
}

// Plan measures a quota.
func (Quotas) Plan(w control.World, key store.Key) (control.Plan, error) {
	var p control.Plan
	q, ok := store.Get[*corev1.ResourceQuota](w.Snapshot, key.Namespace, key.Name)
	if !ok {
		return p, nil
	}
	status := corev1.ResourceQuotaStatus{Hard: q.Spec.Hard, Used: w.Admission.Used(w.Snapshot, q, w.Now)}
	if !equality.Semantic.DeepEqual(q.Status, status) {
		next := q.DeepCopy()
		next.Status = *status.DeepCopy()
		p.Status(next, "what is used was measured")
	}
	return p, nil
}
