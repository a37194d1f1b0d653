// Package decode turns the bytes of a manifest into documents, strictly: what Kubernetes would not take, or would take
// otherwise than it reads, is an error with its line. All errors of a file are found at once.
package decode

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// What File takes. A Kubernetes object is 1.5 MB at most.
const (
	MaxFile     = 4 << 20  // bytes of a file
	maxExpanded = 16 << 20 // bytes of a document after its aliases are followed
	maxErrors   = 100      // that are told of one file
)

// A Document is one object as the user wrote it: no field was added or defaulted. It is shared: do not change it.
type Document struct {
	Object *unstructured.Unstructured
	Origin Origin
}

// An Origin is where a document stands.
type Origin struct {
	Path  string
	Line  int // its first line, from 1
	Index int // its place among the documents of the file, from 0, where each item of a List counts as one
}

func (o Origin) String() string { return fmt.Sprintf("%s:%d", o.Path, o.Line) }

// Kinds knows which kinds there are and which fields they have. It must be safe for concurrent use.
type Kinds interface {
	// Check returns what is wrong with an object of that kind, given as JSON: an unknown kind (the field "kind"), unknown
	// fields, wrong types.
	Check(gvk schema.GroupVersionKind, json []byte) []FieldError
	// Current is an object that Check found nothing wrong with, in the version that it is kept in, and what to tell the user
	// of the version that it is written in: "" if nothing. The object is not changed, and returned if it is current.
	Current(object map[string]any) (current map[string]any, told string)
	// Namespaced says whether objects of that kind live in a namespace.
	Namespaced(gk schema.GroupKind) bool
}

// A FieldError is what is wrong with one field, as Kubernetes names it: spec.template.spec.containers[0].image, or
// data[key]. An empty Path is the whole document.
type FieldError struct{ Path, Message string }

// An ID is what there can be one of. Namespace is empty for kinds of the cluster.
type ID struct{ Group, Kind, Namespace, Name string }

// String is how people name an object: "Deployment hello/web", "Namespace hello".
func (id ID) String() string {
	if id.Namespace == "" {
		return id.Kind + " " + id.Name
	}
	return id.Kind + " " + id.Namespace + "/" + id.Name
}

// ID of the document, where namespace is that of documents that name none.
func (d Document) ID(kinds Kinds, namespace string) ID {
	gvk := d.Object.GroupVersionKind()
	id := ID{Group: gvk.Group, Kind: gvk.Kind, Name: d.Object.GetName()}
	if kinds.Namespaced(gvk.GroupKind()) {
		id.Namespace = cmp.Or(d.Object.GetNamespace(), namespace)
	}
	return id
}

// A Note tells the user of something that was passed over.
type Note struct {
	Path    string
	Line    int // 0: the whole file
	Message string
}

func (n Note) String() string { return place(n.Path, n.Line) + n.Message }

// An Error is what is wrong at one place.
type Error struct {
	Path    string
	Line    int // 0: the whole file
	Message string
}

// Error is "path:line: reason".
func (e Error) Error() string { return place(e.Path, e.Line) + e.Message }

func place(path string, line int) string {
	if line == 0 {
		return path + ": "
	}
	return fmt.Sprintf("%s:%d: ", path, line)
}

// Errors are all that is wrong.
type Errors []Error

// Error is one line for each.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Sort puts them in the order of path and line, and drops what is told twice.
func (es Errors) Sort() Errors {
	slices.SortStableFunc(es, func(a, b Error) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line))
	})
	return slices.Compact(es)
}

// Paths is how many files they are in. They must be sorted.
func (es Errors) Paths() int {
	n := 0
	for i, e := range es {
		if i == 0 || es[i-1].Path != e.Path {
			n++
		}
	}
	return n
}
