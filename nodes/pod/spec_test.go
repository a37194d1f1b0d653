package pod

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var place = Place{
	Node: "here", Host: netip.MustParseAddr("192.0.2.1"), Domain: "cluster.local",
	DNS: []netip.Addr{netip.MustParseAddr("10.1.0.1")}, Resolv: "# by hand\nnameserver 192.0.2.53\nsearch example.com\noptions timeout:1\n",
	Capacity:    corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi"), corev1.ResourceCPU: resource.MustParse("2")},
	Allocatable: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1000Mi"), corev1.ResourceCPU: resource.MustParse("2")},
}

// snapshot is a store that holds objects.
func snapshot(t *testing.T, objects ...store.Object) *store.Snapshot {
	t.Helper()
	kinds := store.Kinds{}
	for kind, o := range map[string]store.Object{"ConfigMap": &corev1.ConfigMap{}, "Secret": &corev1.Secret{}, "Service": &corev1.Service{}} {
		kinds.Add(schema.GroupVersionKind{Version: "v1", Kind: kind}, o)
	}
	kinds.Add(nodev1.SchemeGroupVersion.WithKind("RuntimeClass"), &nodev1.RuntimeClass{})
	m, err := store.Open(store.NewVolatile(kinds), kinds, store.Options{Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := m.Update(t.Context(), "test", func(tx *store.Tx) error {
		for _, o := range objects {
			if err := tx.Create(o); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return m.Snapshot()
}

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "hello", Name: name}
}

func make1(t *testing.T, spec string, s *store.Snapshot) (runtime.ContainerSpec, error) {
	t.Helper()
	p := parse(t, spec)
	p.Labels = map[string]string{"app": "web"}
	return ContainerSpec(p, Making{Step: Step{Container: "a"}, Image: Image{Name: "img"}, Place: place, Address: addr}, s)
}

func TestVariablesComeFromWhereTheManifestSays(t *testing.T) {
	s := snapshot(t,
		&corev1.ConfigMap{ObjectMeta: named("config"), Data: map[string]string{"word": "hi", "other": "o"}},
		&corev1.Secret{ObjectMeta: named("secret"), Data: map[string][]byte{"key": []byte("s3cret")}},
		&corev1.Service{ObjectMeta: named("my-db"), Spec: corev1.ServiceSpec{ClusterIP: "10.9.0.7",
			Ports: []corev1.ServicePort{{Name: "sql", Port: 5432, Protocol: corev1.ProtocolTCP}}}},
		&corev1.Service{ObjectMeta: named("headless"), Spec: corev1.ServiceSpec{ClusterIP: "None", Ports: []corev1.ServicePort{{Port: 1}}}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"}, Spec: corev1.ServiceSpec{ClusterIP: "10.9.0.1",
			Ports: []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP}}}},
	)
	got, err := make1(t, `{containers: [{name: a,
	  resources: {limits: {cpu: 500m}, requests: {memory: 3Mi}},
	  command: [run, "$(WORD)", "$$(WORD)", "$(NOPE)"], args: ["--pod=$(POD)"],
	  envFrom: [{prefix: C_, configMapRef: {name: config}}, {secretRef: {name: missing, optional: true}}],
	  env: [{name: WORD, valueFrom: {configMapKeyRef: {name: config, key: word}}},
	        {name: KEY, valueFrom: {secretKeyRef: {name: secret, key: key}}},
	        {name: NONE, valueFrom: {secretKeyRef: {name: secret, key: nope, optional: true}}},
	        {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}},
	        {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}},
	        {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}},
	        {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}},
	        {name: CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu}}},
	        {name: MEM, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}},
	        {name: ALL, value: "$(WORD)-$(IP)"}, {name: C_other, value: "again"}]}]}`, s)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"HOSTNAME=web",
		"KUBERNETES_SERVICE_HOST=10.9.0.1", "KUBERNETES_SERVICE_PORT=443", "KUBERNETES_SERVICE_PORT_HTTPS=443", "KUBERNETES_PORT=tcp://10.9.0.1:443",
		"KUBERNETES_PORT_443_TCP=tcp://10.9.0.1:443", "KUBERNETES_PORT_443_TCP_PROTO=tcp", "KUBERNETES_PORT_443_TCP_PORT=443", "KUBERNETES_PORT_443_TCP_ADDR=10.9.0.1",
		"MY_DB_SERVICE_HOST=10.9.0.7", "MY_DB_SERVICE_PORT=5432", "MY_DB_SERVICE_PORT_SQL=5432", "MY_DB_PORT=tcp://10.9.0.7:5432",
		"MY_DB_PORT_5432_TCP=tcp://10.9.0.7:5432", "MY_DB_PORT_5432_TCP_PROTO=tcp", "MY_DB_PORT_5432_TCP_PORT=5432", "MY_DB_PORT_5432_TCP_ADDR=10.9.0.7",
		"C_other=again", "C_word=hi", "WORD=hi", "KEY=s3cret", "POD=web", "IP=10.1.0.2", "APP=web", "CPU=500", "CPUS=1", "MEM=1000", "ALL=hi-10.1.0.2",
	}
	if d := cmp.Diff(want, got.Env); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"run", "hi", "$(WORD)", "$(NOPE)", "--pod=web"}, append(got.Command, got.Args...)); d != "" {
		t.Error(d)
	}
}

