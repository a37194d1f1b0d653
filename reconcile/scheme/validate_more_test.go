package scheme

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func TestServicesThatAreRefused(t *testing.T) {
	service := func(spec string) string {
		return "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: hello}, spec: {" + spec + "}}"
	}
	refuse(t, []refusal{
		{"nothing is wrong", service("ports: [{port: 80}]"), nil},
		{"a headless one needs no ports", service("clusterIP: None"), nil},
		{"others do", service(""), []string{"spec.ports: Required value"}},
		{"bad ports", service("ports: [{port: 0}, {port: 80, name: a}, {port: 80, name: a, targetPort: 0}, {port: 81, name: B, targetPort: x_y, protocol: ICMP, nodePort: 30000}]"), []string{
			`spec.ports[0].name: Required value`,
			`spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive`,
			`spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive`,
			`spec.ports[2].name: Duplicate value: "a"`,
			`spec.ports[2]: Duplicate value: {"protocol":"TCP","port":80,"targetPort":0}`,
			`spec.ports[3].name: Invalid value: "B": a lowercase RFC 1123 label`,
			"spec.ports[3].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
			`spec.ports[3].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"`,
			`spec.ports[3].targetPort: Invalid value: "x_y": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)`,
		}},
		{"bad addresses", service("clusterIP: 10.0.0.x, externalIPs: [127.0.0.1, x], externalTrafficPolicy: Foo, ports: [{port: 80}]"), []string{
			`spec.clusterIPs[0]: Invalid value: "10.0.0.x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`,
			`spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)`,
			`spec.externalIPs[1]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`,
			`spec.externalTrafficPolicy: Unsupported value: "Foo": supported values: "Cluster", "Local"`,
		}},
		{"a name for nothing", service("type: ExternalName, clusterIP: 10.0.0.1"), []string{
			`spec.clusterIPs: Forbidden: may not be set for ExternalName services`,
			`spec.externalName: Required value`,
		}},
		{"a headless service for the world", service("type: NodePort, clusterIP: None"), []string{`spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services`}},
		{"what only load balancers have", service("loadBalancerSourceRanges: [x], loadBalancerClass: a, ports: [{port: 80}]"), []string{
			"spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
			"spec.loadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
			`spec.loadBalancerSourceRanges[0]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`,
		}},
		{"bad affinity", service("sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}, ports: [{port: 80}]"), []string{
			`spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400`,
		}},
	})
}

