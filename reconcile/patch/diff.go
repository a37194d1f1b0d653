package patch

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Difference is one field that two objects have otherwise. Old is empty if only the second has it, New if only the first.
// Both are short texts for people, and do not show secrets.
type Difference struct{ Path, Old, New string }

func (d Difference) String() string {
	switch {
	case d.Old == "":
		return fmt.Sprintf("+ %s: %s", d.Path, d.New)
	case d.New == "":
		return fmt.Sprintf("- %s: %s", d.Path, d.Old)
	case d.Old == secret && d.New == secret:
		return fmt.Sprintf("%s: %s", d.Path, secret)
	}
	return fmt.Sprintf("%s: %s -> %s", d.Path, d.Old, d.New)
}

const (
	secret  = "***"
	longest = 80 // runes of a value that are shown
)

// Diff tells what a user would call different between two objects of one kind, in the order of their paths: not the
// status, nor what the system keeps in the metadata. Items of lists are named by their keys, as far as these identify
// them: "spec.template.spec.containers[web].image".
func (p *Patcher) Diff(old, new store.Object) ([]Difference, error) {
	gvk := p.scheme.Stored.Of(new)
	k, err := p.kind(gvk)
	if err != nil || p.scheme.Stored.Of(old) != gvk {
		return nil, fmt.Errorf("compare %T with %T: they are not of one kind that is served", old, new)
	}
	t, err := k.typeOf()
	if err != nil {
		return nil, err
	}
	was, err := k.plain(old)
	if err != nil {
		return nil, err
	}
	is, err := k.plain(new)
	if err != nil {
		return nil, err
	}
	d := differ{shape: schemaOf(t)}
	if isSecret(k.GroupVersionKind.GroupKind()) {
		d.hidden = []string{"data", "stringData"}
	}
	d.values("", t.TypeRef, was, is)
	return d.found, nil
}

// plain is o as a user would write it.
func (k *kind) plain(o store.Object) (map[string]any, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(withoutOwners(o))
	if err != nil {
		return nil, fmt.Errorf("compare %s %s: %w", k.Kind.Kind, o.GetName(), err)
	}
	if k.Status {
		delete(m, "status")
	}
	if meta, ok := m["metadata"].(map[string]any); ok {
		for _, name := range systemOwned() {
			delete(meta, name)
		}
		// What kubectl apply remembers repeats the rest, secrets included.
		if a, ok := meta["annotations"].(map[string]any); ok {
			delete(a, corev1.LastAppliedConfigAnnotation)
		}
	}
	return m, nil
}

type differ struct {
	shape
	hidden []string // top fields whose values are not shown
	found  []Difference
}

// values compares what is at path. Nil is what is not there.
func (d *differ) values(path string, t schema.TypeRef, old, new any) {
	if equality.Semantic.DeepEqual(old, new) {
		return
	}
	a, _ := d.Resolve(t)
	if x, y, ok := both[map[string]any](old, new); ok && (a.Map == nil || a.Map.ElementRelationship != schema.Atomic) {
		d.fields(path, a.Map, x, y)
		return
	}
	if x, y, ok := both[[]any](old, new); ok && a.List != nil && a.List.ElementRelationship == schema.Associative {
		d.items(path, a.List, x, y)
		return
	}
	d.add(path, old, new)
}

// both gives two values of type T. One of them may be missing, so that what is new or gone is shown field by field.
func both[T any](old, new any) (x, y T, ok bool) {
	x, isX := old.(T)
	y, isY := new.(T)
	return x, y, (isX || old == nil) && (isY || new == nil) && (isX || isY)
}

func (d *differ) fields(path string, m *schema.Map, old, new map[string]any) {
	if len(old)+len(new) == 0 {
		return
	}
	names := slices.Collect(maps.Keys(old))
	for name := range new {
		if _, ok := old[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		var t schema.TypeRef
		if m != nil {
			t = m.ElementType
			if f, ok := m.FindField(name); ok {
				t = f.Type
			}
		}
		d.values(join(path, name), t, old[name], new[name])
	}
}

func (d *differ) items(path string, l *schema.List, old, new []any) {
	find := func(list []any, name string) any {
		for _, i := range list {
			if d.name(l, i) == name {
				return i
			}
		}
		return nil
	}
	var names []string
	for _, i := range slices.Concat(old, new) {
		if n := d.name(l, i); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	before := len(d.found)
	for _, n := range names {
		d.values(path+"["+n+"]", l.ElementType, find(old, n), find(new, n))
	}
	if len(d.found) == before {
		d.add(path, d.order(l, old), d.order(l, new))
	}
}

// order is what is left to tell if two lists have the same items.
func (d *differ) order(l *schema.List, list []any) any {
	names := make([]string, len(list))
	for i := range list {
		names[i] = d.name(l, list[i])
	}
	return strings.Join(names, ", ")
}

// name is what an item is called: its keys, or itself in a set.
func (d *differ) name(l *schema.List, item any) string {
	if len(l.Keys) == 0 {
		return text(item)
	}
	parts := make([]string, len(l.Keys))
	for i, key := range l.Keys {
		parts[i] = text(d.key(l, item, key))
	}
	return strings.Join(parts, "/")
}

func (d *differ) add(path string, old, new any) {
	show := text
	for _, h := range d.hidden {
		if path == h || strings.HasPrefix(path, h+".") || strings.HasPrefix(path, h+"[") {
			show = func(any) string { return secret }
		}
	}
	f := Difference{Path: path}
	if old != nil {
		f.Old = show(old)
	}
	if new != nil {
		f.New = show(new)
	}
	d.found = append(d.found, f)
}

// join adds a name to a path, as Kubernetes writes it: names with dots or slashes are put in brackets.
func join(path, name string) string {
	switch {
	case strings.ContainsAny(name, "./[]"):
		return path + "[" + name + "]"
	case path == "":
		return name
	}
	return path + "." + name
}

// text shows a value in few letters, on one line.
func text(v any) string {
	s, ok := v.(string)
	switch {
	case ok && (s == "" || strings.ContainsAny(s, "\n\r\t\"") || strings.TrimSpace(s) != s):
		s = strconv.Quote(s)
	case !ok:
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		s = string(b)
	}
	if r := []rune(s); len(r) > longest {
		return string(r[:longest]) + "..."
	}
	return s
}
