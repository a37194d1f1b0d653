package rbac

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Escalates tells which of rules who does not have in a namespace, or "" in the cluster: nil if none. To give them away
// would be to gain them. The error is for users, in the words of Kubernetes.
func Escalates(s *store.Snapshot, who user.Info, namespace string, rules []rbacv1.PolicyRule) error {
	own, unknown := RulesFor(s, who, namespace)
	covered, missing := validation.Covers(own, rules)
	if covered {
		return nil
	}
	var lines []string
	for _, r := range Compact(missing) {
		lines = append(lines, describe(r))
	}
	slices.Sort(lines)
	text := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		who.GetName(), who.GetGroups(), strings.Join(slices.Compact(lines), "\n"))
	if unknown != nil {
		text += fmt.Sprintf("; resolution errors: %v", unknown)
	}
	return errors.New(text)
}

// Compact joins rules of one group, resource and name that differ in their verbs, and leaves the rest as it is. The order is
// that of the first of each.
func Compact(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	type about struct{ group, resource, name string }
	var all []rbacv1.PolicyRule
	at := map[about]int{}
	for _, r := range rules {
		if len(r.APIGroups) != 1 || len(r.Resources) != 1 || len(r.ResourceNames) > 1 || len(r.NonResourceURLs) > 0 {
			all = append(all, *r.DeepCopy())
			continue
		}
		k := about{group: r.APIGroups[0], resource: r.Resources[0]}
		if len(r.ResourceNames) == 1 {
			k.name = "=" + r.ResourceNames[0]
		}
		i, ok := at[k]
		if !ok {
			at[k] = len(all)
			all = append(all, *r.DeepCopy())
			continue
		}
		for _, v := range r.Verbs {
			if !slices.Contains(all[i].Verbs, v) {
				all[i].Verbs = append(all[i].Verbs, v)
			}
		}
	}
	return all
}

// describe writes a rule as Kubernetes does: what it does not say is left out.
func describe(r rbacv1.PolicyRule) string {
	var parts []string
	for _, p := range []struct {
		name   string
		values []string
	}{
		{"APIGroups", r.APIGroups}, {"Resources", r.Resources}, {"NonResourceURLs", r.NonResourceURLs},
		{"ResourceNames", r.ResourceNames}, {"Verbs", r.Verbs},
	} {
		if len(p.values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", p.name, p.values))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