func TestWithoutServiceLinksOnlyTheAPIIsTold(t *testing.T) {
	s := snapshot(t, &corev1.Service{ObjectMeta: named("db"), Spec: corev1.ServiceSpec{ClusterIP: "10.9.0.7", Ports: []corev1.ServicePort{{Port: 1}}}})
	got, err := make1(t, `{enableServiceLinks: false, containers: [{name: a}]}`, s)
	if d := cmp.Diff([]string{"HOSTNAME=web"}, got.Env); err != nil || d != "" {
		t.Error(err, d)
	}
}

func TestWhatCannotBeMadeIsTheManifestsFault(t *testing.T) {
	s := snapshot(t, &corev1.ConfigMap{ObjectMeta: named("config")})
	for _, row := range []struct{ name, spec, want string }{
		{"a config map that is missing", `{containers: [{name: a, envFrom: [{configMapRef: {name: nope}}]}]}`, `configmap "nope" not found`},
		{"a secret that is missing", `{containers: [{name: a, env: [{name: X, valueFrom: {secretKeyRef: {name: nope, key: k}}}]}]}`, `env X: secret "nope" not found`},
		{"a key that is missing", `{containers: [{name: a, env: [{name: X, valueFrom: {configMapKeyRef: {name: config, key: k}}}]}]}`, `env X: key "k" not found in configmap "config"`},
		{"root where root may not be", `{securityContext: {runAsNonRoot: true}, containers: [{name: a, securityContext: {runAsUser: 0}}]}`, "runAsNonRoot is true and runAsUser is 0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := make1(t, row.spec, s)
			if e, ok := errors.AsType[*runtime.ConfigError](err); !ok || !strings.Contains(e.Reason, row.want) {
				t.Errorf("the error is %v, want %q", err, row.want)
			}
		})
	}
}

func TestSecurityIsTheContainersOwnElseThePods(t *testing.T) {
	got, err := make1(t, `{securityContext: {runAsUser: 1000, runAsGroup: 1000, fsGroup: 2000, supplementalGroups: [63], runAsNonRoot: true}, containers: [{name: a,
	  securityContext: {runAsUser: 1001, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}, seccompProfile: {type: Unconfined}}}]}`, snapshot(t))
	uid, gid := int64(1001), int64(1000)
	want := runtime.Security{UID: &uid, GID: &gid, Groups: []int64{63, 2000}, ReadOnlyRoot: true, NoNewPrivs: true,
		AddCaps: []string{"NET_BIND_SERVICE"}, DropCaps: []string{"ALL"}, Unconfined: true, RunAsNonRoot: true}
	if d := cmp.Diff(want, got.Security); err != nil || d != "" {
		t.Error(err, d)
	}
}

