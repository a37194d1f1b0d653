package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/munnerz/goautoneg"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"

	"github.com/mainstay-gitops/mainstay/reconcile/api/custom"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/openapi"
)

// The media types of OpenAPI documents in protobuf, which some clients ask for.
const (
	protoV2 = "com.github.proto-openapi.spec.v2"
	protoV3 = "com.github.proto-openapi.spec.v3"
)

// documents answers /openapi/v2 and /openapi/v3 from what is embedded.
type documents struct {
	all    *openapi.Documents
	custom *custom.Server
	now    func() time.Time
}

func (s *Server) installOpenAPI() {
	d := documents{s.Documents, s.custom, s.Now}
	mux := s.generic.Handler.NonGoRestfulMux
	mux.HandleFunc("/openapi/v2", d.v2)
	mux.HandleFunc("/openapi/v3", d.index)
	mux.UnlistedHandlePrefix("/openapi/v3/", http.HandlerFunc(d.v3))
}

func (d documents) v2(w http.ResponseWriter, r *http.Request) {
	doc, ok := d.all.Find("v2")
	if !ok {
		http.NotFound(w, r)
		return
	}
	if part, version := d.custom.Document(r); part != nil {
		d.merged(w, r, doc, part, version)
		return
	}
	d.serve(w, r, doc, protoV2, handler.ToProtoBinary)
}

// merged answers with doc and part, which is of custom resources. Nobody keeps it.
func (d documents) merged(w http.ResponseWriter, r *http.Request, doc openapi.Document, part []byte, version string) {
	h, etag := w.Header(), `"`+doc.Hash+"-"+strings.Trim(version, `"`)+`"`
	h.Set("Vary", "Accept")
	h.Set("Etag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	data, err := doc.JSON()
	if err == nil {
		data, err = custom.Merge(data, part)
	}
	h.Set("Content-Type", "application/json")
	if err == nil && wantsProto(r, protoV2) {
		h.Set("Content-Type", "application/"+protoV2+".v1.0+protobuf")
		data, err = handler.ToProtoBinary(data)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(data) // a client that has gone needs no answer
}

func (d documents) v3(w http.ResponseWriter, r *http.Request) {
	doc, ok := d.all.Find("v3/" + strings.TrimPrefix(r.URL.Path, "/openapi/v3/"))
	if !ok {
		d.custom.ServeDocument(w, r)
		return
	}
	d.serve(w, r, doc, protoV3, handler3.ToV3ProtoBinary)
}

// index lists the documents of version 3, each with its hash, so that clients can keep them.
func (d documents) index(w http.ResponseWriter, r *http.Request) {
	all, err := d.all.List()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	list := handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	maps.Copy(list.Paths, d.custom.Documents(r))
	for _, doc := range all {
		if path, ok := strings.CutPrefix(doc.Name, "v3/"); ok {
			list.Paths[path] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: "/openapi/v3/" + path + "?hash=" + doc.Hash}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list) // a client that has gone needs no answer
}

// serve writes a document: as it is kept, if the client takes JSON and gzip.
func (d documents) serve(w http.ResponseWriter, r *http.Request, doc openapi.Document, proto string, toProto func([]byte) ([]byte, error)) {
	h, etag := w.Header(), `"`+doc.Hash+`"`
	h.Set("Vary", "Accept, Accept-Encoding")
	h.Set("Etag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if hash := r.URL.Query().Get("hash"); hash != "" {
		if hash != doc.Hash {
			now := url.URL{Path: r.URL.Path, RawQuery: url.Values{"hash": {doc.Hash}}.Encode()}
			http.Redirect(w, r, now.String(), http.StatusMovedPermanently)
			return
		}
		h.Set("Cache-Control", "public, immutable")
		h.Set("Expires", d.now().UTC().AddDate(1, 0, 0).Format(http.TimeFormat))
	}
	data, err := doc.Gzip()
	packed := err == nil && !wantsProto(r, proto) && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
	if err == nil && !packed {
		data, err = doc.JSON()
	}
	h.Set("Content-Type", "application/json")
	switch {
	case err == nil && packed:
		h.Set("Content-Encoding", "gzip")
	case err == nil && wantsProto(r, proto):
		h.Set("Content-Type", "application/"+proto+".v1.0+protobuf")
		data, err = toProto(data)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(data) // a client that has gone needs no answer
}

// wantsProto tells whether the client would rather have protobuf than JSON.
func wantsProto(r *http.Request, proto string) bool {
	for _, a := range goautoneg.ParseAccept(r.Header.Get("Accept")) {
		switch {
		case strings.HasPrefix(a.SubType, proto):
			return true
		case a.SubType == "json" || a.SubType == "*":
			return false
		}
	}
	return false
}
