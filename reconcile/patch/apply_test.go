package patch

import (
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/equality"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/managedfields"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: hello, labels: {app: web, tier: front}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, tier: front}}
    spec:
      containers:
      - name: web
        image: mainstay.local/hello:v1
        args: [--port, "8080"]
        env:
        - {name: GREETING, valueFrom: {configMapKeyRef: {name: greeting, key: text}}}
        - {name: LEVEL, value: info}
        - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        ports:
        - {name: http, containerPort: 8080}
        resources: {requests: {cpu: 0.05, memory: 32Mi}, limits: {memory: 64Mi}}
        readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 2}
        volumeMounts:
        - {name: config, mountPath: /etc/hello}
      volumes:
      - name: config
        configMap: {name: greeting}
`

func document(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yamlutil.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatalf("read %s: %v", text, err)
	}
	return u
}

// a set of what a test needs.
type bench struct {
	testing.TB
	*Patcher
	scheme *scheme.Scheme
	clock  int64
}

func newBench(t testing.TB) *bench {
	t.Helper()
	s := scheme.New(scheme.Options{})
	p, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{TB: t, Patcher: p, scheme: s}
}

// now goes on by a second each time.
func (b *bench) now() time.Time {
	b.clock++
	return time.Unix(b.clock, 0)
}

// apply applies text, and fails the test if that fails or changes what it was given.
func (b *bench) apply(live store.Object, text, manager string, force bool) store.Object {
	b.Helper()
	doc := document(b, text)
	var before store.Object
	if live != nil {
		before = live.DeepCopyObject().(store.Object)
	}
	o, err := b.Apply(live, doc, manager, force, b.now())
	if err != nil {
		b.Fatal(err)
	}
	if live != nil && !equality.Semantic.DeepEqual(live, before) {
		b.Error("the live object was changed")
	}
	if !equality.Semantic.DeepEqual(doc, document(b, text)) {
		b.Error("the document was changed")
	}
	return o
}

// text is o without its owners, as YAML.
func (b *bench) text(o store.Object) string {
	b.Helper()
	out, err := yaml.Marshal(withoutOwners(o))
	if err != nil {
		b.Fatal(err)
	}
	return string(out)
}

// owners says who owns what of o, a line each.
func owners(o store.Object) string {
	var lines []string
	for _, e := range o.GetManagedFields() {
		lines = append(lines, fmt.Sprintf("%s %s%s at %d: %s", e.Manager, e.Operation, e.Subresource, e.Time.Unix(), e.FieldsV1.GetRawString()))
	}
	return strings.Join(lines, "\n")
}

func TestApplyMakesANewObject(t *testing.T) {
	b := newBench(t)
	o := b.apply(nil, `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: hello, uid: x, resourceVersion: "7", creationTimestamp: null, managedFields: []}
spec: {ports: [{port: 80}], selector: {app: web}}
status: {loadBalancer: {}}`, "git", false)
	want := `git Apply at 1: {"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}},"f:selector":{}}}`
	if d := cmp.Diff(want, owners(o)); d != "" {
		t.Error(d)
	}
	want = `apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: hello
spec:
  internalTrafficPolicy: Cluster
  ports:
  - port: 80
    protocol: TCP
    targetPort: 80
  selector:
    app: web
  sessionAffinity: None
  type: ClusterIP
status:
  loadBalancer: {}
`
	if d := cmp.Diff(want, b.text(o)); d != "" {
		t.Error(d)
	}
}

func TestApplyingTheSameAgainChangesNothing(t *testing.T) {
	b := newBench(t)
	live := b.apply(nil, web, "git", false)
	if again := b.apply(live, web, "git", false); again != live {
		t.Errorf("got %s\nwas %s", b.text(again), b.text(live))
	}
	if doc := document(t, web); !b.holds(b.kinds[doc.GroupVersionKind()], live, doc, mustOwn(t, b, doc)) {
		t.Error("it took the long way to find out")
	}
}