func TestRequestsAndLimitsBecomeThoseOfCgroups(t *testing.T) {
	for _, row := range []struct {
		name, resources string
		container       runtime.Resources
		qos             string
		oom             int
	}{
		{"nothing", `{}`, runtime.Resources{CPUShares: 2}, "BestEffort", 1000},
		{"requests", `{requests: {cpu: 250m, memory: 256Mi}}`, runtime.Resources{CPUShares: 256}, "Burstable", 750},
		{"limits", `{requests: {cpu: 1, memory: 64Mi}, limits: {cpu: 1, memory: 64Mi}}`,
			runtime.Resources{CPUShares: 1024, CPUQuota: 100_000, CPUPeriod: 100_000, MemoryLimit: 64 << 20}, "Guaranteed", -997},
		{"a tiny limit", `{limits: {cpu: 1m}}`, runtime.Resources{CPUShares: 2, CPUQuota: 1000, CPUPeriod: 100_000}, "Burstable", 999},
	} {
		t.Run(row.name, func(t *testing.T) {
			spec := `{containers: [{name: a, resources: ` + row.resources + `}]}`
			c, err := make1(t, spec, snapshot(t))
			if err != nil {
				t.Fatal(err)
			}
			box := sandbox(t, spec)
			if d := cmp.Diff(row.container, c.Resources); d != "" {
				t.Error("container:", d)
			}
			if d := cmp.Diff(row.container, box.Resources); d != "" {
				t.Error("pod of one container:", d)
			}
			if box.QoS != row.qos || c.OOMScore != row.oom {
				t.Errorf("QoS %s, OOM score %d, want %s, %d", box.QoS, c.OOMScore, row.qos, row.oom)
			}
		})
	}
	box := sandbox(t, `{containers: [{name: a, resources: {limits: {cpu: 1, memory: 1Mi}}}, {name: b, resources: {limits: {memory: 2Mi}}}]}`)
	if d := cmp.Diff(runtime.Resources{CPUShares: 2, MemoryLimit: 3 << 20}, box.Resources); d != "" {
		t.Error("the pod is limited only in what each of its containers is:", d)
	}
}

func TestFilesInEtc(t *testing.T) {
	for _, row := range []struct{ name, spec, hosts, resolv string }{
		{"by default", `{containers: [{name: a}]}`, "10.1.0.2\tweb\n",
			"nameserver 10.1.0.1\nsearch hello.svc.cluster.local svc.cluster.local cluster.local example.com\noptions ndots:5\n"},
		{"with a subdomain and aliases", `{hostname: w, subdomain: s, hostAliases: [{ip: 1.2.3.4, hostnames: [p, q]}], containers: [{name: a}]}`,
			"10.1.0.2\tw.s.hello.svc.cluster.local\tw\n\n# Entries added by HostAliases.\n1.2.3.4\tp\tq\n",
			"nameserver 10.1.0.1\nsearch hello.svc.cluster.local svc.cluster.local cluster.local example.com\noptions ndots:5\n"},
		{"as the machine has it", `{dnsPolicy: Default, containers: [{name: a}]}`, "10.1.0.2\tweb\n",
			"nameserver 192.0.2.53\nsearch example.com\noptions timeout:1\n"},
		{"as the machine has it on its network", `{hostNetwork: true, dnsPolicy: ClusterFirst, containers: [{name: a}]}`, "10.1.0.2\there\n",
			"nameserver 192.0.2.53\nsearch example.com\noptions timeout:1\n"},
		{"of its own", `{dnsPolicy: None, dnsConfig: {nameservers: [9.9.9.9], searches: [x.org], options: [{name: ndots, value: "2"}, {name: rotate}]}, containers: [{name: a}]}`,
			"10.1.0.2\tweb\n", "nameserver 9.9.9.9\nsearch x.org\noptions ndots:2 rotate\n"},
		{"with additions", `{dnsConfig: {searches: [x.org, example.com], options: [{name: ndots, value: "2"}]}, containers: [{name: a}]}`, "10.1.0.2\tweb\n",
			"nameserver 10.1.0.1\nsearch hello.svc.cluster.local svc.cluster.local cluster.local example.com x.org\noptions ndots:2\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := parse(t, row.spec)
			_, own, _ := strings.Cut(Hosts(p, place, addr), "ip6-allrouters\n")
			if d := cmp.Diff(row.hosts, own); d != "" {
				t.Error("hosts:", d)
			}
			if text, _ := Resolv(p, place); text != row.resolv {
				d := cmp.Diff(row.resolv, text)
				t.Error("resolv.conf:", d)
			}
		})
	}
}

