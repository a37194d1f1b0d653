package rbac

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Authorize tells whether a grant allows what a asks for, and which. It denies nothing: what it does not allow, another
// may. The reason then tells of roles that are missing.
func Authorize(s *store.Snapshot, a authorizer.Attributes) (authorizer.Decision, string) {
	var missing []string
	for g, err := range Grants(s, a.GetUser(), a.GetNamespace()) {
		if err != nil {
			missing = append(missing, err.Error())
		}
		for i := range g.Rules {
			if Allows(&g.Rules[i], a) {
				return authorizer.DecisionAllow, "RBAC: allowed by " + g.String()
			}
		}
	}
	if len(missing) == 0 {
		return authorizer.DecisionNoOpinion, ""
	}
	text := missing[0]
	if len(missing) > 1 {
		text = "[" + strings.Join(missing, ", ") + "]"
	}
	return authorizer.DecisionNoOpinion, "RBAC: " + text
}

// Allows tells whether a rule allows what a asks for.
func Allows(r *rbacv1.PolicyRule, a authorizer.Attributes) bool {
	if !has(r.Verbs, a.GetVerb()) {
		return false
	}
	if !a.IsResourceRequest() {
		return slices.ContainsFunc(r.NonResourceURLs, func(url string) bool {
			prefix, some := strings.CutSuffix(url, "*")
			return url == a.GetPath() || some && strings.HasPrefix(a.GetPath(), prefix)
		})
	}
	return has(r.APIGroups, a.GetAPIGroup()) && hasResource(r.Resources, a.GetResource(), a.GetSubresource()) &&
		(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, a.GetName()))
}

func has(list []string, value string) bool {
	return slices.ContainsFunc(list, func(v string) bool { return v == "*" || v == value })
}

func hasResource(list []string, resource, sub string) bool {
	return slices.ContainsFunc(list, func(v string) bool {
		switch {
		case v == "*" || sub == "" && v == resource:
			return true
		case sub == "":
			return false
		}
		of, part, ok := strings.Cut(v, "/")
		return ok && part == sub && (of == "*" || of == resource)
	})
}

// RulesFor are all rules that who has in a namespace, also in the words of the authorizer. The error joins what is
// missing; the rest is there all the same.
func RulesFor(s *store.Snapshot, who user.Info, namespace string) ([]rbacv1.PolicyRule, error) {
	var all []rbacv1.PolicyRule
	var errs []error
	for g, err := range Grants(s, who, namespace) {
		errs = append(errs, err)
		all = append(all, g.Rules...)
	}
	return all, errors.Join(errs...)
}

// An Authorizer answers by what the state says when it is asked.
type Authorizer struct{ State func() *store.Snapshot }

var _ authorizer.RuleResolver = Authorizer{}

// RulesFor implements authorizer.RuleResolver.
func (z Authorizer) RulesFor(_ context.Context, who user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	var resources []authorizer.ResourceRuleInfo
	var paths []authorizer.NonResourceRuleInfo
	rules, err := RulesFor(z.State(), who, namespace)
	for _, r := range rules {
		if len(r.Resources) > 0 {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{Verbs: r.Verbs, APIGroups: r.APIGroups, Resources: r.Resources, ResourceNames: r.ResourceNames})
		}
		if len(r.NonResourceURLs) > 0 {
			paths = append(paths, &authorizer.DefaultNonResourceRuleInfo{Verbs: r.Verbs, NonResourceURLs: r.NonResourceURLs})
		}
	}
	if err != nil {
		err = fmt.Errorf("RBAC: %w", err)
	}
	return resources, paths, false, err
}
