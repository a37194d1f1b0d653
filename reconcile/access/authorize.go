package access

import (
	"context"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Where the API tells whose tokens it knows.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	KeysPath      = "/openid/v1/jwks"
)

// Authorizer says who may do what: members of system:masters anything, everybody who is known may discover what the API
// serves, whose tokens it knows, whether it is well and who they are themselves, and nobody anything else. There are no
// roles yet: RBAC takes this place.
func Authorizer() authorizer.Authorizer { return authorizer.AuthorizerFunc(authorize) }

func authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	groups := a.GetUser().GetGroups()
	switch {
	case slices.Contains(groups, user.SystemPrivilegedGroup):
		return authorizer.DecisionAllow, "", nil
	case slices.Contains(groups, user.AllAuthenticated) && aboutSelf(a):
		return authorizer.DecisionAllow, "", nil
	case a.IsResourceRequest() || a.GetVerb() != "get" && a.GetVerb() != "head":
		return authorizer.DecisionNoOpinion, "only members of " + user.SystemPrivilegedGroup + " may, as there are no roles yet", nil
	case a.GetPath() == livez || a.GetPath() == readyz:
		return authorizer.DecisionAllow, "", nil
	case slices.Contains(groups, user.AllAuthenticated) && discovery(a.GetPath()):
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// aboutSelf tells whether somebody asks who they are.
func aboutSelf(a authorizer.Attributes) bool {
	return a.IsResourceRequest() && a.GetVerb() == "create" && a.GetAPIGroup() == authenticationv1.GroupName && a.GetResource() == "selfsubjectreviews"
}

// discovery tells whether path says what is served, and how well.
func discovery(path string) bool {
	switch root, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/"); root {
	case "api", "apis", "openapi", "version", "healthz", "livez", "readyz":
		return true
	case ".well-known", "openid":
		return path == DiscoveryPath || path == KeysPath
	}
	return false
}
