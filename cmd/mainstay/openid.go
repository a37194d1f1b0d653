package main

import (
	"github.com/spf13/pflag"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
)

// openIDFlags are those of kube-apiserver by which it believes an OpenID Connect issuer.
func openIDFlags(f *pflag.FlagSet, o *access.OpenID) {
	f.StringVar(&o.File, "authentication-config", "", "file with an AuthenticationConfiguration (apiserver.config.k8s.io): whose tokens the API believes; read once, at the start")
	f.StringVar(&o.Issuer, "oidc-issuer-url", "", "URL of an OpenID Connect issuer whose tokens the API believes")
	f.StringVar(&o.Client, "oidc-client-id", "", "audience that its tokens must be for")
	f.StringVar(&o.UsernameClaim, "oidc-username-claim", "sub", "claim that names the user")
	f.StringVar(&o.UsernamePrefix, "oidc-username-prefix", "", "what is put before it (default: the issuer's URL and #, but nothing before email; -: nothing)")
	f.StringVar(&o.GroupsClaim, "oidc-groups-claim", "", "claim that names the groups (default: none does)")
	f.StringVar(&o.GroupsPrefix, "oidc-groups-prefix", "", "what is put before each of them")
	f.StringVar(&o.CAFile, "oidc-ca-file", "", "certificates of the authorities that the issuer's is signed by (default: the system's)")
	f.StringToStringVar(&o.RequiredClaims, "oidc-required-claim", nil, "claim=value that a token must have; may be repeated")
	f.StringSliceVar(&o.SigningAlgorithms, "oidc-signing-algs", []string{"RS256"}, "algorithms that its tokens may be signed with")
}