func TestTheResolverIsGivenNoMoreThanItLooksAt(t *testing.T) {

	many := func(n, length int) string {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("%0*d.org", length-4, i))
		}
		return strings.Join(names, ", ")
	}
	for _, row := range []struct {
		name, config    string
		servers, search int
		notes           string
	}{
		{"as much as it looks at", `{nameservers: [1.1.1.1, 2.2.2.2], searches: [` + many(28, 10) + `]}`, 3, 32, ""},
		{"the same server twice", `{nameservers: [1.1.1.1, 2.2.2.2, 1.1.1.1]}`, 3, 4, ""},
		{"four servers", `{nameservers: [1.1.1.1, 2.2.2.2, 3.3.3.3]}`, 3, 4, "Nameserver limits were exceeded"},
		{"33 domains", `{searches: [` + many(29, 10) + `]}`, 1, 32, "Search Line limits were exceeded"},
		{"a line of more than 2048 characters", `{searches: [` + many(9, 250) + `]}`, 1, 11, "Search Line limits were exceeded"},
	} {
		t.Run(row.name, func(t *testing.T) {
			text, notes := Resolv(parse(t, `{dnsConfig: `+row.config+`, containers: [{name: a}]}`), place)
			servers, search := strings.Count(text, "nameserver "), 0
			for line := range strings.Lines(text) {
				if list, ok := strings.CutPrefix(line, "search "); ok {
					search = len(strings.Fields(list))
					if len(strings.TrimSpace(list)) > 2048 {
						t.Errorf("the line has %d characters", len(strings.TrimSpace(list)))
					}
				}
			}
			if servers != row.servers || search != row.search {
				t.Errorf("%d servers and %d domains, want %d and %d:\n%s", servers, search, row.servers, row.search, text)
			}
			if got := strings.Join(notes, "\n"); !strings.HasPrefix(got, row.notes) || row.notes == "" && got != "" {
				t.Errorf("it notes %q, want %q", got, row.notes)
			}
		})
	}
}

func TestHostNames(t *testing.T) {
	long := strings.Repeat("x", 50)
	for _, row := range []struct{ name, spec, want, refused string }{
		{"the pod's name", `{}`, "web", ""},
		{"a name of its own", `{hostname: w}`, "w", ""},
		{"a subdomain is not seen", `{hostname: w, subdomain: s}`, "w", ""},
		{"but if it is asked for", `{hostname: w, subdomain: s, setHostnameAsFQDN: true}`, "w.s.hello.svc.cluster.local", ""},
		{"without a subdomain there is no full name", `{hostname: w, setHostnameAsFQDN: true}`, "w", ""},
		{"the kernel takes 64 characters", `{subdomain: ` + long + `, setHostnameAsFQDN: true}`, "", "is too long (64 characters is the max, 78 characters requested)"},
		{"another name counts before both", `{hostname: w, subdomain: s, hostnameOverride: o.p}`, "o.p", ""},
		{"on the host's network it has the host's", `{hostNetwork: true, hostname: w}`, "here", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := parse(t, strings.Replace(row.spec, "{", "{containers: [{name: a}], ", 1))
			got, err := SandboxHostname(p, place)
			if got != row.want || (err == nil) != (row.refused == "") || err != nil && !strings.Contains(err.Error(), row.refused) {
				t.Errorf("it is %q, %v, want %q, %q", got, err, row.want, row.refused)
			}
		})
	}
}

func TestExpand(t *testing.T) {
	value := func(name string) (string, bool) {
		v, ok := map[string]string{"A": "1", "E": ""}[name]
		return v, ok
	}
	for text, want := range map[string]string{
		"": "", "plain": "plain", "$(A)": "1", "x$(A)y$(A)": "x1y1", "$(E)": "", "$(B)": "$(B)", "$$(A)": "$(A)", "$$$(A)": "$1", "$A": "$A",
		"$": "$", "$$": "$", "$(A": "$(A", "$(A)$": "1$", "$()": "$()",
	} {
		if got := Expand(text, value); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestAnOrphanEndsSoon(t *testing.T) {
	box := sandbox(t, `{terminationGracePeriodSeconds: 600, hostNetwork: true, containers: [{name: a}]}`)
	p := Orphan(runtime.Sandbox{Pod: "u", Labels: box.Labels, Containers: []runtime.Container{a("a", 3, runtime.Running), a("a", 2, runtime.Exited)}}, now)
	if len(p.Spec.Containers) != 1 || *p.DeletionGracePeriodSeconds != 2 || !p.Spec.HostNetwork {
		t.Errorf("it is %v", p)
	}
	n := Decide(p, Seen{Sandbox: &runtime.Sandbox{Ready: true, Containers: []runtime.Container{a("a", 3, runtime.Running)}}}, now)
	if say(n) != "signal a#3 stop" {
		t.Errorf("next is %s", say(n))
	}
}
