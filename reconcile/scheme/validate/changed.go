package validate

import (
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// changed are the paths of the fields in which two values of one type differ, as deep as both have them.
func changed(new, old any, path *field.Path) []*field.Path {
	return changedValues(reflect.ValueOf(new), reflect.ValueOf(old), path)
}

func changedValues(new, old reflect.Value, path *field.Path) []*field.Path {
	if equality.Semantic.DeepEqual(new.Interface(), old.Interface()) {
		return nil
	}
	var all []*field.Path
	switch new.Kind() {
	case reflect.Pointer:
		if !new.IsNil() && !old.IsNil() {
			return changedValues(new.Elem(), old.Elem(), path)
		}
	case reflect.Slice:
		if new.Len() == old.Len() {
			for i := range new.Len() {
				all = append(all, changedValues(new.Index(i), old.Index(i), path.Index(i))...)
			}
			return all
		}
	case reflect.Map:
		return changedKeys(new, old, path)
	case reflect.Struct:
		for i := range new.NumField() {
			name, inline, ok := jsonName(new.Type().Field(i))
			if !ok {
				return []*field.Path{path} // a type that writes itself, such as a quantity
			}
			p := path
			if !inline {
				p = path.Child(name)
			}
			all = append(all, changedValues(new.Field(i), old.Field(i), p)...)
		}
		return all
	}
	return []*field.Path{path}
}

func changedKeys(new, old reflect.Value, path *field.Path) []*field.Path {
	var all []*field.Path
	add := func(k, a, b reflect.Value) {
		if !a.IsValid() || !b.IsValid() || !equality.Semantic.DeepEqual(a.Interface(), b.Interface()) {
			all = append(all, path.Key(fmt.Sprint(k.Interface())))
		}
	}
	for _, k := range new.MapKeys() {
		add(k, new.MapIndex(k), old.MapIndex(k))
	}
	for _, k := range old.MapKeys() {
		if !new.MapIndex(k).IsValid() {
			add(k, reflect.Value{}, old.MapIndex(k))
		}
	}
	return all
}

// jsonName is what a field is called in JSON; inline fields are not called anything. Not ok: it is not in JSON.
func jsonName(f reflect.StructField) (name string, inline, ok bool) {
	tag, ok := f.Tag.Lookup("json")
	name, options, _ := strings.Cut(tag, ",")
	inline = name == "" && (f.Anonymous || strings.Contains(options, "inline"))
	return name, inline, ok && f.IsExported() && name != "-" && (name != "" || inline)
}