func TestConfigurationThatIsRefused(t *testing.T) {
	refuse(t, []refusal{
		{"keys of a config map", `{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: hello}, data: {"a b": x, "..": x, both: x}, binaryData: {both: YQ==}}`, []string{
			`data[..]: Invalid value: "..": must not be '..'`,
			`data[a b]: Invalid value: "a b": a valid config key`,
			`data[both]: Invalid value: "both": duplicate of key present in binaryData`,
		}},
		{"a config map that is too large", `{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: hello}, data: {a: "` + strings.Repeat("x", 1<<20+1) + `"}}`, []string{
			`data: Too long: may not be more than 1048576 bytes`,
		}},
		{"a certificate without a key", `{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: hello}, type: kubernetes.io/tls, data: {tls.crt: YQ==}}`, []string{`data[tls.key]: Required value`}},
		{"registry credentials that are no JSON", `{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: hello}, type: kubernetes.io/dockerconfigjson, stringData: {.dockerconfigjson: "hunter2"}}`, []string{
			`data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": invalid character 'h' looking for beginning of value`,
		}},
		{"credentials without any", `{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: hello}, type: kubernetes.io/basic-auth}`, []string{`data[password]: Required value`, `data[username]: Required value`}},
		{"an SSH key without one", `{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: hello}, type: kubernetes.io/ssh-auth}`, []string{`data[ssh-privatekey]: Required value`}},
		{"a token of nobody", `{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: hello}, type: kubernetes.io/service-account-token}`, []string{`metadata.annotations[kubernetes.io/service-account.name]: Required value`}},
		{"any other secret is the user's matter", `{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: hello}, type: example.com/x}`, nil},
		{"a namespace", `{apiVersion: v1, kind: Namespace, metadata: {name: a.b, namespace: x}, spec: {finalizers: [foo]}}`, []string{
			`metadata.name: Invalid value: "a.b": must not contain dots`,
			`metadata.namespace: Forbidden: not allowed on this type`,
			`spec.finalizers[0]: Invalid value: "foo": name is neither a standard finalizer name nor is it fully qualified`,
		}},
		{"a node", `{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDR: x, taints: [{key: a, effect: X}, {key: b, effect: NoSchedule}, {key: b, effect: NoSchedule}]}, status: {capacity: {cpu: -1}}}`, []string{
			`spec.podCIDRs[0]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`,
			`spec.taints[0].effect: Unsupported value: "X": supported values: "NoExecute", "NoSchedule", "PreferNoSchedule"`,
			`spec.taints[2]: Duplicate value: {"key":"b","effect":"NoSchedule"}: taints must be unique by key and effect pair`,
			`status.allocatable[cpu]: Invalid value: "-1": must be greater than or equal to 0`,
			`status.capacity[cpu]: Invalid value: "-1": must be greater than or equal to 0`,
		}},
		{"an event about another namespace", `{apiVersion: v1, kind: Event, metadata: {name: "system:x.1", namespace: hello}, involvedObject: {namespace: other}}`, []string{
			`involvedObject.namespace: Invalid value: "other": does not match event.namespace`,
		}},
		{"an endpoint slice", `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: e, namespace: hello}, addressType: IPv4, ports: [{name: a}, {name: a, protocol: X}], endpoints: [{}, {addresses: ["fd00::1", 127.0.0.1, x], hostname: A_}]}`, []string{
			`endpoints[0].addresses: Required value: must contain at least 1 address`,
			`endpoints[1].addresses[0]: Invalid value: "fd00::1": must be an IPv4 address`,
			`endpoints[1].addresses[1]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)`,
			`endpoints[1].addresses[2]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`,
			`endpoints[1].hostname: Invalid value: "A_": a lowercase RFC 1123 label`,
			`ports[1].name: Duplicate value: "a"`,
			`ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"`,
		}},
		{"a lease", `{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: l, namespace: hello}, spec: {leaseDurationSeconds: 0, leaseTransitions: -1}}`, []string{
			`spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0`,
			`spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0`,
		}},
		{"a runtime class", `{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: c}, handler: "a.b", overhead: {podFixed: {cpu: -1}}, scheduling: {nodeSelector: {"a b": c}, tolerations: [{key: a, operator: Exists, value: x}]}}`, []string{
			`handler: Invalid value: "a.b": must not contain dots`,
			`overhead[cpu]: Invalid value: "-1": must be greater than or equal to 0`,
			`scheduling.nodeSelector: Invalid value: "a b": name part`,
			"scheduling.tolerations[0].operator: Invalid value: {\"key\":\"a\",\"operator\":\"Exists\",\"value\":\"x\"}: value must be empty when `operator` is 'Exists'",
		}},
	})
}

