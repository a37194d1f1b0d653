package access

import (
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
)

// How many certificates are remembered; with one more, all are forgotten.
const rememberedAtMost = 1024

// remembering is an authenticator of client certificates that verifies each of them once, not at each request: that costs
// more than to answer most of them.
type remembering struct {
	next      authenticator.Request
	authority *Authority
	now       func() time.Time

	mu    sync.Mutex
	known map[[sha256.Size]byte]*authenticator.Response
}

// AuthenticateRequest implements authenticator.Request.
func (a *remembering) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return a.next.AuthenticateRequest(r)
	}
	leaf, now := r.TLS.PeerCertificates[0], a.now()
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) || now.After(a.authority.certificate.NotAfter) {
		return a.next.AuthenticateRequest(r) // which says what is wrong with it
	}
	name := sha256.Sum256(leaf.Raw)
	if known := a.recall(name); known != nil {
		return known, true, nil
	}
	who, ok, err := a.next.AuthenticateRequest(r)
	if ok && err == nil {
		a.remember(name, who)
	}
	return who, ok, err
}

func (a *remembering) recall(name [sha256.Size]byte) *authenticator.Response {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known[name]
}

func (a *remembering) remember(name [sha256.Size]byte, who *authenticator.Response) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil || len(a.known) >= rememberedAtMost {
		a.known = map[[sha256.Size]byte]*authenticator.Response{}
	}
	a.known[name] = who
}
