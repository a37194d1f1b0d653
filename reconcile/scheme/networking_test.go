package scheme

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNetworkingThatIsRefused(t *testing.T) {
	ingress := func(spec string) string {
		return "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: web, namespace: hello}, spec: {" + spec + "}}"
	}
	policy := func(spec string) string {
		return "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: web, namespace: hello}, spec: {" + spec + "}}"
	}
	class := func(spec string) string {
		return "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: web}, spec: {" + spec + "}}"
	}
	refuse(t, []refusal{
		{"an ingress as most are", ingress(`rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]`), nil},
		{"one of nothing", ingress(``), []string{"spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"}},
		{"bad paths", ingress(`ingressClassName: A_B, tls: [{hosts: ["*.x", "a b"], secretName: "*"}], rules: [{host: 10.0.0.1, http: {paths: [
			{path: x, pathType: Exact, backend: {}}, {path: /a//b, pathType: Prefix, backend: {service: {name: web, port: {}}}}, {path: /, backend: {}},
			{path: /, pathType: Odd, backend: {service: {name: web, port: {name: http, number: 80}}}}]}}]`), []string{
			`spec.ingressClassName: Invalid value: "A_B": a lowercase RFC 1123 subdomain`,
			`spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address`,
			`spec.rules[0].http.paths[0].backend: Invalid value: "": resource or service backend is required`,
			`spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path`,
			`spec.rules[0].http.paths[1].backend: Required value: port name or number is required`,
			`spec.rules[0].http.paths[1].path: Invalid value: "/a//b": must not contain '//'`,
			`spec.rules[0].http.paths[2].pathType: Required value: pathType must be specified`,
			`spec.rules[0].http.paths[3].backend: Invalid value: "": cannot set both port name & port number`,
			`spec.rules[0].http.paths[3].pathType: Unsupported value: "Odd": supported values: "Exact", "ImplementationSpecific", "Prefix"`,
			`spec.tls[0].hosts[1]: Invalid value: "a b": a lowercase RFC 1123 subdomain`,
			`spec.tls[0].secretName: Invalid value: "*": a lowercase RFC 1123 subdomain`,
		}},
		{"a class without a controller's name", class(`controller: x, parameters: {kind: A, name: b, scope: Namespace}`), []string{
			"spec.controller: Invalid value: \"x\": must be a domain-prefixed path (such as \"acme.io/foo\")",
			"spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
		}},
		{"a policy as most are", policy(`podSelector: {}, ingress: [{from: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{port: 80}, {port: http}]}]`), nil},
		{"a bad policy", policy(`podSelector: {}, policyTypes: [Odd], egress: [{to: [{}, {podSelector: {}, ipBlock: {cidr: 10.0.0.0/8, except: [192.168.0.0/16]}}],
			ports: [{port: 80, endPort: 70}, {port: http, endPort: 81}, {endPort: 3}, {port: 0, protocol: ICMP}]}]`), []string{
			"spec.egress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`",
			"spec.egress[0].ports[1].endPort: Invalid value: 81: may not be specified when `port` is non-numeric",
			"spec.egress[0].ports[2].endPort: Invalid value: 3: may not be specified when `port` is not specified",
			`spec.egress[0].ports[3].port: Invalid value: 0: must be between 1 and 65535, inclusive`,
			`spec.egress[0].ports[3].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"`,
			`spec.egress[0].to[0]: Required value: must specify a peer`,
			"spec.egress[0].to[1].ipBlock.except[0]: Invalid value: \"192.168.0.0/16\": must be a strict subset of `cidr`",
			`spec.egress[0].to[1]: Forbidden: may not specify both ipBlock and another peer`,
			`spec.policyTypes[0]: Unsupported value: "Odd": supported values: "Egress", "Ingress"`,
		}},
		{"an address that is none", `{apiVersion: networking.k8s.io/v1, kind: IPAddress, metadata: {name: 10.0.0.01}, spec: {}}`, []string{
			`metadata.name: Invalid value: "10.0.0.01": ParseAddr("10.0.0.01"): IPv4 field has octet with leading zero`, `spec.parentRef: Required value`}},
		{"ranges of one family", `{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: x}, spec: {cidrs: [10.0.0.0/8, x]}}`, []string{
			`spec.cidrs: Invalid value: {"cidrs":["10.0.0.0/8","x"]}: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96`,
			`spec.cidrs[1]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`}},
		{"endpoints of nowhere", `{apiVersion: v1, kind: Endpoints, metadata: {name: x, namespace: hello}, subsets: [{}, {addresses: [{ip: 127.0.0.1, hostname: A}], ports: [{port: 0}, {port: 1}]}]}`, []string{
			"subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
			`subsets[1].addresses[0].hostname: Invalid value: "A": a lowercase RFC 1123 label`,
			`subsets[1].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)`,
			`subsets[1].ports[0].name: Required value`, `subsets[1].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive`,
			`subsets[1].ports[1].name: Required value`}},
		{"an attachment of nothing", `{apiVersion: storage.k8s.io/v1, kind: VolumeAttachment, metadata: {name: x}, spec: {attacher: "", nodeName: n1, source: {}}}`, []string{
			`spec.attacher: Required value`, `spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName`}},
		{"a class of attributes without any", `{apiVersion: storage.k8s.io/v1, kind: VolumeAttributesClass, metadata: {name: x}, driverName: a.example}`, []string{
			`parameters: Required value: must contain at least one key/value pair`}},
		{"a node with a driver twice", `{apiVersion: storage.k8s.io/v1, kind: CSINode, metadata: {name: x}, spec: {drivers: [{name: a, nodeID: "1", topologyKeys: [a, a]}, {name: a, nodeID: ""}]}}`, []string{
			`spec.drivers[0].topologyKeys: Duplicate value: "a"`, `spec.drivers[1].name: Duplicate value: "a"`, `spec.drivers[1].nodeID: Required value`}},
	})
}

