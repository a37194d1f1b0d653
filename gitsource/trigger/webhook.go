package trigger

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
)

// maxBody is what forges send at most.
const maxBody = 25 << 20

// Secrets knows which sources have a webhook. It is asked for names as strangers send them.
type Secrets interface {
	// Secret returns what signs the requests for a source. ok is false if there is no such source, or it has no webhook.
	Secret(namespace, name string) (secret []byte, ok bool)
}

// Webhooks takes POST requests to /NAMESPACE/NAME that are signed as forges do: with the HMAC-SHA256 of the body in
// X-Hub-Signature-256 (sha256=...) or X-Signature. It answers 202 and has the source looked at. What is in the body does not
// matter, so a request that is sent again does no harm, and a forger gains nothing but a look.
type Webhooks struct {
	Secrets Secrets
	// Look has a source looked at. It must return at once, and take many calls for one.
	Look func(namespace, name string)
}

var _ http.Handler = (*Webhooks)(nil)

// ServeHTTP answers 202, or 401 for a signature that is not right, and 404 without more for all else, so that a stranger
// does not learn which sources there are: a source without webhook, and none at all, are 401 too.
func (h *Webhooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	namespace, name, ok := parsePath(r.URL.Path)
	if !ok || r.Method != http.MethodPost {
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, http.StatusText(http.StatusRequestEntityTooLarge), http.StatusRequestEntityTooLarge)
		return
	}
	secret, known := h.Secrets.Secret(namespace, name)
	signed := Signed(r.Header, body, secret) // also if it is not known: it must not take less time
	if !known || !signed || len(secret) == 0 {
		http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
		return
	}
	h.Look(namespace, name)
	w.WriteHeader(http.StatusAccepted)
}

func parsePath(path string) (namespace, name string, ok bool) {
	namespace, name, ok = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return namespace, name, ok && namespace != "" && name != "" && !strings.Contains(name, "/")
}

// Signed says whether a header carries the signature of body by secret.
func Signed(header http.Header, body, secret []byte) bool {
	text := cmp.Or(header.Get("X-Hub-Signature-256"), header.Get("X-Signature"))
	text, ok := strings.CutPrefix(text, "sha256=")
	got, err := hex.DecodeString(text)
	mac := hmac.New(sha256.New, secret)
	io.Copy(mac, bytes.NewReader(body))
	return hmac.Equal(got, mac.Sum(nil)) && ok && err == nil
}
