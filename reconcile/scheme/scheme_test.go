package scheme

import (
	"fmt"
	"math/rand"
	"runtime"
	"strings"
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
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// object reads one object from YAML, as a client would send it.
func object(t testing.TB, s *Scheme, text string) store.Object {
	t.Helper()
	var meta struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal([]byte(text), &meta); err != nil {
		t.Fatalf("read the kind of %s: %v", text, err)
	}
	k, err := s.Lookup(schema.FromAPIVersionAndKind(meta.APIVersion, meta.Kind))
	if err != nil {
		t.Fatal(err)
	}
	o := k.New()
	if err := yaml.UnmarshalStrict([]byte(text), o); err != nil {
		t.Fatalf("read %s: %v", text, err)
	}
	return o
}

// text is o as YAML.
func text(t testing.TB, o any) string {
	t.Helper()
	b, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// seeded is a source of chance whose seed is printed when the test fails.
func seeded(t testing.TB) *rand.Rand {
	seed := time.Now().UnixNano()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewSource(seed))
}

// filler fills objects with what they may hold.
func filler(s *Scheme, r *rand.Rand) *randfill.Filler {
	return fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, schemas), rand.NewSource(r.Int63()), s.Codecs).NilChance(0.3).NumElements(1, 3)
}

// schemas keeps the schemas of CustomResourceDefinitions, which contain each other, small.
func schemas(serializer.CodecFactory) []any {
	return []any{
		func(p *apiextensionsv1.JSONSchemaProps, c randfill.Continue) {
			*p = apiextensionsv1.JSONSchemaProps{Type: "object", Title: c.String(8), Default: &apiextensionsv1.JSON{Raw: []byte(`{"a":1}`)}}
		},
		func(j *apiextensionsv1.JSON, _ randfill.Continue) { j.Raw = []byte(`"x"`) },
	}
}

func random(s *Scheme, k *Kind, f *randfill.Filler) store.Object {
	o := k.New()
	f.Fill(o)
	o.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
	return o
}

func TestEveryKindIsWhole(t *testing.T) {
	s := New(Options{})
	for _, k := range s.All() {
		t.Run(k.Kind, func(t *testing.T) {
			o := k.New()
			if s.Of(o) != k || s.Kind(k.GroupVersionKind.GroupKind()) != k || s.Stored.Of(o) != k.GroupVersionKind {
				t.Error("it is not found by its type and name")
			}
			for _, gv := range []schema.GroupVersion{k.GroupVersion(), {Group: k.Group, Version: "__internal"}} {
				for _, name := range []string{k.Kind, k.Kind + "List"} {
					if !s.Runtime.Recognizes(gv.WithKind(name)) {
						t.Errorf("%s is not registered", gv.WithKind(name))
					}
				}
			}
			k.Default(o)
			if len(k.Cells(o, time.Unix(0, 0))) != len(k.Columns()) {
				t.Error("its rows are not as wide as their headings")
			}
			if errs := k.Validate(o); len(errs) == 0 {
				t.Error("an object without a name is valid")
			}
			if _, _, err := k.fieldLabel("metadata.name", "x"); err != nil {
				t.Error(err)
			}
			for _, l := range k.labels {
				if _, ok := k.Fields(o)[l]; !ok {
					t.Errorf("field selectors may name %s, which has no value", l)
				}
			}
		})
	}
}

func TestNewSchemesShareNothing(t *testing.T) {
	a, b := New(Options{}), New(Options{})
	a.All()[0] = nil
	if a.All()[0] == nil || a.Runtime == b.Runtime || a.All()[0] == b.All()[0] {
		t.Error("two schemes, or a scheme and its user, share a table")
	}
}