func TestNetworkingDefaults(t *testing.T) {
	s := New(Options{})
	for _, row := range []struct{ says, give, want string }{
		{"a policy about what comes in", `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}}`,
			`{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {podSelector: {}, ingress: [{ports: [{port: 80, protocol: TCP}]}], policyTypes: [Ingress]}}`},
		{"a policy about what goes out", `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {podSelector: {}, egress: [{}]}}`,
			`{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {podSelector: {}, egress: [{}], policyTypes: [Ingress, Egress]}}`},
		{"parameters of a class", `{apiVersion: networking.k8s.io/v1, kind: IngressClass, spec: {parameters: {kind: a, name: b}}}`,
			`{apiVersion: networking.k8s.io/v1, kind: IngressClass, spec: {parameters: {kind: a, name: b, scope: Cluster}}}`},
		{"a driver", `{apiVersion: storage.k8s.io/v1, kind: CSIDriver}`,
			`{apiVersion: storage.k8s.io/v1, kind: CSIDriver, spec: {attachRequired: true, podInfoOnMount: false, storageCapacity: false, fsGroupPolicy: ReadWriteOnceWithFSType,
			volumeLifecycleModes: [Persistent], requiresRepublish: false, seLinuxMount: false, preventPodSchedulingIfMissing: false}}`},
		{"endpoints", `{apiVersion: v1, kind: Endpoints, subsets: [{ports: [{port: 80}]}]}`, `{apiVersion: v1, kind: Endpoints, subsets: [{ports: [{port: 80, protocol: TCP}]}]}`},
	} {
		t.Run(row.says, func(t *testing.T) {
			got := object(t, s, row.give)
			s.Default(got)
			if d := cmp.Diff(text(t, object(t, s, row.want)), text(t, got)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNetworkingColumns(t *testing.T) {
	s := New(Options{})
	now := time.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC)
	const meta = `metadata: {name: x, creationTimestamp: "2026-01-01T00:00:00Z"}`
	for _, row := range []struct{ says, yaml, want string }{
		{"an ingress of everything", `{apiVersion: networking.k8s.io/v1, kind: Ingress, ` + meta + `}`, "x|<none>|*||80|60m"},
		{"an ingress of many hosts", `{apiVersion: networking.k8s.io/v1, kind: Ingress, ` + meta + `, spec: {ingressClassName: nginx, tls: [{}], rules: [{host: a}, {host: b}, {host: c}, {host: d}]}, status: {loadBalancer: {ingress: [{ip: 10.0.0.2}, {hostname: b.example}, {ip: 10.0.0.1}]}}}`,
			"x|nginx|a,b,c + 1 more...|10.0.0.1,10.0.0.2,b.example|80, 443|60m"},
		{"a class", `{apiVersion: networking.k8s.io/v1, kind: IngressClass, ` + meta + `, spec: {controller: k8s.io/nginx, parameters: {apiGroup: a.b, kind: C, name: d}}}`, "x|k8s.io/nginx|C.a.b/d|60m"},
		{"a policy", `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, ` + meta + `, spec: {podSelector: {matchLabels: {a: b}}}}`, "x|a=b|60m"},
		{"a policy for all", `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, ` + meta + `, spec: {podSelector: {}}}`, "x|<none>|60m"},
		{"an address", `{apiVersion: networking.k8s.io/v1, kind: IPAddress, ` + meta + `, spec: {parentRef: {resource: services, namespace: a, name: b}}}`, "x|services/a/b|60m"},
		{"a range", `{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, ` + meta + `, spec: {cidrs: [10.0.0.0/8, "fd00::/64"]}}`, "x|10.0.0.0/8,fd00::/64|60m"},
		{"endpoints", `{apiVersion: v1, kind: Endpoints, ` + meta + `, subsets: [{addresses: [{ip: 10.0.0.1}, {ip: 10.0.0.2}], notReadyAddresses: [{ip: 10.0.0.3}], ports: [{port: 80}, {port: 81}]}]}`,
			"x|10.0.0.1:80,10.0.0.2:80,10.0.0.1:81 + 1 more...|60m"},
		{"endpoints of nobody", `{apiVersion: v1, kind: Endpoints, ` + meta + `}`, "x|<none>|60m"},
		{"a driver", `{apiVersion: storage.k8s.io/v1, kind: CSIDriver, ` + meta + `, spec: {tokenRequests: [{audience: a}, {audience: b}]}}`, "x|true|false|false|a,b|false|Persistent|60m"},
		{"a node", `{apiVersion: storage.k8s.io/v1, kind: CSINode, ` + meta + `, spec: {drivers: [{name: a, nodeID: b}]}}`, "x|1|60m"},
		{"a capacity", `{apiVersion: storage.k8s.io/v1, kind: CSIStorageCapacity, ` + meta + `, storageClassName: fast, capacity: 1Gi}`, "x|fast|1Gi"},
		{"an attachment", `{apiVersion: storage.k8s.io/v1, kind: VolumeAttachment, ` + meta + `, spec: {attacher: a, nodeName: n1, source: {persistentVolumeName: v}}, status: {attached: true}}`, "x|a|v|n1|true|60m"},
		{"a class of attributes", `{apiVersion: storage.k8s.io/v1, kind: VolumeAttributesClass, ` + meta + `, driverName: a}`, "x|a|60m"},
	} {
		t.Run(row.says, func(t *testing.T) {
			o := object(t, s, row.yaml)
			s.Default(o)
			var cells []string
			for _, c := range s.Of(o).Cells(o, now) {
				cells = append(cells, fmt.Sprint(c))
			}
			if d := cmp.Diff(row.want, strings.Join(cells, "|")); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestWhatHasNoEffectIsWarnedOf(t *testing.T) {
	s := New(Options{})
	p := object(t, s, `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: x}, spec: {podSelector: {}}}`)
	k := s.Of(p)
	if w := k.Warnings(p, nil); len(w) != 1 || !strings.Contains(w[0], "not enforced") {
		t.Errorf("%q", w)
	}
	if w := k.Warnings(p, p); w != nil {
		t.Errorf("an update that wishes nothing anew: %q", w)
	}
	if c := object(t, s, `{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}`); len(s.Of(c).Warnings(c, c)) != 0 {
		t.Error("a ConfigMap is warned of")
	}
}
