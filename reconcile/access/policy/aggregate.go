package policy

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Aggregation gives the cluster roles that gather others the rules of those.
type Aggregation struct{}

// Name implements control.Controller.
func (Aggregation) Name() string { return "clusterrole-aggregation-controller" }

// Owns implements control.Controller.
func (Aggregation) Owns() []control.Owned { return []control.Owned{{Kind: clusterRoleKind}} }

// Watches implements control.Controller: any role may be gathered, so that all that gather are looked at together.
func (Aggregation) Watches() []control.Watch {
	return []control.Watch{{Kind: clusterRoleKind, Keys: func(*store.Snapshot, store.Change) []store.Key {
		return []store.Key{{Kind: clusterRoleKind}}
	}}}
}

// Plan implements control.Controller. A role that gathers one that gathers follows by the next plan.
func (Aggregation) Plan(w control.World, _ store.Key) (control.Plan, error) {
	var p control.Plan
	for r := range store.List[*rbacv1.ClusterRole](w.Snapshot) {
		if r.AggregationRule == nil || r.DeletionTimestamp != nil {
			continue
		}
		if rules := gathered(w.Snapshot, r); !equality.Semantic.DeepEqual(rules, r.Rules) {
			next := r.DeepCopy()
			next.Rules = rules
			p.Update(next, "what it gathers has changed")
		}
	}
	return p, nil
}

// gathered are the rules of all roles that r selects, in the order of their names, each rule once.
func gathered(s *store.Snapshot, r *rbacv1.ClusterRole) []rbacv1.PolicyRule {
	var selectors []labels.Selector
	for i := range r.AggregationRule.ClusterRoleSelectors {
		if sel, err := metav1.LabelSelectorAsSelector(&r.AggregationRule.ClusterRoleSelectors[i]); err == nil {
			selectors = append(selectors, sel)
		}
	}
	var all []rbacv1.PolicyRule
	for other := range store.List[*rbacv1.ClusterRole](s) {
		selected := func(sel labels.Selector) bool { return sel.Matches(labels.Set(other.Labels)) }
		if other.Name == r.Name || !slices.ContainsFunc(selectors, selected) {
			continue
		}
		for _, rule := range other.Rules {
			if !slices.ContainsFunc(all, func(have rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(have, rule) }) {
				all = append(all, *rule.DeepCopy())
			}
		}
	}
	return all
}
