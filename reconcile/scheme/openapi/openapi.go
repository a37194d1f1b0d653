// Package openapi holds the OpenAPI documents of the served kinds, and the schema by which they are merged. All of it is
// generated, embedded compressed, and unpacked only when somebody asks.
package openapi

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

//go:generate go run ./generate/code
//go:generate go run ./generate/documents data

//go:embed data
var data embed.FS

// Index is the name of the file that lists the documents.
const Index = "index.json"

// Schema is the name of the merge schema among the documents.
const Schema = "schema"

// A Document is one OpenAPI document.
type Document struct {
	Name string // "v2", or "v3/" and a path below /openapi/v3: "v3/apis/apps/v1"
	File string
	Hash string // of the JSON, as kube-apiserver makes it: the ETag, and the hash in the links of /openapi/v3
}

// Documents are all documents. The zero value is not usable; see New.
type Documents struct {
	index  func() ([]Document, error)
	parser func() (*typed.Parser, error)
}

// New makes Documents. It reads nothing yet.
func New() *Documents {
	d := &Documents{index: sync.OnceValues(readIndex)}
	d.parser = sync.OnceValues(d.readSchema)
	return d
}

func readIndex() ([]Document, error) {
	b, err := data.ReadFile("data/" + Index)
	if err != nil {
		return nil, fmt.Errorf("read the index of OpenAPI documents: %w", err)
	}
	var all []Document
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("read the index of OpenAPI documents: %w", err)
	}
	return all, nil
}

// List returns the documents by name, without the merge schema.
func (d *Documents) List() ([]Document, error) {
	all, err := d.index()
	if err != nil {
		return nil, err
	}
	var docs []Document
	for _, doc := range all {
		if doc.Name != Schema {
			docs = append(docs, doc)
		}
	}
	return docs, nil
}

// Find returns the document of that name, and whether there is one.
func (d *Documents) Find(name string) (Document, bool) {
	all, err := d.index()
	if err != nil {
		return Document{}, false
	}
	for _, doc := range all {
		if doc.Name == name {
			return doc, true
		}
	}
	return Document{}, false
}

// Gzip is the document as it is kept: JSON, compressed by gzip. It must not be changed.
func (doc Document) Gzip() ([]byte, error) { return data.ReadFile("data/" + doc.File) }

// JSON is the document unpacked.
func (doc Document) JSON() ([]byte, error) {
	packed, err := doc.Gzip()
	if err != nil {
		return nil, fmt.Errorf("read the OpenAPI document %s: %w", doc.Name, err)
	}
	b, err := Unpack(packed)
	if err != nil {
		return nil, fmt.Errorf("read the OpenAPI document %s: %w", doc.Name, err)
	}
	return b, nil
}

// Pack compresses b.
func Pack(b []byte) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(b); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Unpack undoes Pack.
func Unpack(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func (d *Documents) readSchema() (*typed.Parser, error) {
	doc, ok := d.Find(Schema)
	if !ok {
		return nil, fmt.Errorf("read the merge schema: it is not embedded")
	}
	b, err := doc.JSON()
	if err != nil {
		return nil, err
	}
	registerSchema()
	p := &typed.Parser{}
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&p.Schema.Types); err != nil {
		return nil, fmt.Errorf("read the merge schema: %w", err)
	}
	return p, nil
}

// registerSchema tells gob what a default may be. JSON would lose half of the schema: the names of embedded fields collide.
func registerSchema() {
	gob.Register(map[string]any{})
	gob.Register([]any{})
}

// EncodeSchema writes the types of a schema as Converter reads them.
func EncodeSchema(p *typed.Parser) ([]byte, error) {
	registerSchema()
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(p.Schema.Types); err != nil {
		return nil, fmt.Errorf("write the merge schema: %w", err)
	}
	return b.Bytes(), nil
}

// Parser is the merge schema.
func (d *Documents) Parser() (*typed.Parser, error) { return d.parser() }

// Converter lets field managers read and merge the objects of s.
func (d *Documents) Converter(s *runtime.Scheme) managedfields.TypeConverter {
	return converter{sync.OnceValues(func() (managedfields.TypeConverter, error) {
		p, err := d.parser()
		if err != nil {
			return nil, err
		}
		return managedfields.NewSchemeTypeConverter(s, p), nil
	})}
}

// converter is a TypeConverter that reads the schema at the first write.
type converter struct {
	get func() (managedfields.TypeConverter, error)
}

func (c converter) ObjectToTyped(o runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	tc, err := c.get()
	if err != nil {
		return nil, err
	}
	return tc.ObjectToTyped(o, opts...)
}

func (c converter) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	tc, err := c.get()
	if err != nil {
		return nil, err
	}
	return tc.TypedToObject(v)
}
