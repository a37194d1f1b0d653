package controltest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// difference lists the fields in which two objects differ, by path. Without an old one it lists all of new.
func difference(old, new store.Object) []string {
	was, is := map[string]string{}, map[string]string{}
	if old != nil {
		flatten("", plain(old), was)
	}
	flatten("", plain(new), is)
	var lines []string
	for _, path := range slices.Sorted(maps.Keys(is)) {
		switch before, ok := was[path]; {
		case !ok:
			lines = append(lines, fmt.Sprintf("+ %s: %s", path, is[path]))
		case before != is[path]:
			lines = append(lines, fmt.Sprintf("~ %s: %s -> %s", path, before, is[path]))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(was)) {
		if _, ok := is[path]; !ok {
			lines = append(lines, fmt.Sprintf("- %s: %s", path, was[path]))
		}
	}
	return lines
}

func plain(o store.Object) any {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		panic(err)
	}
	delete(m, "apiVersion")
	delete(m, "kind")
	meta := m["metadata"].(map[string]any)
	for _, k := range []string{"resourceVersion", "uid", "creationTimestamp", "name", "namespace"} {
		delete(meta, k)
	}
	return m
}

func flatten(path string, v any, out map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if strings.ContainsAny(k, "./") {
				k = "[" + k + "]"
			} else if path != "" {
				k = "." + k
			}
			flatten(path+k, x, out)
		}
	case []any:
		for i, x := range v {
			flatten(fmt.Sprintf("%s[%d]", path, i), x, out)
		}
	default:
		out[path] = fmt.Sprint(v)
	}
}
