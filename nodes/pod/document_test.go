package pod

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestEveryFieldIsInTheDocument compares docs/pods.md with the types of the API: each field is in one row of its part, as
// refused if and only if nothing acts upon it.
func TestEveryFieldIsInTheDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/pods.md")
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]map[string]string{}
	part := ""
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			part = strings.TrimSpace(title)
			states[part] = map[string]string{}
		}
		cells := strings.Split(line, "|")
		if len(cells) < 4 || part == "" {
			continue
		}
		for name := range strings.SplitSeq(cells[1], ",") {
			states[part][strings.TrimSpace(name)] = strings.TrimSpace(cells[2])
		}
	}
	for title, types := range map[string][]reflect.Type{
		"PodSpec":                                {reflect.TypeFor[corev1.PodSpec]()},
		"Container":                              {reflect.TypeFor[corev1.Container]()},
		"PodSecurityContext and SecurityContext": {reflect.TypeFor[corev1.PodSecurityContext](), reflect.TypeFor[corev1.SecurityContext]()},
		"VolumeSource":                           {reflect.TypeFor[corev1.VolumeSource]()},
		"VolumeMount":                            {reflect.TypeFor[corev1.VolumeMount]()},
	} {
		for _, typ := range types {
			for i := range typ.NumField() {
				name := jsonName(typ.Field(i))
				state := states[title][name]
				want := []string{"refused"}
				if slices.Contains(strings.Fields(supported[typ]), name) || name == "os" { // which may be linux
					want = []string{"works", "partly"}
				}
				if !slices.Contains(want, state) {
					t.Errorf("%s.%s is %q in docs/pods.md, and should be %s", typ.Name(), name, state, strings.Join(want, " or "))
				}
			}
		}
	}
}
