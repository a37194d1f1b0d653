// Documents writes the OpenAPI documents and the merge schema, compressed, into the folder that is its argument. The
// routes that it describes are installed by k8s.io/apiserver from the table of kinds, with storage that does nothing; so
// this command, which is no part of the program, may import it.
package main

import (
	"bytes"
	"cmp"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/openapi"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: documents FOLDER")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "generate the documents:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	server, err := install(scheme.New(scheme.Options{}))
	if err != nil {
		return err
	}
	w := writer{dir: dir}
	v2, err := server.v2()
	if err != nil {
		return err
	}
	if err := w.put("v2", v2); err != nil {
		return err
	}
	schemas := map[string]*spec.Schema{}
	v3, err := server.v3()
	if err != nil {
		return err
	}
	for path, doc := range v3 {
		if err := w.put("v3/"+path, doc); err != nil {
			return err
		}
		var o spec3.OpenAPI
		if err := json.Unmarshal(doc, &o); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		for name, s := range o.Components.Schemas {
			schemas[name] = s
		}
	}
	merge, err := mergeSchema(schemas)
	if err != nil {
		return err
	}
	if err := w.put(openapi.Schema, merge); err != nil {
		return err
	}
	return w.finish()
}

func mergeSchema(schemas map[string]*spec.Schema) ([]byte, error) {
	s, err := schemaconv.ToSchemaFromOpenAPI(schemas, false)
	if err != nil {
		return nil, fmt.Errorf("make the merge schema: %w", err)
	}
	slices.SortFunc(s.Types, func(a, b schema.TypeDef) int { return cmp.Compare(a.Name, b.Name) })
	for _, t := range s.Types {
		sortFields(t.Atom)
	}
	return openapi.EncodeSchema(&typed.Parser{Schema: schema.Schema{Types: s.Types}})
}

// sortFields gives the same types the same bytes each time.
func sortFields(a schema.Atom) {
	if a.Map != nil {
		slices.SortFunc(a.Fields, func(x, y schema.StructField) int { return cmp.Compare(x.Name, y.Name) })
		for _, f := range a.Fields {
			sortFields(f.Type.Inlined)
		}
		sortFields(a.Map.ElementType.Inlined)
	}
	if a.List != nil {
		sortFields(a.List.ElementType.Inlined)
	}
}

// v2 is the one document of the old form.
func (s server) v2() ([]byte, error) {
	_, doc := routes.OpenAPI{Config: s.config2}.InstallV2(s.container, mux.NewPathRecorderMux("v2"))
	return doc.MarshalJSON()
}

// v3 are the documents of each group and version, as they are served.
func (s server) v3() (map[string][]byte, error) {
	m := mux.NewPathRecorderMux("v3")
	service := routes.OpenAPI{V3Config: s.config3}.InstallV3(s.container, m)
	get := func(url string, answer func(http.ResponseWriter, *http.Request)) ([]byte, error) {
		r := httptest.NewRequest(http.MethodGet, url, nil)
		r.Header.Set("Accept", "application/json")
		w := httptest.NewRecorder()
		if answer(w, r); w.Code != http.StatusOK {
			return nil, fmt.Errorf("get %s: %d %s", url, w.Code, w.Body)
		}
		return w.Body.Bytes(), nil
	}
	b, err := get("/openapi/v3", service.HandleDiscovery)
	if err != nil {
		return nil, err
	}
	var index handler3.OpenAPIV3Discovery
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, err
	}
	docs := map[string][]byte{}
	for path, link := range index.Paths {
		if docs[path], err = get(link.ServerRelativeURL, service.HandleGroupVersion); err != nil {
			return nil, err
		}
	}
	return docs, nil
}

// A writer writes documents and lists them.
type writer struct {
	dir   string
	index []openapi.Document
}

func (w *writer) put(name string, doc []byte) error {
	packed, err := openapi.Pack(doc)
	if err != nil {
		return err
	}
	file := strings.ReplaceAll(name, "/", "_") + ".gz"
	w.index = append(w.index, openapi.Document{Name: name, File: file, Hash: fmt.Sprintf("%X", sha512.Sum512(doc))})
	return os.WriteFile(filepath.Join(w.dir, file), packed, 0o644)
}

// finish writes the index and removes documents that are not in it.
func (w *writer) finish() error {
	slices.SortFunc(w.index, func(a, b openapi.Document) int { return cmp.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "\t")
	if err := e.Encode(w.index); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(w.dir, "*.gz"))
	if err != nil {
		return err
	}
	for _, f := range old {
		if !slices.ContainsFunc(w.index, func(d openapi.Document) bool { return d.File == filepath.Base(f) }) {
			if err := os.Remove(f); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(filepath.Join(w.dir, openapi.Index), b.Bytes(), 0o644)
}
