package openapi_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/openapi"
)

const (
	root = "../../.."
	mend = "run: go generate ./reconcile/scheme/openapi"
)

// generate runs one of the generators.
func generate(t *testing.T, command string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"run", "./generate/" + command}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("generate %s: %v\n%s", command, err, out)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTheGeneratedCodeIsUpToDate(t *testing.T) {
	copied := t.TempDir()
	own := filepath.Join("reconcile", "scheme", "v1alpha1")
	for _, dir := range []string{own, "reconcile/scheme/openapi/definitions"} {
		if err := os.MkdirAll(filepath.Join(copied, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum", filepath.Join(own, "doc.go"), filepath.Join(own, "types.go")} {
		if err := os.WriteFile(filepath.Join(copied, name), read(t, filepath.Join(root, name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	generate(t, "code", copied)
	for _, name := range []string{
		filepath.Join(own, "zz_generated.deepcopy.go"), filepath.Join(own, "zz_generated.model_name.go"),
		"reconcile/scheme/openapi/definitions/zz_generated.openapi.go",
	} {
		if string(read(t, filepath.Join(copied, name))) != string(read(t, filepath.Join(root, name))) {
			t.Errorf("%s is out of date: %s", name, mend)
		}
	}
}

func TestTheDocumentsAreUpToDate(t *testing.T) {
	dir := t.TempDir()
	generate(t, "documents", dir)
	if d := cmp.Diff(string(read(t, filepath.Join(dir, openapi.Index))), string(read(t, filepath.Join("data", openapi.Index)))); d != "" {
		t.Errorf("the documents are out of date: %s\n%s", mend, d)
	}
	// Another version of Go may compress otherwise, so what is in them is compared.
	files, err := filepath.Glob(filepath.Join(dir, "*.gz"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		is, err := openapi.Unpack(read(t, f))
		if err != nil {
			t.Fatal(err)
		}
		kept, err := openapi.Unpack(read(t, filepath.Join("data", filepath.Base(f))))
		if err != nil {
			t.Fatal(err)
		}
		if string(is) != string(kept) {
			t.Errorf("%s is out of date: %s", filepath.Base(f), mend)
		}
	}
}

func TestEveryKindIsDocumented(t *testing.T) {
	s := scheme.New(scheme.Options{})
	v2 := document[spec.Swagger](t, s.OpenAPI, "v2")
	for _, k := range s.All() {
		t.Run(k.Kind, func(t *testing.T) {
			prefix := "/apis/" + k.GroupVersion().String()
			if k.Group == "" {
				prefix = "/api/" + k.Version
			}
			v3 := document[spec3.OpenAPI](t, s.OpenAPI, "v3"+prefix)
			path := prefix + "/namespaces/{namespace}/" + k.Plural + "/{name}"
			if !k.Namespaced {
				path = prefix + "/" + k.Plural + "/{name}"
			}
			var subresources []string
			if k.Status {
				subresources = append(subresources, "/status")
			}
			if k.Scale != nil {
				subresources = append(subresources, "/scale")
			}
			for _, o := range k.Others {
				subresources = append(subresources, "/"+o)
			}
			for _, sub := range append(subresources, "") {
				if _, ok := v2.Paths.Paths[path+sub]; !ok {
					t.Errorf("v2 has no %s", path+sub)
				}
				if _, ok := v3.Paths.Paths[path+sub]; !ok {
					t.Errorf("v3 has no %s", path+sub)
				}
			}
			name, err := s.Runtime.ToOpenAPIDefinitionName(k.GroupVersionKind)
			if err != nil {
				t.Fatal(err)
			}
			if v3.Components.Schemas[name] == nil || len(v2.Definitions[name].Properties) == 0 {
				t.Errorf("%s has no schema", name)
			}
			p, err := s.OpenAPI.Parser()
			if err != nil {
				t.Fatal(err)
			}
			if !p.Type(name).IsValid() {
				t.Errorf("%s is not in the merge schema", name)
			}
		})
	}
}

func document[T any](t *testing.T, docs *openapi.Documents, name string) *T {
	t.Helper()
	d, ok := docs.Find(name)
	if !ok {
		t.Fatalf("there is no document %s", name)
	}
	b, err := d.JSON()
	if err != nil {
		t.Fatal(err)
	}
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTheMergeSchemaIsNoDocument(t *testing.T) {
	docs := openapi.New()
	all, err := docs.List()
	if err != nil || len(all) == 0 {
		t.Fatal(len(all), err)
	}
	for _, d := range all {
		if d.Name == openapi.Schema {
			t.Error("it is listed")
		}
	}
	if _, ok := docs.Find("v3/apis/resource.k8s.io/v1"); ok {
		t.Error("a group that is not served is documented")
	}
}

func BenchmarkSchema(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := openapi.New().Parser(); err != nil {
			b.Fatal(err)
		}
	}
}