func TestKindsThatAreNotServedAreExplained(t *testing.T) {
	s := New(Options{})
	for _, row := range []struct{ says, version, kind, want string }{
		{"a kind of Kubernetes that is missing here", "resource.k8s.io/v1", "DeviceClass", "kind DeviceClass (resource.k8s.io/v1) is not supported yet"},
		{"the same in an old version", "resource.k8s.io/v1beta1", "DeviceClass", "kind DeviceClass (resource.k8s.io/v1) is not supported yet"},
		{"a kind in an old group", "extensions/v1beta1", "Ingress", "kind Ingress is in networking.k8s.io/v1, not in extensions/v1beta1"},
		{"a mistyped kind", "apps/v1", "Deploymnet", "unknown kind Deploymnet in apps/v1, did you mean Deployment?"},
		{"a mistyped kind in the wrong group", "v1", "Deploymet", "unknown kind Deploymet in v1, did you mean Deployment in apps/v1?"},
		{"a kind written small", "v1", "configmap", "unknown kind configmap in v1, did you mean ConfigMap?"},
		{"a mistyped kind that is missing here", "resource.k8s.io/v1", "DevicClass", "unknown kind DevicClass in resource.k8s.io/v1, did you mean DeviceClass?"},
		{"a kind in an old version", "apps/v1beta1", "Deployment", "kind Deployment is in apps/v1, not in apps/v1beta1"},
		{"a kind in the wrong group", "v1", "Deployment", "kind Deployment is in apps/v1, not in v1"},
		{"a kind in no group", "", "Pod", "kind Pod is in v1, not in "},
		{"a custom kind", "cert-manager.io/v1", "Certificate", "unknown kind Certificate in cert-manager.io/v1: no CustomResourceDefinition serves it"},
		{"nothing that there is", "v1", "Zebra", "unknown kind Zebra in v1"},
	} {
		t.Run(row.says, func(t *testing.T) {
			_, err := s.Lookup(schema.FromAPIVersionAndKind(row.version, row.kind))
			if err == nil || err.Error() != row.want {
				t.Errorf("got %v\nwant %s", err, row.want)
			}
		})
	}
}

func TestEveryKindOfKubernetesIsKnown(t *testing.T) {
	s := New(Options{})
	names := map[string]bool{}
	for _, k := range s.All() {
		names[k.Kind] = true
	}
	for _, k := range known() {
		if s.Kind(k.GroupKind()) != nil {
			t.Errorf("%s is served, but is listed as missing", k)
		}
		names[k.Kind] = true
	}
	for gvk := range clientscheme.Scheme.AllKnownTypes() {
		list := gvk.GroupVersion().WithKind(gvk.Kind + "List")
		if clientscheme.Scheme.Recognizes(list) && !names[gvk.Kind] && gvk.Kind != "APIGroup" {
			t.Errorf("%s is neither served nor listed as missing", gvk)
		}
	}
}

func TestFieldSelectorsNameOnlyWhatKubernetesHas(t *testing.T) {
	s := New(Options{})
	pod := schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	for label, ok := range map[string]bool{
		"metadata.name": true, "spec.nodeName": true, "status.phase": true, "status.podIP": true, "spec.hostNetwork": true,
		"spec.containers": false, "phase": false, "": false,
	} {
		if _, _, err := s.Runtime.ConvertFieldLabel(pod, label, "x"); (err == nil) != ok {
			t.Errorf("%q: %v", label, err)
		}
	}
	if _, _, err := s.Runtime.ConvertFieldLabel(schema.GroupVersionKind{Version: "v1", Kind: "Node"}, "metadata.namespace", "x"); err == nil {
		t.Error("nodes are in no namespace, but may be selected by one")
	}
}

func TestFieldsOfAPod(t *testing.T) {
	s := New(Options{})
	o := object(t, s, `
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: hello}
spec: {nodeName: n1, restartPolicy: Never, serviceAccountName: sa, schedulerName: x, hostNetwork: true}
status: {phase: Running, podIPs: [{ip: 10.1.0.1}, {ip: "fd00::1"}]}`)
	got := s.Of(o).Fields(o).String()
	for _, want := range []string{
		"metadata.name=web", "metadata.namespace=hello", "spec.nodeName=n1", "spec.restartPolicy=Never", "spec.hostNetwork=true",
		"spec.serviceAccountName=sa", "status.phase=Running", "status.podIP=10.1.0.1", "status.podIPs=10.1.0.1,fd00::1",
	} {
		if !strings.Contains(","+got+",", ","+want+",") {
			t.Errorf("%s is not in %s", want, got)
		}
	}
}

