package scheme

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/upgrade"
)

var _ decode.Kinds = (*Scheme)(nil)

// Check implements decode.Kinds: it tells everything in a document of kind gvk, as JSON, that does not fit its Go type:
// unknown fields, values of the wrong type, quantities and times that cannot be read. What the values mean is not looked
// at: see Kind.Validate. A path is "kind" if the kind is not served, and empty for what is wrong with the whole. Of a kind
// that a CustomResourceDefinition may define, which may come with the same commit, nothing is told: see Defined.Unknown.
func (s *Scheme) Check(gvk schema.GroupVersionKind, document []byte) []decode.FieldError {
	if upgrade.Known(gvk) {
		var err *decode.FieldError
		if gvk, document, err = upgraded(document); err != nil {
			return []decode.FieldError{*err}
		}
	}
	empty, err := s.served(gvk)
	if err != nil && definable(s, gvk.Group) {
		return nil
	}
	if err != nil {
		return []decode.FieldError{{Path: "kind", Message: err.Error()}}
	}
	strict, err := kjson.UnmarshalStrict(document, empty())
	if err == nil && len(strict) == 0 {
		return nil
	}
	// Decoding stops at the first error and does not say where in a list it is, so look at all again.
	var v any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(document, &v); err != nil {
		return []decode.FieldError{{Message: err.Error()}}
	}
	c := checker{}
	if gvk.Kind == "Secret" {
		c.secret = []string{"data", "stringData"}
	}
	c.value(v, reflect.TypeOf(empty()), nil)
	if len(c.errs) > 0 {
		return c.errs
	}
	for _, e := range append(strict, err) {
		if e != nil {
			c.errs = append(c.errs, decode.FieldError{Message: e.Error()})
		}
	}
	return c.errs
}

// checker compares decoded JSON with Go types.
type checker struct {
	secret []string // top fields whose values are not to be shown
	errs   []decode.FieldError
}

func (c *checker) add(path *field.Path, format string, args ...any) {
	c.errs = append(c.errs, decode.FieldError{Path: path.String(), Message: fmt.Sprintf(format, args...)})
}

// value checks v, which is to become a t. Null means that nothing is said, so it is right for all.
func (c *checker) value(v any, t reflect.Type, path *field.Path) {
	if v == nil {
		return
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if _, ok := reflect.New(t).Interface().(json.Unmarshaler); ok {
		c.own(v, t, path)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		if m, ok := v.(map[string]any); ok {
			c.object(m, t, path)
			return
		}
		c.add(path, "must be an object, not %s", c.describe(v, path))
	case reflect.Map:
		m, ok := v.(map[string]any)
		if !ok {
			c.add(path, "must be an object, not %s", c.describe(v, path))
			return
		}
		for _, key := range sortedKeys(m) {
			c.value(m[key], t.Elem(), path.Key(key))
		}
	case reflect.Slice:
		c.list(v, t, path)
	case reflect.Interface:
	default:
		c.scalar(v, t, path)
	}
}

// own is for types that read themselves.
func (c *checker) own(v any, t reflect.Type, path *field.Path) {
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, reflect.New(t).Interface())
	}
	if err != nil {
		c.add(path, "must be a %s, not %s: %v", ownName(t), b, err)
	}
}

// ownName is what people call the types that read themselves.
func ownName(t reflect.Type) string {
	switch t.Name() {
	case "IntOrString":
		return "number or text"
	case "Time", "MicroTime":
		return "time like 2006-01-02T15:04:05Z"
	}
	return strings.ToLower(t.Name())
}

func (c *checker) list(v any, t reflect.Type, path *field.Path) {
	if t.Elem().Kind() == reflect.Uint8 {
		s, ok := v.(string)
		if !ok {
			c.add(path, "must be text in base64, not %s", c.describe(v, path))
		} else if _, err := base64.StdEncoding.DecodeString(s); err != nil {
			c.add(path, "must be text in base64: %v", err)
		}
		return
	}
	l, ok := v.([]any)
	if !ok {
		c.add(path, "must be a list, not %s", c.describe(v, path))
		return
	}
	for i := range l {
		c.value(l[i], t.Elem(), path.Index(i))
	}
}

func (c *checker) object(m map[string]any, t reflect.Type, path *field.Path) {
	known := jsonFields(t)
	for _, name := range sortedKeys(m) {
		p := path.Child(name)
		if f, ok := known[name]; ok {
			c.value(m[name], f, p)
		} else if other, ok := likeliest(name, known); ok {
			c.add(p, "unknown field %q, did you mean %q?", name, other)
		} else {
			c.add(p, "unknown field %q", name)
		}
	}
}

// jsonFields are the types of a struct's fields by their names in JSON.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case name == "" && f.Anonymous:
			for n, t := range jsonFields(f.Type) {
				all[n] = t
			}
		case name == "":
			all[f.Name] = f.Type
		default:
			all[name] = f.Type
		}
	}
	return all
}

func likeliest(name string, known map[string]reflect.Type) (string, bool) {
	best, found := len(name)/3+1, ""
	for _, k := range sortedKeys(known) {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < best {
			best, found = d, k
		}
	}
	return found, found != ""
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (c *checker) scalar(v any, t reflect.Type, path *field.Path) {
	switch t.Kind() {
	case reflect.String:
		switch v.(type) {
		case string:
		case map[string]any, []any:
			c.add(path, "must be text, not %s", c.describe(v, path))
		default:
			c.add(path, "must be text, not %s: put it in quotes", c.describe(v, path))
		}
	case reflect.Bool:
		if _, ok := v.(bool); !ok {
			c.add(path, "must be true or false, not %s", c.describe(v, path))
		}
	case reflect.Float32, reflect.Float64:
		switch v.(type) {
		case int64, float64:
		default:
			c.add(path, "must be a number, not %s", c.describe(v, path))
		}
	default:
		c.integer(v, t, path)
	}
}

func (c *checker) integer(v any, t reflect.Type, path *field.Path) {
	switch n := v.(type) {
	case int64:
		least, most := int64(math.MinInt64), int64(math.MaxInt64)
		if t.Kind() == reflect.Int32 {
			least, most = math.MinInt32, math.MaxInt32
		}
		if n < least || n > most {
			c.add(path, "must be between %d and %d, not %d", least, most, n)
		}
	case float64:
		c.add(path, "must be a whole number, not %v", n)
	case string:
		hint := ""
		if _, err := strconv.Atoi(n); err == nil {
			hint = ": leave out the quotes"
		}
		c.add(path, "must be a number, not %s%s", c.describe(v, path), hint)
	default:
		c.add(path, "must be a number, not %s", c.describe(v, path))
	}
}

// describe says what v is, for people. Of secrets it tells the type.
func (c *checker) describe(v any, path *field.Path) string {
	hidden := slices.ContainsFunc(c.secret, func(top string) bool {
		return path.String() == top || strings.HasPrefix(path.String(), top+"[")
	})
	switch v := v.(type) {
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	case string:
		if !hidden {
			return fmt.Sprintf("the text %q", v)
		}
		return "text"
	case bool:
		if !hidden {
			return fmt.Sprint(v)
		}
		return "true or false"
	}
	if !hidden {
		return fmt.Sprintf("the number %v", v)
	}
	return "a number"
}