func TestSourcesThatAreRefused(t *testing.T) {
	source := func(spec string) string {
		return "{apiVersion: mainstay.dev/v1alpha1, kind: GitSource, metadata: {name: g, namespace: hello}, spec: {" + spec + "}}"
	}
	const forms = "must be https://, http://, ssh://, user@host:path, file:///path or builtin:NAME"
	rows := []refusal{
		{"no url", source(""), []string{"spec.url: Required value: " + forms}},
		{"a password in the url, which is not shown", source(`url: "https://me:hunter2@example.com/x"`), []string{
			`spec.url: Invalid value: "https://me:xxxxx@example.com/x": must not hold a password: put it into a Secret and name that under auth`,
		}},
		{"a url of nowhere", source(`url: "https://"`), []string{`spec.url: Invalid value: "https://": must name a host and a path`}},
		{"a file of another host", source(`url: "file://srv/x"`), []string{`spec.url: Invalid value: "file://srv/x": must be file:// and an absolute path: file:///srv/manifests`}},
		{"two refs at once", source(`url: "builtin:x", ref: {branch: main, tag: v1}`), []string{`spec.ref: Invalid value: {"branch":"main","tag":"v1"}: must name one of branch, tag and commit`}},
		{"refs that Git does not have", source(`url: "builtin:x", ref: {branch: "a..b", tag: ".x", commit: abc}`), []string{
			`spec.ref.branch: Invalid value: "a..b": is not a name that Git allows`,
			`spec.ref.commit: Invalid value: "abc": must be a whole commit hash: 40 digits from 0 to 9 and a to f`,
			`spec.ref.tag: Invalid value: ".x": is not a name that Git allows`,
			`spec.ref: Invalid value: {"branch":"a..b","tag":".x","commit":"abc"}: must name one of branch, tag and commit`,
		}},
		{"times, paths and names", source(`url: "builtin:x", path: ../a, interval: 1ms, timeout: -1s, namespace: A, webhook: {name: ""}, auth: {secretRef: {name: B_}}, allow: {kinds: [deployment], namespaces: [A]}`), []string{
			`spec.allow.kinds[0]: Invalid value: "deployment": must be the name of a kind, such as Deployment`,
			`spec.allow.namespaces[0]: Invalid value: "A": a lowercase RFC 1123 label`,
			`spec.auth.secretRef.name: Invalid value: "B_": a lowercase RFC 1123 subdomain`,
			`spec.auth: Forbidden: a repository on this machine needs none`,
			`spec.interval: Invalid value: "1ms": must be at least 1s`,
			`spec.namespace: Invalid value: "A": a lowercase RFC 1123 label`,
			`spec.path: Invalid value: "../a": must not contain '..'`,
			`spec.timeout: Invalid value: "-1s": must be at least 1s`,
			`spec.webhook.name: Required value`,
		}},
	}
	for _, url := range []string{"ftp://a/b", "a b", "example.com/x", "/srv/x"} {
		rows = append(rows, refusal{"the url " + url, source(`url: "` + url + `"`), []string{`spec.url: Invalid value: "` + url + `": ` + forms}})
	}
	for _, url := range []string{"https://example.com/x.git", "ssh://git@example.com:22/x", "git@example.com:a/b.git", "file:///srv/x", "builtin:x", "http://127.0.0.1:80/x"} {
		rows = append(rows, refusal{"the url " + url + " is good", source(`url: "` + url + `"`), nil})
	}
	refuse(t, rows)
}

// changeRefusals are what validation says of changing old to new, a line each, and what new became.
func changeRefusals(t testing.TB, s *Scheme, old, new string) ([]string, store.Object) {
	t.Helper()
	was, is := object(t, s, old), object(t, s, new)
	k := s.Of(was)
	for _, o := range []store.Object{was, is} {
		o.SetUID("uid")
		o.SetResourceVersion("1")
		k.Default(o)
	}
	k.PrepareUpdate(is, was)
	return lines(k.ValidateUpdate(is, was)), is
}

