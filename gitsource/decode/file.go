package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	sjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// A Result is what is in a file. If there are Errors, Documents holds only the good ones.
type Result struct {
	Documents []Document
	Notes     []Note
	Errors    Errors
}

// File decodes the manifest at p: YAML of any number of documents, or one JSON value if the name ends in .json. The items
// of a List become documents of their own.
func File(p string, data []byte, kinds Kinds) Result {
	d := decoder{path: p, kinds: kinds}
	switch {
	case len(data) > MaxFile:
		d.fail(0, "the file is %d bytes, the limit is %d", len(data), MaxFile)
	case bytes.HasPrefix(data, []byte("version https://git-lfs.github.com/spec/")):
		d.fail(1, "is kept in Git LFS, which is not supported: commit the file itself")
	case isJSON(p):
		d.json(chunk{data, 1})
	default:
		for c := range split(data) {
			d.yaml(c)
		}
	}
	d.Errors = d.Errors.Sort()
	if n := len(d.Errors) - maxErrors; n > 0 {
		d.Errors = append(d.Errors[:maxErrors], Error{Path: p, Message: fmt.Sprintf("and %d more errors", n)})
	}
	return d.Result
}

func isJSON(p string) bool { return path.Ext(p) == ".json" }

type decoder struct {
	Result
	path  string
	kinds Kinds
	index int // of the next document
}

func (d *decoder) fail(line int, format string, args ...any) {
	d.Errors = append(d.Errors, Error{d.path, line, fmt.Sprintf(format, args...)})
}

func (d *decoder) note(line int, message string) {
	d.Notes = append(d.Notes, Note{d.path, line, message})
}

func (d *decoder) yaml(c chunk) {
	first := c.line + contentLine(c.data)
	if expandsBeyond(c.data, maxExpanded) {
		d.index++
		d.fail(first, "the document grows over %d bytes when its aliases are followed", maxExpanded)
		return
	}
	asJSON, err := yaml.YAMLToJSONStrict(c.data)
	if err != nil {
		d.index++
		d.Errors = append(d.Errors, syntaxErrors(d.path, c, err)...)
		return
	}
	d.value(c, asJSON)
}

func (d *decoder) json(c chunk) {
	dec := json.NewDecoder(bytes.NewReader(c.data))
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		if !blank(c.data) {
			d.fail(jsonLine(c.data, err), "%v", err)
		}
		return
	}
	if dec.More() {
		d.fail(lineAt(c.data, int(dec.InputOffset())+1), "there is more behind the first JSON value: put several objects into a List")
		return
	}
	var discard any
	strict, err := sjson.UnmarshalStrict(raw, &discard)
	if err != nil {
		d.fail(jsonLine(c.data, err), "%v", err)
		return
	}
	for _, err := range strict {
		field := fieldOf(err)
		d.fail(Locate(c.data, 0, field), "%v", err)
	}
	if len(strict) == 0 {
		d.value(c, raw)
	}
}

// value takes one document of a file, which is a List or an object.
func (d *decoder) value(c chunk, asJSON []byte) {
	first := c.line + max(contentLine(c.data), 0)
	asJSON = bytes.TrimSpace(asJSON)
	if bytes.Equal(asJSON, []byte("null")) {
		d.index++
		return
	}
	if asJSON[0] != '{' {
		d.index++
		d.fail(first, "a document must be a mapping of fields, this is %s", shape(asJSON[0]))
		return
	}
	var fields map[string]any
	if err := sjson.UnmarshalCaseSensitivePreserveInts(asJSON, &fields); err != nil {
		d.index++
		d.fail(first, "%v", err)
		return
	}
	if items, ok := listItems(fields); ok {
		d.list(c, fields, items)
		return
	}
	d.object(fields, asJSON, lines{chunk: c, first: first})
}

// list takes the items of a List as documents. In a list of one kind they need not repeat it.
func (d *decoder) list(c chunk, list map[string]any, items []any) {
	apiVersion, kind := list["apiVersion"], strings.TrimSuffix(list["kind"].(string), "List")
	nodes := parseNodes(c)
	for i, item := range items {
		first := nodes.at(i).first
		fields, ok := item.(map[string]any)
		if !ok {
			d.index++
			d.fail(first, "items[%d] must be a mapping of fields", i)
			continue
		}
		if kind != "" && fields["kind"] == nil && fields["apiVersion"] == nil {
			fields["kind"], fields["apiVersion"] = kind, apiVersion
		}
		asJSON, err := json.Marshal(fields)
		if err != nil {
			d.index++
			d.fail(first, "items[%d]: %v", i, err)
			continue
		}
		d.object(fields, asJSON, lines{chunk: c, item: i, first: first})
	}
}

// listItems returns the items of a List. An object with a name is none, whatever its kind is called.
func listItems(fields map[string]any) ([]any, bool) {
	kind, _ := fields["kind"].(string)
	metadata, _ := fields["metadata"].(map[string]any)
	_, named := metadata["name"]
	items, ok := fields["items"].([]any)
	return items, ok && isList(kind, named)
}

func isList(kind string, named bool) bool { return strings.HasSuffix(kind, "List") && !named }

