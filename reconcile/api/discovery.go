package api

import (
	"encoding/json"
	"net/http"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
)

// installDiscovery tells those who check tokens by themselves whose tokens there are, and the keys to check them with.
func (s *Server) installDiscovery() {
	if s.Issuer == nil {
		return
	}
	tell := func(path, kind string, what any) {
		s.generic.Handler.NonGoRestfulMux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				http.Error(w, "only GET is understood here", http.StatusMethodNotAllowed)
				return
			}
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Cache-Control", "public, max-age=3600")
			_ = json.NewEncoder(w).Encode(what) // whoever asked is gone if it fails
		})
	}
	tell(access.DiscoveryPath, "application/json", s.Issuer.Discovery("https://"+s.generic.ExternalAddress+access.KeysPath))
	tell(access.KeysPath, "application/jwk-set+json", s.Issuer.Keys())
}