func TestWhatTheCodecWritesItReadsBack(t *testing.T) {
	s := New(Options{})
	c, f := s.Codec(), filler(s, seeded(t))
	for _, k := range s.All() {
		t.Run(k.Kind, func(t *testing.T) {
			for range 20 {
				o := random(s, k, f)
				typeClaims(o) // as they are after defaulting
				b, err := c.Encode(o)
				if err != nil {
					t.Fatal(err)
				}
				back, err := c.Decode(b)
				if err != nil {
					t.Fatal(err)
				}
				if !equality.Semantic.DeepEqual(o, back) {
					t.Fatalf("wrote\n%s\nread\n%s", text(t, o), text(t, back))
				}
				clear(b)
				if !equality.Semantic.DeepEqual(o, back) {
					t.Fatal("what was read keeps a hold on the bytes that it was read from")
				}
			}
		})
	}
}

func TestDecodedObjectsShareWhatIsAlike(t *testing.T) {
	s := New(Options{})
	c := s.Codec()
	b, err := c.Encode(busyPod(t, s))
	if err != nil {
		t.Fatal(err)
	}
	var two [2]store.Object
	for i := range two {
		if two[i], err = c.Decode(b); err != nil {
			t.Fatal(err)
		}
	}
	if &two[0].GetManagedFields()[0].FieldsV1.GetRawBytes()[0] != &two[1].GetManagedFields()[0].FieldsV1.GetRawBytes()[0] {
		t.Error("the same field owners are kept twice")
	}
	raw := two[0].GetManagedFields()[0].FieldsV1.GetRawBytes()
	if cap(raw) != len(raw) {
		t.Error("whoever appends to the field owners of one object writes into those of another")
	}
}

func TestTheInternerForgetsWhenItIsFull(t *testing.T) {
	n := newInterner()
	for i := range 2 * internAtMost / internLength {
		n.object(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{fmt.Sprintf("%0*d", internLength, i): ""}}})
	}
	if n.size > internAtMost+internLength {
		t.Errorf("it keeps %d bytes", n.size)
	}
}

func TestTheCodecKeepsWhatUsersDefine(t *testing.T) {
	c := New(Options{}).Codec()
	boat := func() *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "sea.example/v1", "kind": "Boat", "metadata": map[string]any{"name": "one", "namespace": "default", "labels": map[string]any{"a": "b"}},
			"spec": map[string]any{"crew": int64(1) << 60, "share": 0.5, "sails": []any{"fore", nil, true}},
		}}
	}
	data, err := c.Encode(boat())
	if err != nil {
		t.Fatal(err)
	}
	// It is read although nobody knows its definition yet.
	o, err := c.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(boat(), o); d != "" {
		t.Error(d)
	}
}

