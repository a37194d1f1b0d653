package access

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/mainstay-gitops/mainstay/reconcile/access/node"
	"github.com/mainstay-gitops/mainstay/reconcile/access/rbac"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Where the API tells whose tokens it knows.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	KeysPath      = "/openid/v1/jwks"
)

// An Authorizer says who may do what, by what the state says when it is asked: members of system:masters anything, also
// when the roles are damaged; everybody whether the server is well; machines what their pods need; and others what roles and
// bindings give them.
type Authorizer struct {
	authorizer.AuthorizerFunc
	state func() *store.Snapshot
}

var (
	_ authorizer.Authorizer   = (*Authorizer)(nil)
	_ authorizer.RuleResolver = (*Authorizer)(nil)
)

// NewAuthorizer makes an Authorizer.
func NewAuthorizer(state func() *store.Snapshot) *Authorizer {
	z := &Authorizer{state: state}
	z.AuthorizerFunc = func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		decision, reason := Authorize(state(), a)
		return decision, reason, nil
	}
	return z
}

// Authorize tells whether a is allowed in a state, and why.
func Authorize(s *store.Snapshot, a authorizer.Attributes) (authorizer.Decision, string) {
	if master(a.GetUser()) || !a.IsResourceRequest() && (a.GetPath() == livez || a.GetPath() == readyz) && (a.GetVerb() == "get" || a.GetVerb() == "head") {
		return authorizer.DecisionAllow, ""
	}
	why := ""
	if name, is := node.Identity(a.GetUser()); is {
		decision, reason := node.Authorize(s, name, a)
		if decision == authorizer.DecisionAllow {
			return decision, reason
		}
		why = reason
	}
	decision, reason := rbac.Authorize(s, a)
	return decision, cmp.Or(reason, why)
}

func master(u user.Info) bool { return slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) }

// RulesFor implements authorizer.RuleResolver.
func (z *Authorizer) RulesFor(ctx context.Context, who user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if master(who) {
		all := []string{"*"}
		return []authorizer.ResourceRuleInfo{&authorizer.DefaultResourceRuleInfo{Verbs: all, APIGroups: all, Resources: all}},
			[]authorizer.NonResourceRuleInfo{&authorizer.DefaultNonResourceRuleInfo{Verbs: all, NonResourceURLs: all}}, false, nil
	}
	resources, paths, incomplete, err := rbac.Authorizer{State: z.state}.RulesFor(ctx, who, namespace)
	if _, is := node.Identity(who); is {
		incomplete, err = true, errors.Join(err, errors.New("node authorizer does not support user rule resolution"))
	}
	return resources, paths, incomplete, err
}
