package policy

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var (
	namespaceKind          = schema.GroupKind{Kind: "Namespace"}
	roleKind               = schema.GroupKind{Group: rbacv1.GroupName, Kind: "Role"}
	roleBindingKind        = schema.GroupKind{Group: rbacv1.GroupName, Kind: "RoleBinding"}
	clusterRoleKind        = schema.GroupKind{Group: rbacv1.GroupName, Kind: "ClusterRole"}
	clusterRoleBindingKind = schema.GroupKind{Group: rbacv1.GroupName, Kind: "ClusterRoleBinding"}
)

// Defaults gives the built-in roles and bindings, at each start, what they lack: so that a role that somebody damaged
// comes back. What somebody added stays, and what is annotated with autoupdate "false" is left alone.
type Defaults struct{}

// Name implements control.Controller.
func (Defaults) Name() string { return "rbac-defaults" }

// Owns implements control.Controller.
func (Defaults) Owns() []control.Owned {
	return []control.Owned{{Kind: clusterRoleKind}, {Kind: clusterRoleBindingKind}, {Kind: roleKind}, {Kind: roleBindingKind}}
}

// FirstKey implements control.Starter.
func (Defaults) FirstKey() store.Key { return store.Key{Kind: clusterRoleKind} }

// Watches implements control.Controller: roles of a namespace wait for it.
func (d Defaults) Watches() []control.Watch {
	return []control.Watch{{Kind: namespaceKind, Keys: func(_ *store.Snapshot, c store.Change) []store.Key {
		if c.Old != nil || c.New.GetName() != metav1.NamespaceSystem {
			return nil
		}
		return []store.Key{d.FirstKey()}
	}}}
}

// Plan implements control.Controller.
func (Defaults) Plan(w control.World, _ store.Key) (control.Plan, error) {
	var p control.Plan
	for _, want := range Objects() {
		if ns, ok := store.Get[*corev1.Namespace](w.Snapshot, "", want.GetNamespace()); want.GetNamespace() != "" && (!ok || ns.DeletionTimestamp != nil) {
			continue
		}
		live, ok := w.Get(w.Key(want))
		switch {
		case !ok:
			p.Create(want, "every cluster has it")
		case live.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] == "false" || live.GetDeletionTimestamp() != nil:
		case otherRole(live, want):
			p.Delete(live, "it is of another role")
			p.Again(time.Second)
		default:
			if next := completed(live, want); !equality.Semantic.DeepEqual(live, next) {
				p.Update(next, "it lacks something that it had built in")
			}
		}
	}
	return p, nil
}

// otherRole tells whether a binding is of another role than it should be, which cannot be changed.
func otherRole(live, want store.Object) bool {
	switch want := want.(type) {
	case *rbacv1.ClusterRoleBinding:
		return live.(*rbacv1.ClusterRoleBinding).RoleRef != want.RoleRef
	case *rbacv1.RoleBinding:
		return live.(*rbacv1.RoleBinding).RoleRef != want.RoleRef
	}
	return false
}

// completed is live with what it lacks of want.
func completed(live, want store.Object) store.Object {
	next := live.DeepCopyObject().(store.Object)
	next.SetLabels(merged(want.GetLabels(), live.GetLabels()))
	next.SetAnnotations(merged(want.GetAnnotations(), live.GetAnnotations()))
	switch next := next.(type) {
	case *rbacv1.ClusterRole:
		want := want.(*rbacv1.ClusterRole)
		next.Rules = withRules(next.Rules, want.Rules)
		next.AggregationRule = withSelectors(next.AggregationRule, want.AggregationRule)
	case *rbacv1.Role:
		next.Rules = withRules(next.Rules, want.(*rbacv1.Role).Rules)
	case *rbacv1.ClusterRoleBinding:
		next.Subjects = withSubjects(next.Subjects, want.(*rbacv1.ClusterRoleBinding).Subjects)
	case *rbacv1.RoleBinding:
		next.Subjects = withSubjects(next.Subjects, want.(*rbacv1.RoleBinding).Subjects)
	}
	return next
}

// merged has all of both; what is in over counts.
func merged(base, over map[string]string) map[string]string {
	all := maps.Clone(base)
	maps.Copy(all, over)
	return all
}

func withRules(live, want []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	_, missing := validation.Covers(live, want)
	return append(live, missing...)
}

func withSelectors(live, want *rbacv1.AggregationRule) *rbacv1.AggregationRule {
	if want == nil {
		return live
	}
	if live == nil {
		return want
	}
	for _, s := range want.ClusterRoleSelectors {
		if !slices.ContainsFunc(live.ClusterRoleSelectors, func(l metav1.LabelSelector) bool { return equality.Semantic.DeepEqual(l, s) }) {
			live.ClusterRoleSelectors = append(live.ClusterRoleSelectors, s)
		}
	}
	return live
}

func withSubjects(live, want []rbacv1.Subject) []rbacv1.Subject {
	for _, s := range want {
		if !slices.Contains(live, s) {
			live = append(live, s)
		}
	}
	return live
}
