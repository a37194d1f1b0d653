package decode_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/gitsource/internal/gittest"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// summary is what a file has come to, a line each: documents as "line#index Kind name", then notes and errors.
func summary(path, text string) []string {
	r := decode.File(path, []byte(text), gittest.Kinds{})
	var lines []string
	for _, d := range r.Documents {
		lines = append(lines, fmt.Sprintf("%d#%d %s %s", d.Origin.Line, d.Origin.Index, d.Object.GetKind(), d.Object.GetName()))
	}
	for _, n := range r.Notes {
		lines = append(lines, n.String())
	}
	for _, e := range r.Errors {
		lines = append(lines, e.Error())
	}
	return lines
}

const cm = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n"

func configMap(name string) string { return fmt.Sprintf(cm, name) }

func TestDocumentsAreFoundWithTheirLines(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"one document", configMap("a"), []string{"1#0 ConfigMap a"}},
		{"several", configMap("a") + "---\n" + configMap("b") + "--- # and\n" + configMap("c"), []string{"1#0 ConfigMap a", "6#1 ConfigMap b", "11#2 ConfigMap c"}},
		{"after comments", "# hello\n\n" + configMap("a") + "---\n\n# more\n" + configMap("b"), []string{"3#0 ConfigMap a", "10#1 ConfigMap b"}},
		{"empty ones do not count", "---\n---\n# x\n---\n" + configMap("a") + "---\n", []string{"5#0 ConfigMap a"}},
		{"with a directive", "%YAML 1.1\n---\n" + configMap("a"), []string{"3#0 ConfigMap a"}},
		{"on the line of the marker", "--- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n", []string{"1#0 ConfigMap a"}},
		{"after an end marker", configMap("a") + "...\n" + configMap("b"), []string{"1#0 ConfigMap a", "6#1 ConfigMap b"}},
		{"with what a text has in common with a marker", configMap("a") + "data:\n  x: |\n    ---\n    y\n  z: --- x\n", []string{"1#0 ConfigMap a"}},
		{"with Windows' line ends", strings.ReplaceAll(configMap("a")+"---\n"+configMap("b"), "\n", "\r\n"), []string{"1#0 ConfigMap a", "6#1 ConfigMap b"}},
		{"with a byte order mark", "\ufeff" + configMap("a"), []string{"1#0 ConfigMap a"}},
		{"nothing at all", "", nil},
		{"nothing but a comment", "# nothing\n", nil},
		{"nothing but null", "null\n---\n~\n", nil},
		{"the items of a List", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n-\n  apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: b}\n---\n" + configMap("c"),
			[]string{"4#0 ConfigMap a", "8#1 ConfigMap b", "12#2 ConfigMap c"}},
		{"the items of a list of one kind", "apiVersion: v1\nkind: ConfigMapList\nmetadata: {}\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\n", []string{"5#0 ConfigMap a", "6#1 ConfigMap b"}},
		{"an empty List", "apiVersion: v1\nkind: List\nitems: []\n", nil},
		{"what is no manifest is noted", "a: 1\n---\n" + configMap("a"), []string{"3#1 ConfigMap a", "x.yaml:1: skipped: neither apiVersion nor kind"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, summary("x.yaml", tt.text)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestWhatIsWrongIsSaidWithItsLine(t *testing.T) {
	deployment := `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 3
  template:
    spec:
      containers:
      - name: web
        image: hello
        ports:
        - containerPort: 80
        - containerport: 81
      restartpolicy: Always
  selectr: {}
`
	tests := []struct {
		name, text string
		want       []string
	}{
		{"bad YAML", "a: 1\nb: c: d\n", []string{"x.yaml:2: mapping values are not allowed in this context"}},
		{"a key without a value", "a: 1\nbcd\ne: 2\n", []string{"x.yaml:2: could not find expected ':'"}},
		{"a wrong indent", "x: y\na:\n  - b\n c: d\n", []string{"x.yaml:4: did not find expected key"}},
		{"a tab", configMap("a") + "data:\n\tx: y\n", []string{"x.yaml:6: a tab is used to indent: YAML allows spaces only"}},
		{"a key that is there twice", configMap("a") + "data:\n  x: 1\n  y: 2\n  x: 3\n", []string{`x.yaml:8: the key "x" is there twice`}},
		{"all that is wrong, at once", configMap("a") + "data: []\n---\na: b: c\n---\nkind: X\n" + "---\n" + configMap("ok"), []string{
			"11#3 ConfigMap ok",
			"x.yaml:5: json: cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string",
			"x.yaml:7: mapping values are not allowed in this context", "x.yaml:9: apiVersion is missing"}},
		{"unknown fields, each", deployment, []string{
			`x.yaml:14: unknown field "spec.template.spec.containers[0].ports[1].containerport"`,
			`x.yaml:15: unknown field "spec.template.spec.restartpolicy"`,
			`x.yaml:16: unknown field "spec.selectr"`}},
		{"an unknown kind", "apiVersion: v1\nkind: Deploymnet\nmetadata: {name: a}\n", []string{"x.yaml:2: unknown kind Deploymnet in v1"}},
		{"an unknown version", "apiVersion: apps/v2\nkind: Deployment\nmetadata: {name: a}\n", []string{"x.yaml:2: unknown kind Deployment in apps/v2"}},
		{"no kind", "apiVersion: v1\nmetadata: {name: a}\n", []string{"x.yaml:1: kind is missing"}},
		{"a kind that is a number", "apiVersion: v1\nkind: 3\nmetadata: {name: a}\n", []string{"x.yaml:2: kind: must be a text like Deployment"}},
		{"a version of three parts", "apiVersion: a/b/c\nkind: X\nmetadata: {name: a}\n", []string{`x.yaml:1: apiVersion: "a/b/c" is not of the form group/version`}},
		{"no name", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  labels: {}\n", []string{"x.yaml:3: metadata.name: is missing"}},
		{"no metadata", "apiVersion: v1\nkind: ConfigMap\n", []string{"x.yaml:1: metadata.name: is missing"}},
		{"metadata that are none", "apiVersion: v1\nkind: Nothing\nmetadata: 3\n", []string{"x.yaml:2: unknown kind Nothing in v1", "x.yaml:3: metadata: must be a mapping of fields"}},
		{"a name that is to be made up", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  generateName: a-\n", []string{"x.yaml:4: metadata.generateName: an object in Git needs a name that stays: use metadata.name"}},
		{"a list", "- a\n- b\n", []string{"x.yaml:1: a document must be a mapping of fields, this is a list"}},
		{"a text", "---\n\nhello\n", []string{"x.yaml:3: a document must be a mapping of fields, this is a text"}},
		{"an item of a List", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n  dta: {}\n- 3\n", []string{
			`x.yaml:7: unknown field "dta"`, "x.yaml:8: items[1] must be a mapping of fields"}},
		{"a field that is merged in", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nx: &x\n  a: 1\ndata:\n  <<: *x\n", []string{
			"x.yaml:6: json: cannot unmarshal number into Go struct field ConfigMap.data of type string"}},
		{"a file in Git LFS", "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 3\n", []string{"x.yaml:1: is kept in Git LFS, which is not supported: commit the file itself"}},
		{"a file that is too big", strings.Repeat("#", decode.MaxFile+1), []string{"x.yaml: the file is 4194305 bytes, the limit is 4194304"}},
		{"a key that is no text", "? [a]\n: b\n", []string{`x.yaml:1: invalid map key: []interface {}{"a"}`}},
		{"an alias of nothing", "a: *b\n", []string{"x.yaml:1: unknown anchor 'b' referenced"}},
		{"an alias of itself", "a: &b [*b]\n", []string{"x.yaml:1: the document grows over 16777216 bytes when its aliases are followed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, summary("x.yaml", tt.text)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestABombOfAliasesIsRefusedQuickly(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 12 {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 10), ","))
	}
	long := "a: &a " + strings.Repeat("x", 1<<20) + "\nb: [" + strings.TrimSuffix(strings.Repeat("*a,", 10_000), ",") + "]\n"
	for _, text := range []string{bomb, long} {
		got := summary("x.yaml", text)
		if len(got) != 1 || !strings.Contains(got[0], "grows over") {
			t.Errorf("got %v", got)
		}
	}
}

func TestOnlySoManyErrorsOfOneFileAreTold(t *testing.T) {
	got := summary("x.yaml", strings.Repeat("kind: X\n---\n", 500))
	if len(got) != 101 || got[100] != "x.yaml: and 400 more errors" {
		t.Errorf("%d lines, the last is %s", len(got), got[len(got)-1])
	}
}

func TestJSONIsReadAsJSON(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"an object", `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "\ud83d\ude00\/"}}`, []string{"1#0 ConfigMap a"}},
		{"with tabs", "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"ConfigMap\",\n\t\"metadata\": {\"name\": \"a\"}\n}\n", []string{"1#0 ConfigMap a"}},
		{"a List", `{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}]}`, []string{"1#0 ConfigMap a"}},
		{"nothing", " \n", nil},
		{"YAML", "a: 1\n", []string{"x.json:1: invalid character 'a' looking for beginning of value"}},
		{"broken off", "{\n\"a\": 1,\n", []string{"x.json:2: unexpected EOF"}},
		{"a comma too many", "{\n\"a\": 1,\n}\n", []string{"x.json:3: invalid character '}' looking for beginning of object key string"}},
		{"a field that is there twice", "{\"a\": 1,\n\"b\": 1,\n\"a\": 2}", []string{`x.json:1: duplicate field "a"`}},
		{"an unknown field", "{\n\"apiVersion\": \"v1\",\n\"kind\": \"ConfigMap\",\n\"metadata\": {\"name\": \"a\"},\n\"dta\": {}\n}", []string{`x.json:5: unknown field "dta"`}},
		{"two values", "{}\n{}\n", []string{"x.json:2: there is more behind the first JSON value: put several objects into a List"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, summary("x.json", tt.text)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNumbersStayWhatTheyAre(t *testing.T) {
	r := decode.File("x.yaml", []byte("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\n  generation: 9007199254740993\nspec:\n  replicas: 3\n"), gittest.Kinds{})
	if len(r.Errors) > 0 {
		t.Fatal(r.Errors)
	}
	want := map[string]any{"name": "a", "generation": int64(9007199254740993)}
	if d := cmp.Diff(want, r.Documents[0].Object.Object["metadata"]); d != "" {
		t.Error(d)
	}
}

func TestLocateFindsTheNearestLine(t *testing.T) {
	text := `# a comment
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
  annotations:
    example.com/a.b: x
    example.com/a: y
  ownerReferences: [{name: x},
    {name: y}]
data:
  key.with.dots: |
    text
    text
  other: x
---
apiVersion: v1
kind: List
items:
- metadata:
    name: one
- metadata:
    name: two
  spec:
    ports:
    - port: 1
      name: a
    -
      port: 2
---
base: &base
  inner: 1
uses:
  <<: *base
alias: *base
`
	tests := []struct {
		index int
		path  string
		want  int
	}{
		{0, "", 2}, {0, "kind", 3}, {0, "metadata.name", 5}, {0, "metadata.labels", 4}, {0, "metadata.labels[a].b", 4}, {0, "spec.x", 2},
		{0, "metadata.annotations[example.com/a.b]", 7}, {0, "metadata.annotations.example.com/a.b", 7}, {0, "metadata.annotations[example.com/a]", 8},
		{0, "metadata.ownerReferences[1].name", 10}, {0, "metadata.ownerReferences[7].name", 9}, {0, "data[key.with.dots]", 12}, {0, "data.other", 15},
		{1, "", 20}, {1, "metadata.name", 21}, {2, "metadata.name", 23}, {2, "spec.ports[1].port", 29}, {2, "spec.ports[0].name", 27}, {2, "spec.ports[x]", 25},
		{3, "base.inner", 32}, {3, "uses.inner", 32}, {3, "alias.inner", 32}, {3, "uses.none", 33},
		{4, "", 1}, {-1, "kind", 1},
	}
	for _, tt := range tests {
		if got := decode.Locate([]byte(text), tt.index, tt.path); got != tt.want {
			t.Errorf("%d %q: line %d, want %d", tt.index, tt.path, got, tt.want)
		}
	}
}

func TestTheIDOfAnObjectHasADefaultNamespace(t *testing.T) {
	r := decode.File("x.yaml", []byte(configMap("a")+"---\n"+configMap("b")+"  namespace: own\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ns, namespace: odd}\n"), gittest.Kinds{})
	var got []string
	for _, d := range r.Documents {
		got = append(got, d.ID(gittest.Kinds{}, "usual").String())
	}
	if d := cmp.Diff([]string{"ConfigMap usual/a", "ConfigMap own/b", "Namespace ns"}, got); d != "" {
		t.Error(d)
	}
}

// counting counts what is checked.
type counting struct {
	gittest.Kinds
	n *int
}

func (c counting) Check(gvk schema.GroupVersionKind, data []byte) []decode.FieldError {
	*c.n++
	return c.Kinds.Check(gvk, data)
}

func TestAFileIsDecodedOnce(t *testing.T) {
	n := 0
	c := decode.NewCache(1 << 18)
	get := func(path, text string) decode.Result {
		t.Helper()
		r, err := c.File(path, tree.HashOf("blob", []byte(text)), counting{n: &n}, func() ([]byte, error) { return []byte(text), nil })
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	text := configMap("a") + "---\nx: 1\n"
	first, again, moved := get("a.yaml", text), get("a.yaml", text), get("b.yaml", text)
	if n != 1 || again.Documents[0].Object != first.Documents[0].Object {
		t.Errorf("%d checks", n)
	}
	if o := moved.Documents[0].Origin; o.Path != "b.yaml" || moved.Notes[0].Path != "b.yaml" || first.Documents[0].Origin.Path != "a.yaml" {
		t.Errorf("got %v", o)
	}
	if r := get("a.json", text); len(r.Errors) == 0 {
		t.Error("YAML was taken for JSON since it was known")
	}
	for range 2 { // errors are not remembered: the kinds may be known next time
		if r := get("bad.yaml", "kind: X\n"); len(r.Errors) != 1 {
			t.Errorf("got %v", r.Errors)
		}
	}
	n = 0
	for i := range 1000 { // more than fits
		get("x.yaml", configMap(fmt.Sprint("c", i)))
	}
	get("x.yaml", configMap("c999"))
	get("x.yaml", configMap("c0"))
	if n != 1001 {
		t.Errorf("%d checks, want that the oldest was forgotten and the newest was not", n)
	}
}

func FuzzFile(f *testing.F) {
	f.Add(false, []byte(configMap("a")+"---\napiVersion: v1\nkind: List\nitems: [{kind: X}]\n---\n<<: &x {a: *x}\n"))
	f.Add(true, []byte(`{"apiVersion": "v1", "kind": "ConfigMapList", "items": [{"metadata": {"name": "a"}}]}`))
	f.Fuzz(func(t *testing.T, json bool, data []byte) {
		path := "x.yaml"
		if json {
			path = "x.json"
		}
		r := decode.File(path, data, gittest.Kinds{})
		lines := strings.Count(string(data), "\n") + 1
		for _, e := range r.Errors {
			if e.Line < 0 || e.Line > lines+1 {
				t.Fatalf("%s, of %d lines", e, lines)
			}
		}
		for _, d := range r.Documents { // what was decoded decodes again to the same
			text, err := yaml.Marshal(d.Object.Object)
			if err != nil {
				t.Fatal(err)
			}
			again := decode.File("x.yaml", text, gittest.Kinds{})
			if len(again.Errors) > 0 || len(again.Documents) != 1 {
				t.Fatalf("%s: %v", text, again.Errors)
			}
			if diff := cmp.Diff(d.Object.Object, again.Documents[0].Object.Object); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func FuzzLocate(f *testing.F) {
	f.Add([]byte("a:\n  b: [1, 2]\n---\nc: &c {<<: *c}\n"), 1, "c.x[0]")
	f.Fuzz(func(t *testing.T, data []byte, index int, path string) {
		if line := decode.Locate(data, index, path); line < 1 || line > strings.Count(string(data), "\n")+2 {
			t.Fatalf("line %d", line)
		}
	})
}

func BenchmarkFile(b *testing.B) {
	text := []byte("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  labels: {app: web, tier: front}\nspec:\n  replicas: 3\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n      containers:\n      - name: web\n        image: registry.example.com/web:v1\n        ports: [{containerPort: 8080, name: http}]\n        env:\n        - {name: A, value: b}\n        - {name: C, value: d}\n        resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {memory: 128Mi}}\n        readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 5}\n")
	for b.Loop() {
		if r := decode.File("x.yaml", text, gittest.Kinds{}); len(r.Errors) > 0 {
			b.Fatal(r.Errors)
		}
	}
}