func TestUpdatesThatAreRefused(t *testing.T) {
	s := New(Options{})
	const podUpdate = ": Forbidden: pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, " +
		"`spec.activeDeadlineSeconds`, `spec.tolerations` (only additions to existing tolerations), `spec.schedulingGates` (only removals)"
	deployment := func(app string) string {
		return "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: hello}, spec: {selector: {matchLabels: {app: " + app + "}}, template: {metadata: {labels: {app: " + app + "}}, spec: {containers: [{name: a, image: x}]}}}}"
	}
	service := func(spec string) string {
		return "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: hello}, spec: {ports: [{port: 80}], " + spec + "}}"
	}
	for _, row := range []struct {
		says, old, new string
		want           []string
	}{
		{"the selector of a deployment", deployment("a"), deployment("b"), []string{`spec.selector: Invalid value: {"matchLabels":{"app":"b"}}: field is immutable`}},
		{"a pod's image may change", pod("", ""), strings.Replace(pod("", ""), "image: x", "image: z", 1), nil},
		{"nothing else of it, and each field is named", pod("nodeName: n1,", "env: [{name: A, value: b}], resources: {limits: {cpu: 1}}"), pod("nodeName: n2, restartPolicy: Never, nodeSelector: {a: b},", "env: [{name: A, value: c}], resources: {limits: {cpu: 2}}"), []string{
			`spec.containers[0].env[0].value` + podUpdate,
			`spec.containers[0].resources.limits[cpu]` + podUpdate,
			`spec.containers[0].resources.requests[cpu]` + podUpdate,
			`spec.nodeName` + podUpdate,
			`spec.nodeSelector[a]` + podUpdate,
			`spec.restartPolicy` + podUpdate,
		}},
		{"a pod gets no more containers", pod("", ""), strings.Replace(pod("", ""), "containers: [", "containers: [{name: b, image: x}, ", 1), []string{`spec.containers: Forbidden: pod updates may not add or remove containers`}},
		{"tolerations are only added", pod("tolerations: [{key: a, operator: Exists}],", ""), pod("tolerations: [{key: b, operator: Exists}],", ""), []string{`spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds`}},
		{"and may be added", pod("tolerations: [{key: a, operator: Exists}],", ""), pod("tolerations: [{key: a, operator: Exists}, {key: b, operator: Exists}],", ""), nil},
		{"a deadline only comes nearer", pod("activeDeadlineSeconds: 5,", ""), pod("activeDeadlineSeconds: 6,", ""), []string{`spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value`}},
		{"gates are only opened", pod("", ""), pod("schedulingGates: [{name: x}],", ""), []string{`spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'x'`}},
		{"the address of a service", service("clusterIP: 10.0.0.1"), service("clusterIP: 10.0.0.2"), []string{`spec.clusterIP: Invalid value: "10.0.0.2": field is immutable`}},
		{"which may be left out", service("clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1]"), service(""), nil},
		{"a secret's type", "{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: hello}}", "{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: hello}, type: x}", []string{`type: Invalid value: "x": field is immutable`}},
		{"data that is immutable", "{apiVersion: v1, kind: ConfigMap, metadata: {name: s, namespace: hello}, immutable: true, data: {a: b}}", "{apiVersion: v1, kind: ConfigMap, metadata: {name: s, namespace: hello}, data: {a: c}}", []string{
			"data: Forbidden: field is immutable when `immutable` is set",
			"immutable: Forbidden: field is immutable when `immutable` is set",
		}},
		{"a secret that is immutable", "{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: hello}, immutable: true, data: {a: YQ==}}", "{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: hello}, immutable: true, data: {a: Yg==}}", []string{"data: Forbidden: field is immutable when `immutable` is set"}},
		{"the kind of addresses", "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: e, namespace: hello}, addressType: IPv4}", "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: e, namespace: hello}, addressType: IPv6}", []string{`addressType: Invalid value: "IPv6": field is immutable`}},
		{"a node's range", "{apiVersion: v1, kind: Node, metadata: {name: n}, spec: {podCIDR: 10.1.0.0/24}}", "{apiVersion: v1, kind: Node, metadata: {name: n}, spec: {podCIDR: 10.2.0.0/24}}", []string{`spec.podCIDR: Forbidden: node updates may not change podCIDR except from "" to valid`}},
		{"the file of an inventory", "{apiVersion: mainstay.dev/v1alpha1, kind: Inventory, metadata: {name: i, namespace: hello}, spec: {source: a, path: b}}", "{apiVersion: mainstay.dev/v1alpha1, kind: Inventory, metadata: {name: i, namespace: hello}, spec: {source: a, path: c}}", []string{`spec.path: Invalid value: "c": field is immutable`}},
	} {
		t.Run(row.says, func(t *testing.T) {
			got, _ := changeRefusals(t, s, row.old, row.new)
			if d := cmp.Diff(row.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestStatusesThatAreRefused(t *testing.T) {
	s := New(Options{})
	for _, row := range []struct {
		says, yaml string
		want       []string
	}{
		{"more ready than there are", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: hello}, status: {replicas: 1, readyReplicas: 2, availableReplicas: 3}}", []string{
			`status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas`,
			`status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas`,
			`status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas`,
		}},
		{"a namespace that ends without being deleted", "{apiVersion: v1, kind: Namespace, metadata: {name: hello}, status: {phase: Terminating}}", []string{
			"status.phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty",
		}},
		{"pod addresses", "{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: hello}, status: {podIPs: [{ip: x}, {ip: 10.1.0.1}, {ip: 10.1.0.1}]}}", []string{
			`status.podIPs[0]: Invalid value: "x": must be a valid IP address`,
			`status.podIPs[2]: Duplicate value: {"ip":"10.1.0.1"}`,
		}},
	} {
		t.Run(row.says, func(t *testing.T) {
			o := object(t, s, row.yaml)
			o.SetResourceVersion("1")
			was := o.DeepCopyObject().(store.Object)
			k := s.Of(o)
			k.PrepareStatusUpdate(o, was)
			if d := cmp.Diff(row.want, lines(k.ValidateStatusUpdate(o, was))); d != "" {
				t.Error(d)
			}
		})
	}
}
