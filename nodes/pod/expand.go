package pod

import (
	"reflect"
	"strings"
)

// Expand replaces $(NAME) in s by what value has for it. What value does not know stays as it is, and $$ is a dollar sign
// that begins nothing.
func Expand(s string, value func(name string) (string, bool)) string {
	if !strings.Contains(s, "$") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			b.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(s[i:], ')')
			if end < 0 {
				b.WriteString("$(")
				i++
				continue
			}
			whole := s[i : i+end+1]
			if v, ok := value(whole[2:end]); ok {
				whole = v
			}
			b.WriteString(whole)
			i += end
		default:
			b.WriteByte('$')
		}
	}
	return b.String()
}

// jsonName is what a field is called in a manifest.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}