func TestTheCodecRefusesWhatIsNotServed(t *testing.T) {
	c := New(Options{}).Codec()
	for _, b := range []string{"", "{}", "k8s\x00", "k8s\x00garbage", `{"apiVersion":"mainstay.dev/v1alpha1","kind":"Nothing"}`, `{"apiVersion":"mainstay.dev/v1alpha1","kind":"GitSource","spec":1}`} {
		if o, err := c.Decode([]byte(b)); err == nil {
			t.Errorf("%q was read as %v", b, o)
		}
	}
	o := clientscheme.Scheme
	missing, err := o.New(schema.GroupVersionKind{Group: "resource.k8s.io", Version: "v1", Kind: "DeviceClass"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Encode(missing.(store.Object)); err == nil {
		t.Error("a kind that is not served was written")
	}
}

func FuzzDecode(f *testing.F) {
	s := New(Options{})
	c := s.Codec()
	for _, k := range s.All() {
		o := random(s, k, filler(s, rand.New(rand.NewSource(1))))
		b, err := c.Encode(o)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := c.Decode(b)
		if err != nil {
			return
		}
		again, err := c.Encode(o)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, err := c.Decode(again); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}

// busyPod is a pod as it is found in a store: bound, running, and with its owners.
func busyPod(t testing.TB, s *Scheme) store.Object {
	t.Helper()
	return object(t, s, `
apiVersion: v1
kind: Pod
metadata:
  name: web-7d9f-abcde
  namespace: hello
  uid: 0b8a1f63-7f0e-4b57-9c43-0123456789ab
  resourceVersion: "123"
  generation: 1
  creationTimestamp: "2026-01-01T00:00:00Z"
  generateName: web-7d9f-
  labels: {app: web, pod-template-hash: 7d9f, tier: front}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-7d9f, uid: 0b8a1f63-7f0e-4b57-9c43-000000000000, controller: true, blockOwnerDeletion: true}]
  managedFields:
  - {apiVersion: v1, fieldsType: FieldsV1, manager: replicaset, operation: Update, time: "2026-01-01T00:00:00Z", fieldsV1: {"f:metadata": {"f:generateName": {}, "f:labels": {}, "f:ownerReferences": {}}, "f:spec": {}}}
  - {apiVersion: v1, fieldsType: FieldsV1, manager: scheduler, operation: Update, time: "2026-01-01T00:00:00Z", fieldsV1: {"f:spec": {"f:nodeName": {}}}}
  - {apiVersion: v1, fieldsType: FieldsV1, manager: agent, operation: Update, subresource: status, time: "2026-01-01T00:00:00Z", fieldsV1: {"f:status": {}}}
spec:
  nodeName: node-1
  restartPolicy: Always
  dnsPolicy: ClusterFirst
  schedulerName: default-scheduler
  serviceAccountName: default
  serviceAccount: default
  terminationGracePeriodSeconds: 30
  enableServiceLinks: true
  priority: 0
  preemptionPolicy: PreemptLowerPriority
  securityContext: {}
  tolerations:
  - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}
  - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 300}
  containers:
  - name: web
    image: mainstay.local/hello:v1
    args: [--port, "8080"]
    env:
    - {name: GREETING, valueFrom: {configMapKeyRef: {name: greeting, key: text}}}
    - {name: LEVEL, value: info}
    ports: [{name: http, containerPort: 8080, protocol: TCP}]
    resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {memory: 64Mi}}
    readinessProbe: {httpGet: {path: /healthz, port: http, scheme: HTTP}, periodSeconds: 2, timeoutSeconds: 1, successThreshold: 1, failureThreshold: 3}
    volumeMounts: [{name: config, mountPath: /etc/hello}]
    imagePullPolicy: IfNotPresent
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: File
  volumes: [{name: config, configMap: {name: greeting, defaultMode: 420}}]
status:
  phase: Running
  qosClass: Burstable
  hostIP: 10.0.0.1
  podIP: 10.1.0.5
  podIPs: [{ip: 10.1.0.5}]
  startTime: "2026-01-01T00:00:00Z"
  conditions:
  - {type: PodScheduled, status: "True", lastTransitionTime: "2026-01-01T00:00:00Z"}
  - {type: Initialized, status: "True", lastTransitionTime: "2026-01-01T00:00:00Z"}
  - {type: ContainersReady, status: "True", lastTransitionTime: "2026-01-01T00:00:00Z"}
  - {type: Ready, status: "True", lastTransitionTime: "2026-01-01T00:00:00Z"}
  containerStatuses:
  - {name: web, image: "mainstay.local/hello:v1", imageID: "sha256:0123", containerID: "containerd://abc", ready: true, started: true, restartCount: 0, state: {running: {startedAt: "2026-01-01T00:00:01Z"}}}
`)
}

func BenchmarkEncodePod(b *testing.B) {
	s := New(Options{})
	c, o := s.Codec(), busyPod(b, s)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Encode(o); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodePod(b *testing.B) {
	s := New(Options{})
	c := s.Codec()
	data, err := c.Encode(busyPod(b, s))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodedPods tells how much memory a decoded pod takes among others that are alike.
func BenchmarkDecodedPods(b *testing.B) {
	s := New(Options{})
	data, err := s.Codec().Encode(busyPod(b, s))
	if err != nil {
		b.Fatal(err)
	}
	const pods = 5000
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	for name, decode := range map[string]func(*Codec, []byte) (store.Object, error){"shared": (*Codec).Decode, "alone": (*Codec).decode} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c, kept, before := s.Codec(), make([]store.Object, pods), heap()
				for i := range kept {
					if kept[i], err = decode(c, data); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric((heap()-before)/pods, "B/pod")
				runtime.KeepAlive(kept)
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		New(Options{})
	}
}
