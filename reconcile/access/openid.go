package access

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
)

// OpenID is whose tokens are believed beside those of service accounts: of one OpenID Connect issuer, named by what
// kube-apiserver's --oidc flags say, or of those in a file with an AuthenticationConfiguration of apiserver.config.k8s.io. The
// zero value is nobody.
type OpenID struct {
	File string // excludes all others

	Issuer, Client                string // URL, and the audience that the API is
	UsernameClaim, UsernamePrefix string // "": sub, and the issuer's URL with # before it; prefix "-": none
	GroupsClaim, GroupsPrefix     string // "": no groups
	CAFile                        string // "": the system's
	RequiredClaims                map[string]string
	SigningAlgorithms             []string // none: RS256
}

// none tells whether nobody is named.
func (o *OpenID) none() bool { return o.File == "" && o.Issuer == "" }

// Authenticators are those that know the bearers of the issuers' tokens. What they need to know of the issuers, they go on
// looking for until ctx ends; till then no such token is believed.
func (o *OpenID) Authenticators(ctx context.Context) ([]authenticator.Token, error) {
	if o.none() {
		if o.Client != "" {
			return nil, errors.New("--oidc-client-id: it needs --oidc-issuer-url too")
		}
		return nil, nil
	}
	config, err := o.configuration()
	if err != nil {
		return nil, err
	}
	compiler := cel.NewDefaultCompiler()
	foreign := []string{IssuerName, legacyIssuer}
	errs := validation.ValidateAuthenticationConfiguration(compiler, config, foreign)
	if err := append(errs, unsupportedAuthentication(config)...).ToAggregate(); err != nil {
		return nil, fmt.Errorf("configure OpenID Connect: %w", err)
	}
	var all []authenticator.Token
	for _, j := range config.JWT {
		options := oidc.Options{JWTAuthenticator: j, Compiler: compiler, DisallowedIssuers: foreign, SupportedSigningAlgs: o.algorithms()}
		if ca := j.Issuer.CertificateAuthority; ca != "" {
			options.CAContentProvider = authorities(ca)
		}
		a, err := oidc.New(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("configure OpenID Connect with %s: %w", j.Issuer.URL, err)
		}
		all = append(all, a)
	}
	return all, nil
}

// authorities are certificates in PEM.
type authorities string

// CurrentCABundleContent implements oidc.CAContentProvider.
func (a authorities) CurrentCABundleContent() []byte { return []byte(a) }

// unsupportedAuthentication are the fields that are not done here.
func unsupportedAuthentication(c *apiserver.AuthenticationConfiguration) field.ErrorList {
	var errs field.ErrorList
	if c.Anonymous != nil {
		errs = append(errs, field.Forbidden(field.NewPath("anonymous"), "those who do not say who they are may ask for /livez and /readyz, and nothing else: leave it out"))
	}
	for i, j := range c.JWT {
		if j.Issuer.EgressSelectorType != "" {
			errs = append(errs, field.Forbidden(field.NewPath("jwt").Index(i).Child("issuer", "egressSelectorType"), "there are no egress selectors: leave it out"))
		}
	}
	return errs
}

// algorithms: those of a file may be any that kube-apiserver allows there.
func (o *OpenID) algorithms() []string {
	if o.File != "" {
		return oidc.AllValidSigningAlgorithms()
	}
	return slices.Clone(o.SigningAlgorithms)
}

func (o *OpenID) configuration() (*apiserver.AuthenticationConfiguration, error) {
	if o.File == "" {
		return o.flags()
	}
	if o.Issuer != "" || o.Client != "" {
		return nil, errors.New("--authentication-config: it cannot be used together with --oidc flags")
	}
	data, err := os.ReadFile(o.File)
	if err != nil {
		return nil, fmt.Errorf("read the authentication configuration: %w", err)
	}
	s := runtime.NewScheme()
	install.Install(s)
	decoded, err := runtime.Decode(serializer.NewCodecFactory(s, serializer.EnableStrict).UniversalDecoder(), data)
	if err != nil {
		return nil, fmt.Errorf("read the authentication configuration %s: %w", o.File, err)
	}
	config, ok := decoded.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("read the authentication configuration %s: it holds a %T", o.File, decoded)
	}
	return config, nil
}

// flags is what the flags say, as a configuration.
func (o *OpenID) flags() (*apiserver.AuthenticationConfiguration, error) {
	if o.Client == "" {
		return nil, errors.New("--oidc-issuer-url: it needs --oidc-client-id too")
	}
	claim, prefix := o.UsernameClaim, o.UsernamePrefix
	if claim == "" {
		claim = "sub"
	}
	switch {
	case prefix == "-":
		prefix = ""
	case prefix == "" && claim != "email":
		prefix = o.Issuer + "#"
	}
	j := apiserver.JWTAuthenticator{
		Issuer:        apiserver.Issuer{URL: o.Issuer, Audiences: []string{o.Client}},
		ClaimMappings: apiserver.ClaimMappings{Username: apiserver.PrefixedClaimOrExpression{Claim: claim, Prefix: &prefix}},
	}
	if o.GroupsClaim != "" {
		j.ClaimMappings.Groups = apiserver.PrefixedClaimOrExpression{Claim: o.GroupsClaim, Prefix: &o.GroupsPrefix}
	}
	if o.CAFile != "" {
		ca, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--oidc-ca-file: %w", err)
		}
		j.Issuer.CertificateAuthority = string(ca)
	}
	for _, name := range slices.Sorted(maps.Keys(o.RequiredClaims)) {
		j.ClaimValidationRules = append(j.ClaimValidationRules, apiserver.ClaimValidationRule{Claim: name, RequiredValue: o.RequiredClaims[name]})
	}
	return &apiserver.AuthenticationConfiguration{JWT: []apiserver.JWTAuthenticator{j}}, nil
}