// object takes one object.
func (d *decoder) object(fields map[string]any, asJSON []byte, at lines) {
	index := d.index
	d.index++
	apiVersion, hasVersion := fields["apiVersion"]
	kind, hasKind := fields["kind"]
	switch {
	case !hasVersion && !hasKind:
		d.note(at.first, "skipped: neither apiVersion nor kind")
		return
	case !hasVersion:
		d.fail(at.first, "apiVersion is missing")
		return
	case !hasKind:
		d.fail(at.first, "kind is missing")
		return
	}
	errs := identity(fields)
	if gvk, err := gvkOf(apiVersion, kind); err != nil {
		errs = append(errs, *err)
	} else {
		errs = append(errs, d.kinds.Check(gvk, asJSON)...)
	}
	for _, e := range errs {
		d.fail(at.of(e.Path), "%s", e)
	}
	if len(errs) > 0 {
		return
	}
	current, told := d.kinds.Current(fields)
	if told != "" {
		d.note(at.of("apiVersion"), told)
	}
	d.Documents = append(d.Documents, Document{
		Object: &unstructured.Unstructured{Object: current},
		Origin: Origin{Path: d.path, Line: at.first, Index: index},
	})
}

// String is the message with its field, unless the message is about the whole.
func (e FieldError) String() string {
	if e.Path == "" || strings.Contains(e.Message, e.Path) {
		return e.Message
	}
	return e.Path + ": " + e.Message
}

func gvkOf(apiVersion, kind any) (schema.GroupVersionKind, *FieldError) {
	v, ok := apiVersion.(string)
	if !ok || v == "" {
		return schema.GroupVersionKind{}, &FieldError{"apiVersion", "must be a text like apps/v1"}
	}
	k, ok := kind.(string)
	if !ok || k == "" {
		return schema.GroupVersionKind{}, &FieldError{"kind", "must be a text like Deployment"}
	}
	gv, err := schema.ParseGroupVersion(v)
	if err != nil || gv.Version == "" {
		return schema.GroupVersionKind{}, &FieldError{"apiVersion", fmt.Sprintf("%q is not of the form group/version", v)}
	}
	return gv.WithKind(k), nil
}

// identity checks what names an object.
func identity(fields map[string]any) []FieldError {
	metadata, ok := fields["metadata"].(map[string]any)
	if !ok && fields["metadata"] != nil {
		return []FieldError{{"metadata", "must be a mapping of fields"}}
	}
	if _, ok := metadata["generateName"]; ok {
		return []FieldError{{"metadata.generateName", "an object in Git needs a name that stays: use metadata.name"}}
	}
	switch name := metadata["name"].(type) {
	case nil:
		return []FieldError{{"metadata.name", "is missing"}}
	case string:
		if name == "" {
			return []FieldError{{"metadata.name", "is empty"}}
		}
	default:
		return []FieldError{{"metadata.name", "must be a text: put it in quotes, YAML reads it as something else"}}
	}
	if ns, ok := metadata["namespace"]; ok && ns != nil {
		if _, ok := ns.(string); !ok {
			return []FieldError{{"metadata.namespace", "must be a text: put it in quotes, YAML reads it as something else"}}
		}
	}
	return nil
}

// lines finds the lines of one object. Nothing is parsed unless it is asked.
type lines struct {
	chunk chunk
	item  int // of a List
	first int
	nodes documents
}

func (l *lines) of(field string) int {
	if l.nodes == nil {
		l.nodes = parseNodes(l.chunk)
	}
	return l.nodes.at(l.item).line(field)
}

func shape(first byte) string {
	switch first {
	case '[':
		return "a list"
	case '"':
		return "a text"
	}
	return "a single value"
}

// syntaxErrors gives what the YAML parser says a place in the file and clearer words.
func syntaxErrors(p string, c chunk, err error) Errors {
	var es Errors
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = strings.TrimPrefix(text, "unmarshal errors:\n")
	for message := range strings.SplitSeq(text, "\n") {
		line := c.line + max(contentLine(c.data), 0)
		if n, rest, ok := cutLine(strings.TrimSpace(message)); ok {
			line, message = c.line+n-1, rest
		}
		if strings.HasPrefix(message, "could not find expected ':'") {
			line = startOfKey(c, line)
		}
		if key, ok := strings.CutSuffix(message, " already set in map"); ok {
			message = "the " + key + " is there twice"
		}
		if strings.Contains(message, "cannot start any token") && tabbed(c, line) {
			message = "a tab is used to indent: YAML allows spaces only"
		}
		es = append(es, Error{p, line, strings.TrimSpace(message)})
	}
	return es
}

// startOfKey asks the newer parser where the key stands that has no value: the other one says where it noticed.
func startOfKey(c chunk, noticed int) int {
	var n yamlv3.Node
	if err := yamlv3.Unmarshal(c.data, &n); err != nil {
		if line, _, ok := cutLine(strings.TrimPrefix(err.Error(), "yaml: ")); ok {
			return c.line + line - 1
		}
	}
	return noticed
}

// cutLine takes "line N: " off a message of the YAML parser.
func cutLine(message string) (line int, rest string, ok bool) {
	message, ok = strings.CutPrefix(message, "line ")
	digits, rest, found := strings.Cut(message, ": ")
	line, err := strconv.Atoi(digits)
	if strings.HasPrefix(rest, "did not find expected") { // its parser counts from 0, its scanner from 1
		line++
	}
	return line, rest, ok && found && err == nil
}

// tabbed says whether a tab stands before the first letter of a line of the file.
func tabbed(c chunk, line int) bool {
	n := c.line
	for text := range bytes.Lines(c.data) {
		if n == line {
			indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
			return bytes.IndexByte(indent, '\t') >= 0
		}
		n++
	}
	return false
}

// fieldOf is the field that a strict decoding error is about.
func fieldOf(err error) string {
	_, rest, _ := strings.Cut(err.Error(), `"`)
	field, _, _ := strings.Cut(rest, `"`)
	return field
}

// jsonLine is the line of a JSON error.
func jsonLine(data []byte, err error) int {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return lineAt(data, int(syntax.Offset))
	}
	return lineAt(data, len(data))
}

func lineAt(data []byte, offset int) int {
	return 1 + bytes.Count(data[:min(max(offset-1, 0), len(data))], []byte("\n"))
}
