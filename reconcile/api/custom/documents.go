package custom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// documents are the OpenAPI documents of the kinds that are defined.
type documents struct {
	v2      *handler.OpenAPIService
	v3      *handler3.OpenAPIService
	handler http.Handler // of v2
}

func newDocuments() documents {
	d := documents{v2: handler.NewOpenAPIService(emptyDocument()), v3: handler3.NewOpenAPIService()}
	d.v2.RegisterOpenAPIVersionedService("/openapi/v2", register{&d.handler})
	return d
}

// register keeps the handler that a service registers.
type register struct{ to *http.Handler }

func (r register) Handle(_ string, h http.Handler) { *r.to = h }

func emptyDocument() *spec.Swagger {
	return &spec.Swagger{SwaggerProps: spec.SwaggerProps{
		Swagger: "2.0", Info: &spec.Info{}, Paths: &spec.Paths{Paths: map[string]spec.PathItem{}}, Definitions: spec.Definitions{},
	}}
}

// Document is the OpenAPI document (version 2) of what is defined, with a text that changes when it does. It is nil if
// nothing is.
func (s *Server) Document(r *http.Request) (data []byte, version string) {
	m := s.machinery.Load()
	if m == nil {
		return nil, ""
	}
	w := &recorder{header: http.Header{}, code: http.StatusOK}
	asked := r.Clone(r.Context())
	asked.Header = http.Header{"Accept": {"application/json"}}
	if m.documents.handler.ServeHTTP(w, asked); w.code != http.StatusOK {
		return nil, ""
	}
	return w.body.Bytes(), w.header.Get("Etag")
}

// Merge adds a Document to all, the document of the API itself.
func Merge(all, document []byte) ([]byte, error) {
	var whole, part spec.Swagger
	if err := json.Unmarshal(all, &whole); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document of the API: %w", err)
	}
	if err := json.Unmarshal(document, &part); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document of custom resources: %w", err)
	}
	merged, err := builder.MergeSpecs(&whole, &part)
	if err != nil {
		return nil, fmt.Errorf("merge the OpenAPI documents: %w", err)
	}
	return merged.MarshalJSON()
}

// Documents lists the OpenAPI documents (version 3) of what is defined: where they are, by their paths.
func (s *Server) Documents(r *http.Request) map[string]handler3.OpenAPIV3DiscoveryGroupVersion {
	m := s.machinery.Load()
	if m == nil {
		return nil
	}
	w := &recorder{header: http.Header{}, code: http.StatusOK}
	m.v3.HandleDiscovery(w, &http.Request{Method: http.MethodGet, Header: http.Header{}, URL: r.URL})
	var list handler3.OpenAPIV3Discovery
	if json.Unmarshal(w.body.Bytes(), &list) != nil {
		return nil
	}
	return list.Paths
}

// ServeDocument answers with one of Documents.
func (s *Server) ServeDocument(w http.ResponseWriter, r *http.Request) {
	if m := s.machinery.Load(); m != nil {
		m.v3.HandleGroupVersion(w, r)
		return
	}
	http.NotFound(w, r)
}

// recorder is a response that is kept.
type recorder struct {
	header http.Header
	body   bytes.Buffer
	code   int
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(code int)        { w.code = code }
func (w *recorder) Write(p []byte) (int, error) { return w.body.Write(p) }
