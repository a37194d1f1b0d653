package scheme

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

func TestCheckTellsAllThatDoesNotFit(t *testing.T) {
	s := New(Options{})
	for _, row := range []struct {
		says, yaml string
		want       []string
	}{
		{"a whole deployment fits", `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: hello, creationTimestamp: null}
spec:
  replicas: 3
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 25%}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: nginx, resources: {limits: {cpu: 1, memory: 1Gi}}, args: null}`, nil},
		{"unknown fields are named, with what may have been meant", `
apiVersion: apps/v1
kind: Deployment
spec:
  replica: 3
  tempalte: {}
  qwertz: 1`, []string{
			`spec.qwertz: unknown field "qwertz"`,
			`spec.replica: unknown field "replica", did you mean "replicas"?`,
			`spec.tempalte: unknown field "tempalte", did you mean "template"?`,
		}},
		{"the place in a list is told", `
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      containers:
      - {name: a}
      - name: b
        ports: [{containerPort: 80}, {containerPort: http}, {containerPort: "80"}, {containerPort: 1.5}, {containerPort: 99999999999}]`, []string{
			`spec.template.spec.containers[1].ports[1].containerPort: must be a number, not the text "http"`,
			`spec.template.spec.containers[1].ports[2].containerPort: must be a number, not the text "80": leave out the quotes`,
			`spec.template.spec.containers[1].ports[3].containerPort: must be a whole number, not 1.5`,
			`spec.template.spec.containers[1].ports[4].containerPort: must be between -2147483648 and 2147483647, not 99999999999`,
		}},
		{"text that YAML takes for something else", `
apiVersion: v1
kind: ConfigMap
metadata: {name: x, labels: {version: 1.0, enabled: true}}
data: {port: 8080, list: [a], map: {a: b}}`, []string{
			`data[list]: must be text, not a list`,
			`data[map]: must be text, not an object`,
			`data[port]: must be text, not the number 8080: put it in quotes`,
			`metadata.labels[enabled]: must be text, not true: put it in quotes`,
			`metadata.labels[version]: must be text, not the number 1: put it in quotes`,
		}},
		{"things of the wrong shape", `
apiVersion: v1
kind: Pod
metadata: web
spec:
  containers: {name: a}
  hostNetwork: "yes"
  nodeSelector: [a]
  terminationGracePeriodSeconds: [1]`, []string{
			`metadata: must be an object, not the text "web"`,
			`spec.containers: must be a list, not an object`,
			`spec.hostNetwork: must be true or false, not the text "yes"`,
			`spec.nodeSelector: must be an object, not a list`,
			`spec.terminationGracePeriodSeconds: must be a number, not a list`,
		}},
		{"quantities, times and such that cannot be read", `
apiVersion: v1
kind: Pod
metadata: {name: a, creationTimestamp: yesterday}
spec:
  containers:
  - {name: a, resources: {limits: {cpu: 50mm}}, livenessProbe: {httpGet: {port: [80]}}}`, []string{
			`metadata.creationTimestamp: must be a time like 2006-01-02T15:04:05Z, not "yesterday": parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"`,
			`spec.containers[0].livenessProbe.httpGet.port: must be a number or text, not [80]: json: cannot unmarshal array into Go value of type int32`,
			`spec.containers[0].resources.limits[cpu]: must be a quantity, not "50mm": unable to parse quantity's suffix`,
		}},
		{"secrets are not shown", `
apiVersion: v1
kind: Secret
data: {a: "%%%", b: 12345, c: [hunter2]}
stringData: {d: 12345, e: true, f: {hunter2: hunter2}}`, []string{
			`data[a]: must be text in base64: illegal base64 data at input byte 0`,
			`data[b]: must be text in base64, not a number`,
			`data[c]: must be text in base64, not a list`,
			`stringData[d]: must be text, not a number: put it in quotes`,
			`stringData[e]: must be text, not true or false: put it in quotes`,
			`stringData[f]: must be text, not an object`,
		}},
		{"our own kinds", `
apiVersion: mainstay.dev/v1alpha1
kind: GitSource
spec: {url: 1, interval: 5, prune: maybe, ref: {brunch: main}}`, []string{
			`spec.interval: must be a duration, not 5: json: cannot unmarshal number into Go value of type string`,
			`spec.prune: must be true or false, not the text "maybe"`,
			`spec.ref.brunch: unknown field "brunch", did you mean "branch"?`,
			`spec.url: must be text, not the number 1: put it in quotes`,
		}},
		{"a kind that is not served", `{apiVersion: resource.k8s.io/v1, kind: DeviceClass}`, []string{`kind: kind DeviceClass (resource.k8s.io/v1) is not supported yet`}},
	} {
		t.Run(row.says, func(t *testing.T) {
			doc, err := yaml.YAMLToJSON([]byte(row.yaml))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(row.want, check(t, s, doc)); d != "" {
				t.Error(d)
			}
		})
	}
}

func check(t testing.TB, s *Scheme, doc []byte) []string {
	t.Helper()
	var meta struct{ APIVersion, Kind string }
	if err := json.Unmarshal(doc, &meta); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range s.Check(schema.FromAPIVersionAndKind(meta.APIVersion, meta.Kind), doc) {
		lines = append(lines, e.Path+": "+e.Message)
	}
	return lines
}

func TestCheckRefusesKeysThatAreThereTwice(t *testing.T) {
	s := New(Options{})
	got := check(t, s, []byte(`{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"1"},"data":{"a":"2"}}`))
	if d := cmp.Diff([]string{`: duplicate field "data"`}, got); d != "" {
		t.Error(d)
	}
}

func TestWhateverTheCodecWritesPassesTheCheck(t *testing.T) {
	s := New(Options{})
	f := filler(s, seeded(t))
	for _, k := range s.All() {
		for range 20 {
			b, err := json.Marshal(random(s, k, f))
			if err != nil {
				t.Fatal(err)
			}
			if errs := s.Check(k.GroupVersionKind, b); errs != nil {
				t.Fatalf("%v\n%s", errs, b)
			}
		}
	}
}

// FuzzCheck: what Check lets pass can be decoded strictly, and what it refuses cannot.
func FuzzCheck(f *testing.F) {
	s := New(Options{})
	for _, doc := range []string{
		`{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":"3","template":{"spec":{"containers":[{"ports":[{"containerPort":1.5}]}]}}}}`,
		`{"apiVersion":"v1","kind":"Secret","data":{"a":"%"},"stringData":{"b":1}}`,
		`{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"resources":{"limits":{"cpu":{}}}}],"volumes":[null,[],{}]}}`,
		`{"apiVersion":"v1","kind":"Event","eventTime":1,"series":{"lastObservedTime":"x"}}`,
	} {
		f.Add([]byte(doc), uint8(0))
	}
	f.Fuzz(func(t *testing.T, doc []byte, n uint8) {
		k := s.kinds[int(n)%len(s.kinds)]
		strict, err := kjson.UnmarshalStrict(doc, k.New())
		fits := err == nil && len(strict) == 0
		if errs := s.Check(k.GroupVersionKind, doc); fits != (len(errs) == 0) {
			t.Errorf("decoding says %v %v, the check %v", err, strict, errs)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	s := New(Options{})
	for name, change := range map[string]string{"right": "image", "wrong": "imag"} {
		doc, err := json.Marshal(busyPod(b, s))
		if err != nil {
			b.Fatal(err)
		}
		doc = []byte(strings.Replace(string(doc), `"image"`, `"`+change+`"`, 1))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Check(core("Pod"), doc)
			}
		})
	}
}