func mustOwn(t *testing.T, b *bench, doc *unstructured.Unstructured) metav1.ManagedFieldsEntry {
	t.Helper()
	e, err := b.kinds[doc.GroupVersionKind()].owned(doc, "git")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestFieldsThatTheManagerNoLongerSendsAreRemoved(t *testing.T) {
	b := newBench(t)
	live := b.apply(nil, `{apiVersion: v1, kind: ConfigMap, metadata: {name: c, labels: {a: b, c: d}}, data: {a: "1", b: "2", c: "3"}}`, "git", false)
	live = b.apply(live, `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {c: "3", d: "4"}}`, "other", false)
	live = b.apply(live, `{apiVersion: v1, kind: ConfigMap, metadata: {name: c, labels: {a: b}}, data: {a: "1"}}`, "git", false)
	want := "apiVersion: v1\ndata:\n  a: \"1\"\n  c: \"3\"\n  d: \"4\"\nkind: ConfigMap\nmetadata:\n  labels:\n    a: b\n  name: c\n"
	if d := cmp.Diff(want, b.text(live)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(`other Apply at 2: {"f:data":{"f:c":{},"f:d":{}}}`+"\n"+`git Apply at 3: {"f:data":{"f:a":{}},"f:metadata":{"f:labels":{"f:a":{}}}}`, owners(live)); d != "" {
		t.Error(d)
	}
}

func TestContainersAndPortsAreMergedByTheirNames(t *testing.T) {
	b := newBench(t)
	live := b.apply(nil, web, "git", false)
	live = b.apply(live, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: hello}
spec: {template: {spec: {containers: [{name: side, image: s}, {name: web, env: [{name: EXTRA, value: x}], ports: [{containerPort: 9090}]}]}}}`, "other", false)
	text := b.text(live)
	for _, part := range []string{"image: mainstay.local/hello:v1", "image: s\n", "name: EXTRA", "name: LEVEL", "containerPort: 9090", "containerPort: 8080"} {
		if !strings.Contains(text, part) {
			t.Errorf("%s is not in\n%s", part, text)
		}
	}
}

func TestConflictsNameFieldAndOwner(t *testing.T) {
	b := newBench(t)
	live := b.apply(nil, web, "git", false)
	doc := document(t, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: hello}, spec: {replicas: 5, template: {spec: {containers: [{name: web, image: v2}]}}}}`)
	_, err := b.Apply(live, doc, "other", false, b.now())
	got, ok := errors.AsType[Conflicts](err)
	if !ok {
		t.Fatal(err)
	}
	want := Conflicts{{"spec.replicas", "git"}, {`spec.template.spec.containers[name="web"].image`, "git"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(`apply Deployment web: spec.replicas is owned by "git"; spec.template.spec.containers[name="web"].image is owned by "git"`, err.Error()); d != "" {
		t.Error(d)
	}
}

func TestForceTakesWhatIsOwned(t *testing.T) {
	b := newBench(t)
	live := b.apply(nil, `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: "1", b: "2"}}`, "git", false)
	live = b.apply(live, `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: "5"}}`, "other", true)
	if d := cmp.Diff(`git Apply at 1: {"f:data":{"f:b":{}}}`+"\n"+`other Apply at 2: {"f:data":{"f:a":{}}}`, owners(live)); d != "" {
		t.Error(d)
	}
}

func TestTwoMayOwnWhatTheyAgreeOn(t *testing.T) {
	b := newBench(t)
	const text = `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: "1"}}`
	live := b.apply(b.apply(nil, text, "git", false), text, "other", false)
	if d := cmp.Diff(`git Apply at 1: {"f:data":{"f:a":{}}}`+"\n"+`other Apply at 2: {"f:data":{"f:a":{}}}`, owners(live)); d != "" {
		t.Error(d)
	}
	live = b.apply(live, `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}`, "git", false)
	if d := cmp.Diff(`other Apply at 2: {"f:data":{"f:a":{}}}`, owners(live)); d != "" {
		t.Error(d)
	}
}

func TestObjectsWithoutOwnersAreAdopted(t *testing.T) {
	b := newBench(t)
	live := b.apply(nil, `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: "1", b: "2"}}`, "x", false)
	live.SetManagedFields(nil)
	live = b.apply(live, `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: "1"}}`, "git", true)
	if d := cmp.Diff(`git Apply at 2: {"f:data":{"f:a":{}}}`+"\n"+`before-first-apply Update at 2: {"f:data":{".":{},"f:a":{},"f:b":{}}}`, owners(live)); d != "" {
		t.Error(d)
	}
}

func TestANamespaceThatIsOnlyANameIsOwnedByNobody(t *testing.T) {
	b := newBench(t)
	const text = `{apiVersion: v1, kind: Namespace, metadata: {name: hello}}`
	live := b.apply(nil, text, "git", false)
	if d := cmp.Diff("", owners(live)); d != "" {
		t.Error(d)
	}
	if again := b.apply(live, text, "other", false); again != live {
		t.Errorf("it was changed: %s", owners(again))
	}
}

func TestTheTextOfASecretIsOwnedAsData(t *testing.T) {
	b := newBench(t)
	live := b.apply(nil, `{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {c: YQ==}, stringData: {a: one, b: two}}`, "git", false)
	if d := cmp.Diff(`git Apply at 1: {"f:data":{"f:a":{},"f:b":{},"f:c":{}}}`, owners(live)); d != "" {
		t.Error(d)
	}
	live = b.apply(live, `{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {a: three}}`, "git", false)
	if d := cmp.Diff("apiVersion: v1\ndata:\n  a: dGhyZWU=\nkind: Secret\nmetadata:\n  name: s\ntype: Opaque\n", b.text(live)); d != "" {
		t.Error(d)
	}
	if again := b.apply(live, `{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {a: three}}`, "git", false); again != live {
		t.Error("the same text again changed it")
	}
}

func TestTheSameWrittenOtherwiseChangesNothing(t *testing.T) {
	b := newBench(t)
	const spec = `{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: a, image: "a:1", resources: {limits: {cpu: %s, memory: %s}}}]}}`
	live := b.apply(nil, fmt.Sprintf(spec, "500m", "1Gi"), "git", false)
	if again := b.apply(live, fmt.Sprintf(spec, "0.5", "1024Mi"), "git", false); again != live {
		t.Error(cmp.Diff(b.text(live), b.text(again)))
	}
}

func TestManyMayApplyToOneObject(t *testing.T) {
	b := newBench(t)
	live := b.apply(nil, web, "git", false)
	doc, other := document(t, web), document(t, strings.Replace(web, "replicas: 3", "replicas: 4", 1))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, d := range []*unstructured.Unstructured{doc, other} {
				if _, err := b.Apply(live, d, "git", false, time.Unix(1, 0)); err != nil {
					t.Error(err)
				}
				if _, err := b.Diff(live, live); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestWhatCannotBeApplied(t *testing.T) {
	b := newBench(t)
	for says, text := range map[string]string{
		"a kind that is not served": `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: d}}`,
		"a port that is twice":      `{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80, name: a}, {port: 80, name: b}]}}`,
		"a field of another type":   `{apiVersion: v1, kind: ConfigMap, metadata: {name: s}, data: [a]}`,
		"an unknown field":          `{apiVersion: v1, kind: ConfigMap, metadata: {name: s}, dat: {}}`,
	} {
		if o, err := b.Apply(nil, document(t, text), "git", false, b.now()); err == nil {
			t.Errorf("%s was applied: %v", says, o)
		}
	}
}

// reference is apimachinery's field manager as kube-apiserver has it.
func reference(t *testing.T, s *scheme.Scheme, k *scheme.Kind) *managedfields.FieldManager {
	t.Helper()
	version := fieldpath.APIVersion(k.GroupVersion().String())
	m, err := managedfields.NewDefaultFieldManager(s.OpenAPI.Converter(s.Runtime), s.Runtime, s.Runtime, s.Runtime, k.GroupVersionKind,
		schema.GroupVersion{Group: k.Group, Version: runtime.APIVersionInternal}, "",
		map[fieldpath.APIVersion]fieldpath.Filter{version: fieldpath.NewExcludeSetFilter(k.ResetFields(""))})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sensible keeps the schemas of CustomResourceDefinitions, which contain each other, small, and the two fields of a node's range
// in agreement: of two that differ, one is dropped.
func sensible(serializer.CodecFactory) []any {
	return []any{
		func(p *apiextensionsv1.JSONSchemaProps, c randfill.Continue) {
			*p = apiextensionsv1.JSONSchemaProps{Type: "object", Title: c.String(8), Default: &apiextensionsv1.JSON{Raw: []byte(`{"a":1}`)}}
		},
		func(j *apiextensionsv1.JSON, _ randfill.Continue) { j.Raw = []byte(`"x"`) },
		func(s *corev1.NodeSpec, c randfill.Continue) {
			c.FillNoCustom(s)
			s.PodCIDRs = nil
		},
	}
}

// wishes makes random documents of kind k, and parts of them.
type wishes struct {
	r    *rand.Rand
	fill interface{ Fill(any) }
}

func (w wishes) make(t *testing.T, k *scheme.Kind) *unstructured.Unstructured {
	t.Helper()
	o := k.New()
	w.fill.Fill(o)
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	meta := m["metadata"].(map[string]any)
	for _, name := range append(systemOwned(), "generateName", "ownerReferences", "finalizers") {
		delete(meta, name)
	}
	delete(m, "status")
	delete(m, "stringData")
	meta["name"], meta["namespace"] = "x", "y"
	m["apiVersion"], m["kind"] = k.GroupVersion().String(), k.Kind
	return &unstructured.Unstructured{Object: m}
}

// less drops some of the fields and items of v. An item is dropped as a whole: it may have keys that it cannot be without.
func (w wishes) less(v any) any {
	switch v := v.(type) {
	case map[string]any:
		c := map[string]any{}
		for name, f := range v {
			if w.r.Intn(4) > 0 || name == "apiVersion" || name == "kind" || name == "metadata" || name == "name" || name == "namespace" {
				c[name] = w.less(f)
			}
		}
		return c
	case []any:
		c := []any{}
		for _, item := range v {
			if w.r.Intn(4) > 0 {
				c = append(c, item)
			}
		}
		return c
	}
	return v
}

func newWishes(t *testing.T, s *scheme.Scheme) wishes {
	seed := time.Now().UnixNano()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	r := rand.New(rand.NewSource(seed))
	return wishes{r, fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, sensible), rand.NewSource(r.Int63()), s.Codecs).NilChance(0.4).NumElements(1, 3)}
}

func TestApplyIsThatOfKubernetes(t *testing.T) {
	b := newBench(t)
	w := newWishes(t, b.scheme)
	for _, k := range b.scheme.All() {
		t.Run(k.Kind, func(t *testing.T) {
			m := reference(t, b.scheme, k)
			for range 8 {
				doc := w.make(t, k)
				part := &unstructured.Unstructured{Object: w.less(doc.Object).(map[string]any)}
				made, err := b.Apply(nil, doc, "git", false, b.now())
				want, wantErr := m.Apply(k.New(), doc.DeepCopy(), "git", false)
				if (err == nil) != (wantErr == nil) {
					t.Fatalf("got %v, Kubernetes %v", err, wantErr)
				}
				if err != nil {
					continue
				}
				same(t, made, want.(store.Object))
				if len(made.GetManagedFields()) == 0 {
					continue // Kubernetes would give it an owner at the next apply, and change it
				}
				less, err := b.Apply(made, part, "git", false, b.now())
				want, wantErr = m.Apply(made.DeepCopyObject(), part.DeepCopy(), "git", false)
				if wantErr == nil && len(want.(store.Object).GetManagedFields()) > 0 { // what it removed too much, it puts back at once
					want, wantErr = m.Apply(want, part.DeepCopy(), "git", false)
				}
				if (err == nil) != (wantErr == nil) {
					t.Fatalf("got %v, Kubernetes %v", err, wantErr)
				}
				if err == nil {
					same(t, less, want.(store.Object))
				}
			}
		})
	}
}

// same compares all but the kind, which is written in one of them, and the times.
func same(t *testing.T, got, want store.Object) {
	t.Helper()
	got, want = got.DeepCopyObject().(store.Object), want.DeepCopyObject().(store.Object)
	for _, o := range []store.Object{got, want} {
		o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		all := o.GetManagedFields()
		for i := range all {
			all[i].Time = nil
		}
		o.SetManagedFields(all)
	}
	if !equality.Semantic.DeepEqual(got, want) {
		t.Fatal(cmp.Diff(fields(want), fields(got)), cmp.Diff(want, got))
	}
}

func fields(o store.Object) (all []string) {
	for _, e := range o.GetManagedFields() {
		all = append(all, e.FieldsV1.GetRawString())
	}
	return all
}

func TestAnythingAppliedTwiceChangesNothing(t *testing.T) {
	b := newBench(t)
	w := newWishes(t, b.scheme)
	for _, k := range b.scheme.All() {
		t.Run(k.Kind, func(t *testing.T) {
			for range 8 {
				doc := w.make(t, k)
				first, err := b.Apply(nil, doc, "git", false, b.now())
				if err != nil {
					continue
				}
				second, err := b.Apply(first, doc, "git", false, b.now())
				if err != nil {
					t.Fatal(err)
				}
				if second != first {
					t.Fatal(cmp.Diff(first, second))
				}
				part := &unstructured.Unstructured{Object: w.less(doc.Object).(map[string]any)}
				third, err := b.Apply(first, part, "git", false, b.now())
				if err != nil {
					continue
				}
				if fourth, err := b.Apply(third, part, "git", false, b.now()); err != nil || fourth != third {
					t.Fatal(err, cmp.Diff(third, fourth))
				}
			}
		})
	}
}

func BenchmarkApply(b *testing.B) {
	x := newBench(b)
	doc := document(b, web)
	live := x.apply(nil, web, "git", false)
	other := document(b, strings.Replace(web, "replicas: 3", "replicas: 4", 1))
	for name, run := range map[string]func() (store.Object, error){
		"create":    func() (store.Object, error) { return x.Apply(nil, doc, "git", false, x.now()) },
		"unchanged": func() (store.Object, error) { return x.Apply(live, doc, "git", false, x.now()) },
		"changed":   func() (store.Object, error) { return x.Apply(live, other, "git", false, x.now()) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
