package access

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
)

// Paths that anybody may ask, without saying who they are.
const (
	livez  = "/livez"
	readyz = "/readyz"
)

// Authenticator tells who sent a request. A client certificate of the authority names its user by CN and its groups by O.
// A bearer token is that of a service account, which accounts knows (nil: none is known), or names whom tokenFile says:
// lines of token,user,uid,"group1,group2", as kube-apiserver's token auth file; "" or a file that does not exist has none.
// The others are asked about bearer tokens too. Everybody else is nobody, and refused, but for /livez and /readyz.
func (a *Authority) Authenticator(tokenFile string, accounts authenticator.Token, others []authenticator.Token, now func() time.Time) (authenticator.Request, error) {
	certificates := x509request.New(x509.VerifyOptions{
		Roots:     a.Pool(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, x509request.CommonNameUserConversion)
	known := []authenticator.Request{&remembering{next: certificates, authority: a, now: now}}
	if accounts != nil {
		known = append(known, bearertoken.New(accounts))
	}
	for _, o := range others {
		known = append(known, bearertoken.New(authenticator.WrapAudienceAgnosticToken(authenticator.Audiences{IssuerName}, o)))
	}
	if tokenFile != "" {
		tokens, err := tokenfile.NewCSV(tokenFile)
		switch {
		case err == nil:
			known = append(known, bearertoken.New(authenticator.WrapAudienceAgnosticToken(authenticator.Audiences{IssuerName}, tokens)))
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("read tokens of %s: %w", tokenFile, err)
		}
	}
	nobody := anonymous.NewAuthenticator([]apiserver.AnonymousAuthCondition{{Path: livez}, {Path: readyz}})
	return union.New(group.NewAuthenticatedGroupAdder(union.New(known...)), nobody), nil
}
