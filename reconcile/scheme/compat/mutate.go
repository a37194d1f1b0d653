package main

import (
	"math/rand/v2"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// A mutator makes objects of others by small changes, as JSON values that still fit the Go type.
type mutator struct {
	rng  *rand.Rand
	root reflect.Type
	seen map[string][]string // texts that the hand-picked objects have, by the name of the field
}

func newMutator(rng *rand.Rand, root reflect.Type, picked []map[string]any) *mutator {
	m := &mutator{rng: rng, root: root, seen: map[string][]string{}}
	for _, p := range picked {
		m.collect("", p)
	}
	return m
}

func (m *mutator) collect(name string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range sorted(v) {
			m.collect(k, v[k])
		}
	case []any:
		for _, e := range v {
			m.collect(name, e)
		}
	case string:
		m.seen[name] = append(m.seen[name], v)
	}
}

// change is doc with one to three changes.
func (m *mutator) change(doc map[string]any) map[string]any {
	next := copied(doc).(map[string]any)
	for range 1 + m.rng.IntN(2)*m.rng.IntN(3) {
		m.object(next, m.root, 0)
	}
	return next
}

// object changes something in v, of the struct t: a field that is there, or, once in a while, one that is not.
func (m *mutator) object(v map[string]any, t reflect.Type, depth int) {
	fields := fieldsOf(t)
	if depth == 0 { // metadata is the same for all kinds, and the status is not the writer's
		delete(fields, "status")
		delete(fields, "kind")
		delete(fields, "apiVersion")
	}
	if m.rng.IntN(6) == 0 {
		if absent := without(fields, v); len(absent) > 0 {
			name := absent[m.rng.IntN(len(absent))]
			v[name] = m.fresh(name, fields[name], 0)
			return
		}
	}
	var present []string
	for _, name := range sorted(v) {
		if fields[name] != nil {
			present = append(present, name)
		}
	}
	if len(present) == 0 {
		return
	}
	name := present[m.rng.IntN(len(present))]
	if name == "metadata" && m.rng.IntN(4) != 0 && fields["spec"] != nil && v["spec"] != nil {
		name = "spec"
	}
	if depth > 0 && m.rng.IntN(8) == 0 {
		delete(v, name)
		return
	}
	v[name] = m.changed(name, v[name], fields[name], depth+1)
}

// changed is something else than v, of type t.
func (m *mutator) changed(name string, v any, t reflect.Type, depth int) any {
	if leaf(t) {
		return m.leaf(name, t)
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Struct:
		if o, ok := v.(map[string]any); ok {
			m.object(o, t, depth)
		}
		return v
	case reflect.Slice:
		return m.list(name, v, t, depth)
	case reflect.Map:
		o, ok := v.(map[string]any)
		if !ok || len(o) == 0 || m.rng.IntN(4) == 0 {
			return map[string]any{m.text(name): m.fresh(name, t.Elem(), 0)}
		}
		keys := sorted(o)
		k := keys[m.rng.IntN(len(keys))]
		o[k] = m.changed(k, o[k], t.Elem(), depth)
		return o
	}
	return m.leaf(name, t)
}

func (m *mutator) list(name string, v any, t reflect.Type, depth int) any {
	l, ok := v.([]any)
	if !ok || len(l) == 0 {
		return []any{m.fresh(name, t.Elem(), 0)}
	}
	i := m.rng.IntN(len(l))
	switch m.rng.IntN(8) {
	case 0:
		return append(l[:i:i], l[i+1:]...)
	case 1:
		return append(l, copied(l[i]))
	case 2:
		return append(l, m.fresh(name, t.Elem(), 0))
	}
	l[i] = m.changed(name, l[i], t.Elem(), depth)
	return l
}

// fresh is a value of type t with a field or two.
func (m *mutator) fresh(name string, t reflect.Type, depth int) any {
	if leaf(t) {
		return m.leaf(name, t)
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Struct:
		o := map[string]any{}
		if depth > 4 {
			return o
		}
		fields := fieldsOf(t)
		names := sorted(fields)
		for range min(len(names), 1+m.rng.IntN(3)) {
			f := names[m.rng.IntN(len(names))]
			o[f] = m.fresh(f, fields[f], depth+1)
		}
		return o
	case reflect.Slice:
		return []any{m.fresh(name, t.Elem(), depth+1)}
	case reflect.Map:
		return map[string]any{m.text(name): m.fresh(name, t.Elem(), depth+1)}
	}
	return m.leaf(name, t)
}

// fieldsOf are the fields of a struct, by their JSON names, inlined ones included.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "" && f.Anonymous:
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			for n, ft := range fieldsOf(inner) {
				all[n] = ft
			}
		case name != "" && name != "-":
			all[name] = f.Type
		}
	}
	return all
}

var (
	quantity    = reflect.TypeFor[resource.Quantity]()
	intOrString = reflect.TypeFor[intstr.IntOrString]()
	atTime      = reflect.TypeFor[metav1.Time]()
	atMicroTime = reflect.TypeFor[metav1.MicroTime]()
	duration    = reflect.TypeFor[metav1.Duration]()
	fieldsV1    = reflect.TypeFor[metav1.FieldsV1]()
)

func leaf(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case quantity, intOrString, atTime, atMicroTime, duration, fieldsV1:
		return true
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return false
	case reflect.Slice:
		return t.Elem().Kind() == reflect.Uint8
	}
	return true
}

func (m *mutator) leaf(name string, t reflect.Type) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case quantity:
		return pick(m, "0", "1", "100m", "-1", "1Gi", "64Mi", "1.5", "500", "1k")
	case intOrString:
		return pick[any](m, 0, 1, -1, 80, 65536, "50%", "0%", "150%", "http", "x y", "25%")
	case atTime:
		return pick(m, "2026-01-02T03:04:05Z", "1999-01-01T00:00:00Z")
	case atMicroTime:
		return pick(m, "2026-01-02T03:04:05.000006Z", "1999-01-01T00:00:00.000000Z")
	case duration:
		return pick(m, "1m0s", "0s", "-1s")
	case fieldsV1:
		return map[string]any{}
	}
	switch t.Kind() {
	case reflect.Bool:
		return m.rng.IntN(2) == 0
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint32, reflect.Uint64:
		return pick(m, 0, 1, -1, 2, 3, 5, 10, 30, 80, 100, 101, 1000, 8080, 65535, 65536, 100000, 2000000000)
	case reflect.Float64, reflect.Float32:
		return pick(m, 0.0, 1.5, -1.0)
	case reflect.Slice: // bytes
		return pick(m, "", "aGVsbG8=")
	case reflect.String:
		return m.text(name)
	}
	return nil
}

// text is one that was seen in a field of that name, or one that is right in few places.
func (m *mutator) text(name string) string {
	if all := m.seen[name]; len(all) > 0 && m.rng.IntN(3) != 0 {
		return all[m.rng.IntN(len(all))]
	}
	if words := vocabulary[name]; len(words) > 0 && m.rng.IntN(2) == 0 {
		return words[m.rng.IntN(len(words))]
	}
	return pick(m, "", "a", "web", "Web", "a.b", "a_b", "-a", "a/b", "example.com/x", "x y", "10.0.0.1", "fd00::1", "10.0.0.0/8", "/a", "/a/../b", "../b", "1",
		"Always", "Never", "TCP", "UDP", "In", "Exists", "*", "*.example.com", "http", strings.Repeat("a", 64), strings.Repeat("a.", 127), "256.1.1.1", "a=b", "é", "kubernetes.io/x")
}

func pick[T any](m *mutator, all ...T) T { return all[m.rng.IntN(len(all))] }
