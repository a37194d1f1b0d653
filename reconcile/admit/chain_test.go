package admit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// newPod is the request to create p.
func newPod(p *corev1.Pod) *Request {
	return &Request{Operation: Create, Resource: schema.GroupVersionResource{Version: "v1", Resource: "pods"}, Namespace: p.Namespace, Name: p.Name, Object: p}
}

// bench is a chain, and a store to ask it on.
type bench struct {
	*Chain
	t  *testing.T
	st *store.Memory
}

// newBench has the objects of YAML documents in its store, which finds who writes to them.
func newBench(t *testing.T, objects ...string) *bench {
	t.Helper()
	s := scheme.New(scheme.Options{})
	m, err := store.Open(store.NewVolatile(s.Stored), s.Stored, store.Options{Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &bench{New(s), t, m}
	if _, err := m.Update(t.Context(), "begin", func(tx *store.Tx) error {
		for _, text := range objects {
			if err := tx.Create(b.object(text)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return b
}

// object reads one, defaulted; what it does not say of its kind is a pod's.
func (b *bench) object(text string) store.Object {
	b.t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		b.t.Fatalf("%s: %v", text, err)
	}
	if u.GetKind() == "" {
		u.SetAPIVersion("v1")
		u.SetKind("Pod")
	}
	o, err := b.scheme.Typed(u)
	if err != nil {
		b.t.Fatalf("%s: %v", text, err)
	}
	b.scheme.Default(o)
	if o.GetUID() == "" {
		o.SetUID("uid")
	}
	return o
}

// create asks the whole chain about a new object, and creates it if it is admitted. It returns the error's text, and the
// warnings.
func (b *bench) create(o store.Object) (refused string, warnings []string) {
	b.t.Helper()
	r := For(b.scheme.Of(o), Create, nil, o)
	r.Warn = func(text string) { warnings = append(warnings, text) }
	for _, err := range []error{b.Mutate(b.st.Snapshot(), r).Err(), b.Validate(b.st.Snapshot(), r).Err()} {
		if err != nil {
			return err.Error(), warnings
		}
	}
	_, err := b.st.Update(b.t.Context(), "create", func(tx *store.Tx) error {
		if err := b.Commit(tx, r); err != nil {
			return err
		}
		return tx.Create(o)
	})
	if err != nil {
		return err.Error(), warnings
	}
	return "", warnings
}

const hello = `{apiVersion: v1, kind: Namespace, metadata: {name: hello}, status: {phase: Active}}`

func TestWritesAreAdmitted(t *testing.T) {
	deployments := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	namespaces := schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	nodes := schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	create, remove, update := admission.Create, admission.Delete, admission.Update
	b := newBench(t, hello, `{apiVersion: v1, kind: Namespace, metadata: {name: ending}, status: {phase: Terminating}}`)
	p := Plugin{Chain: b.Chain, Reader: b.st}
	for _, c := range []struct {
		what            string
		op              admission.Operation
		resource        schema.GroupVersionResource
		namespace, name string
		want            string
	}{
		{"something is created in a namespace", create, deployments, "hello", "web", ""},
		{"its namespace does not exist", create, deployments, "helo", "web", `namespaces "helo" not found`},
		{"its namespace is ending", create, deployments, "ending", "web",
			`deployments.apps "web" is forbidden: unable to create new content in namespace ending because it is being terminated`},
		{"it is updated in a namespace that is ending", update, deployments, "ending", "web", ""},
		{"it is deleted in a namespace that is ending", remove, deployments, "ending", "web", ""},
		{"a namespace is created", create, namespaces, "new", "new", ""},
		{"a namespace is deleted", remove, namespaces, "hello", "hello", ""},
		{"the default namespace is deleted", remove, namespaces, "default", "default",
			`namespaces "default" is forbidden: this namespace may not be deleted`},
		{"something of the cluster is created", create, nodes, "", "mine", ""},
	} {
		a := admission.NewAttributesRecord(nil, nil, schema.GroupVersionKind{}, c.namespace, c.name, c.resource, "", c.op, nil, false, nil)
		got := ""
		if err := p.Admit(t.Context(), a, nil); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

func TestTheReasonOfARefusalCanBeReadByPrograms(t *testing.T) {
	b := newBench(t, `{apiVersion: v1, kind: Namespace, metadata: {name: ending}, status: {phase: Terminating}}`)
	err := b.Mutate(b.st.Snapshot(), newPod(&corev1.Pod{})).Err()
	if err != nil {
		t.Errorf("a pod without a namespace: %v", err)
	}
	p := &corev1.Pod{}
	p.Namespace = "ending"
	if err := b.Mutate(b.st.Snapshot(), newPod(p)).Err(); !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Errorf("%#v", err)
	}
}

func TestContainersGetTheLimitsOfTheirNamespaceAndKeepWithinThem(t *testing.T) {
	const limits = `{apiVersion: v1, kind: LimitRange, metadata: {name: l, namespace: hello}, spec: {limits: [
	  {type: Container, default: {cpu: 500m, memory: 64Mi}, defaultRequest: {cpu: 100m}, min: {cpu: 50m}, max: {cpu: "1"}, maxLimitRequestRatio: {cpu: "5"}},
	  {type: Pod, max: {cpu: "2"}}, {type: PersistentVolumeClaim, min: {storage: 1Gi}, max: {storage: 2Gi}}]}}`
	b := newBench(t, hello, limits)
	no := func(name, why string) string { return fmt.Sprintf("pods %q is forbidden: %s", name, why) }
	for i, c := range []struct{ what, containers, resources, set, err string }{
		{"one that says nothing", `[{name: a}]`, "100m 64Mi / 500m 64Mi", "cpu, memory request for container a; cpu, memory limit for container a", ""},
		{"one that says a part", `[{name: a, resources: {requests: {cpu: 200m}}}]`, "200m 64Mi / 500m 64Mi", "memory request for container a; cpu, memory limit for container a", ""},
		{"one that says all", `[{name: a, resources: {requests: {cpu: 200m, memory: 1Mi}, limits: {cpu: 300m, memory: 1Mi}}}]`, "200m 1Mi / 300m 1Mi", "", ""},
		{"too little", `[{name: a, resources: {requests: {cpu: 10m}, limits: {cpu: 50m}}}]`, "", "", "minimum cpu usage per Container is 50m, but request is 10m"},
		{"too much", `[{name: a, resources: {requests: {cpu: 400m}, limits: {cpu: 1500m}}}]`, "", "", "maximum cpu usage per Container is 1, but limit is 1500m"},
		{"too far apart", `[{name: a, resources: {requests: {cpu: 100m}, limits: {cpu: 800m}}}]`, "", "", "cpu max limit to request ratio per Container is 5, but provided ratio is 8.000000"},
		{"too much together", `[{name: a, resources: {requests: {cpu: 900m}, limits: {cpu: 900m}}}, {name: b, resources: {requests: {cpu: 900m}, limits: {cpu: 900m}}}, {name: c, resources: {requests: {cpu: 900m}, limits: {cpu: 900m}}}]`,
			"", "", "maximum cpu usage per Pod is 2, but limit is 2700m"},
	} {
		name := fmt.Sprintf("p%d", i)
		p := b.object(fmt.Sprintf(`{metadata: {name: %s, namespace: hello}, spec: {containers: %s}}`, name, c.containers)).(*corev1.Pod)
		want := c.err
		if want != "" {
			want = no(name, want)
		}
		if got, _ := b.create(p); got != want {
			t.Errorf("%s: %q, want %q", c.what, got, want)
		}
		if c.err != "" {
			continue
		}
		r := p.Spec.Containers[0].Resources
		got := fmt.Sprintf("%s %s / %s %s", r.Requests.Cpu(), r.Requests.Memory(), r.Limits.Cpu(), r.Limits.Memory())
		if got != c.resources || strings.TrimPrefix(p.Annotations[LimitedAnnotation], "LimitRanger plugin set: ") != c.set {
			t.Errorf("%s: %s, %q", c.what, got, p.Annotations)
		}
	}
}

func TestAPodIsWorthWhatItsClassIs(t *testing.T) {
	b := newBench(t, hello,
		`{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: high}, value: 1000, preemptionPolicy: Never}`,
		`{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: usual}, value: 10, globalDefault: true}`)
	for i, c := range []struct{ what, spec, want, err string }{
		{"one that names none gets the default class", `{}`, "usual 10 PreemptLowerPriority", ""},
		{"one that names one", `{priorityClassName: high}`, "high 1000 Never", ""},
		{"one of the system's, whose objects are not there yet", `{priorityClassName: system-node-critical}`, "system-node-critical 2000001000 ", ""},
		{"one that says the same number", `{priorityClassName: high, priority: 1000}`, "high 1000 Never", ""},
		{"one that says another number", `{priorityClassName: high, priority: 5}`, "", "the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 1000 from the given PriorityClass name"},
		{"one that says another policy", `{priorityClassName: high, preemptionPolicy: PreemptLowerPriority}`, "", "the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name"},
		{"a class that is not there", `{priorityClassName: low}`, "", "no PriorityClass with name low was found"},
	} {
		name := fmt.Sprintf("p%d", i)
		p := b.object(fmt.Sprintf(`{metadata: {name: %s, namespace: hello}, spec: %s}`, name, c.spec)).(*corev1.Pod)
		want := c.err
		if want != "" {
			want = fmt.Sprintf("pods %q is forbidden: %s", name, want)
		}
		if got, _ := b.create(p); got != want {
			t.Errorf("%s: %q, want %q", c.what, got, want)
		}
		if c.err != "" {
			continue
		}
		policy := ""
		if p.Spec.PreemptionPolicy != nil {
			policy = string(*p.Spec.PreemptionPolicy)
		}
		if got := fmt.Sprintf("%s %d %s", p.Spec.PriorityClassName, *p.Spec.Priority, policy); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	second := b.object(`{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: other}, value: 11, globalDefault: true}`)
	if got, _ := b.create(second); got != `priorityclasses.scheduling.k8s.io "other" is forbidden: PriorityClass usual is already marked as default. Only one default can exist` {
		t.Error(got)
	}
}

func TestPodsAreAsTheirNamespaceAllows(t *testing.T) {
	b := newBench(t, hello,
		`{apiVersion: v1, kind: Namespace, metadata: {name: strict, labels: {pod-security.kubernetes.io/enforce: baseline, pod-security.kubernetes.io/warn: restricted}}}`)
	const privileged = `spec: {containers: [{name: a, image: x, securityContext: {privileged: true}}]}`
	for _, c := range []struct {
		what, object, err string
		warnings          int
	}{
		{"anything where nothing is said", `{metadata: {name: a, namespace: hello}, ` + privileged + `}`, "", 0},
		{"what is not allowed", `{metadata: {name: a, namespace: strict}, ` + privileged + `}`,
			`pods "a" is forbidden: violates PodSecurity "baseline:latest": privileged (container "a" must not set securityContext.privileged=true)`, 0},
		{"what is warned of", `{metadata: {name: b, namespace: strict}, spec: {containers: [{name: a, image: x}]}}`, "", 1},
		{"a template is only warned of", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: strict}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, ` + privileged + `}}}`, "", 1},
		{"a namespace with a level that there is not", `{apiVersion: v1, kind: Namespace, metadata: {name: bad, labels: {pod-security.kubernetes.io/enforce: strict}}}`,
			`Namespace "bad" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted`, 0},
	} {
		got, warnings := b.create(b.object(c.object))
		if got != c.err || len(warnings) != c.warnings {
			t.Errorf("%s: %q, want %q; it warned of %q", c.what, got, c.err, warnings)
		}
	}
}

func TestQuotasAreTakenByWhatIsCreated(t *testing.T) {
	quota := func(name, spec string) string {
		return fmt.Sprintf(`{apiVersion: v1, kind: ResourceQuota, metadata: {name: %s, namespace: hello}, spec: %s}`, name, spec)
	}
	pod := func(name, spec string) string {
		return fmt.Sprintf(`{metadata: {name: %s, namespace: hello}, spec: %s}`, name, spec)
	}
	const asks = `{containers: [{name: a, resources: {requests: {cpu: 600m}}}]}`
	for _, c := range []struct {
		what, spec string
		objects    []string
		err        string // of the last
		used       string
	}{
		{"pods are counted", `{hard: {pods: "1", count/pods: "5"}}`, []string{pod("a", `{}`), pod("b", `{}`)},
			`pods "b" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1`, "count/pods=1,pods=1"},
		{"what pods ask for adds up", `{hard: {requests.cpu: "1"}}`, []string{pod("a", asks), pod("b", asks)},
			`pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1`, "requests.cpu=600m"},
		{"who says nothing of what is limited", `{hard: {limits.cpu: "1", memory: 1Gi}}`, []string{pod("a", asks)},
			`pods "a" is forbidden: failed quota: q: must specify limits.cpu for: a; memory for: a`, "limits.cpu=0,memory=0"},
		{"other quotas are not asked", `{hard: {pods: "1"}, scopes: [Terminating]}`, []string{pod("a", `{}`), pod("b", `{activeDeadlineSeconds: 5}`), pod("c", `{}`)}, "", "pods=1"},
		{"a quota for a priority class", `{hard: {pods: "0"}, scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In, values: [high]}]}}`,
			[]string{pod("a", `{}`), pod("b", `{priorityClassName: high}`)}, `pods "b" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0`, "pods=0"},
		{"pods that ask for nothing", `{hard: {pods: "1"}, scopes: [BestEffort]}`, []string{pod("a", asks), pod("b", `{}`), pod("c", asks)}, "", "pods=1"},
		{"objects of any kind", `{hard: {count/deployments.apps: "0", configmaps: "1"}}`, []string{
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: hello}}`,
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: hello}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}}}}`},
			`deployments.apps "d" is forbidden: exceeded quota: q, requested: count/deployments.apps=1, used: count/deployments.apps=0, limited: count/deployments.apps=0`,
			"configmaps=1,count/deployments.apps=0"},
		{"ports of nodes", `{hard: {services: "5", services.nodeports: "1", services.loadbalancers: "1"}}`, []string{
			`{apiVersion: v1, kind: Service, metadata: {name: s, namespace: hello}, spec: {type: NodePort, ports: [{port: 1}]}}`,
			`{apiVersion: v1, kind: Service, metadata: {name: t, namespace: hello}, spec: {type: NodePort, ports: [{port: 1}]}}`},
			`services "t" is forbidden: exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1`,
			"services=1,services.loadbalancers=0,services.nodeports=1"},
		{"devices", `{hard: {requests.example.com/gpu: "1"}}`, []string{pod("a", `{containers: [{name: a, resources: {limits: {example.com/gpu: 2}}}]}`)},
			`pods "a" is forbidden: exceeded quota: q, requested: requests.example.com/gpu=2, used: requests.example.com/gpu=0, limited: requests.example.com/gpu=1`, "requests.example.com/gpu=0"},
	} {
		b := newBench(t, hello, `{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: high}, value: 1000}`, quota("q", c.spec))
		got := ""
		for _, text := range c.objects {
			got, _ = b.create(b.object(text))
		}
		if got != c.err {
			t.Errorf("%s: %q, want %q", c.what, got, c.err)
		}
		q, _ := store.Get[*corev1.ResourceQuota](b.st.Snapshot(), "hello", "q")
		used := q.Status.Used
		if len(used) == 0 { // nothing was taken of it
			used = b.Used(b.st.Snapshot(), q, time.Time{})
		}
		if d := cmp.Diff(c.used, listed(used)); d != "" {
			t.Errorf("%s: used: %s", c.what, d)
		}
		if d := cmp.Diff(listed(b.Used(b.st.Snapshot(), q, time.Time{})), listed(used)); d != "" {
			t.Errorf("%s: what was taken is not what is used: %s", c.what, d)
		}
	}
}

func TestTwoAtOnceCannotTakeTheLastOfAQuota(t *testing.T) {
	b := newBench(t, hello, `{apiVersion: v1, kind: ResourceQuota, metadata: {name: q, namespace: hello}, spec: {hard: {pods: "3"}}}`)
	made := make(chan bool)
	for i := range 10 {
		go func() {
			refused, _ := b.create(b.object(fmt.Sprintf(`{metadata: {name: p%d, namespace: hello}, spec: {}}`, i)))
			made <- refused == ""
		}()
	}
	n := 0
	for range 10 {
		if <-made {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d pods were made of 3", n)
	}
}
