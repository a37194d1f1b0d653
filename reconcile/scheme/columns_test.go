package scheme

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestColumns(t *testing.T) {
	s := New(Options{})
	now := time.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC) // an hour after what the rows say
	const born = `creationTimestamp: "2026-01-01T00:00:00Z"`
	pod := func(spec, status string) string {
		return fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: web, %s}, spec: {containers: [{name: a}, {name: b}], %s}, status: {%s}}", born, spec, status)
	}
	gone := func(status string) string {
		return fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: web, %s, deletionTimestamp: "2026-01-01T00:30:00Z"}, spec: {containers: [{name: a}, {name: b}]}, status: {%s}}`, born, status)
	}
	for _, row := range []struct{ says, yaml, want string }{
		{"a pod that waits for a node", pod("", "phase: Pending"), "web|0/2|Pending|0|60m|<none>|<none>|<none>|<none>"},
		{"a pod that runs", pod("nodeName: n1", `phase: Running, podIPs: [{ip: 10.1.0.1}], containerStatuses: [{name: a, ready: true, state: {running: {}}}, {name: b, ready: true, state: {running: {}}}]`),
			"web|2/2|Running|0|60m|10.1.0.1|n1|<none>|<none>"},
		{"a pod of which a container crashes: the first reason counts, restarts add up, the last is told",
			pod("", `phase: Running, containerStatuses: [{name: a, restartCount: 5, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1, finishedAt: "2026-01-01T00:58:00Z"}}}, {name: b, ready: true, restartCount: 1, state: {running: {}}, lastState: {terminated: {exitCode: 1, finishedAt: "2026-01-01T00:57:00Z"}}}]`),
			"web|1/2|CrashLoopBackOff|6 (2m ago)|60m|<none>|<none>|<none>|<none>"},
		{"a pod without its image", pod("", `phase: Pending, containerStatuses: [{name: a, state: {waiting: {reason: ErrImagePull}}}]`), "web|0/2|ErrImagePull|0|60m|<none>|<none>|<none>|<none>"},
		{"a pod that is done", pod("", `phase: Succeeded, containerStatuses: [{name: a, state: {terminated: {exitCode: 0, reason: Completed}}}]`), "web|0/2|Completed|0|60m|<none>|<none>|<none>|<none>"},
		{"a pod of which one container is done and the other ready", pod("", `phase: Running, conditions: [{type: Ready, status: "True"}], containerStatuses: [{name: a, state: {terminated: {exitCode: 0, reason: Completed}}}, {name: b, ready: true, state: {running: {}}}]`),
			"web|1/2|Running|0|60m|<none>|<none>|<none>|<none>"},
		{"the same, when the pod is not ready", pod("", `phase: Running, containerStatuses: [{name: a, state: {terminated: {exitCode: 0, reason: Completed}}}, {name: b, ready: true, state: {running: {}}}]`),
			"web|1/2|NotReady|0|60m|<none>|<none>|<none>|<none>"},
		{"a container that ended without a reason", pod("", `phase: Failed, containerStatuses: [{name: a, state: {terminated: {exitCode: 3}}}]`), "web|0/2|ExitCode:3|0|60m|<none>|<none>|<none>|<none>"},
		{"a container that a signal ended", pod("", `phase: Failed, containerStatuses: [{name: a, state: {terminated: {exitCode: 137, signal: 9}}}]`), "web|0/2|Signal:9|0|60m|<none>|<none>|<none>|<none>"},
		{"a pod that was evicted", pod("", `phase: Failed, reason: Evicted`), "web|0/2|Evicted|0|60m|<none>|<none>|<none>|<none>"},
		{"the second of two init containers runs", pod("initContainers: [{name: i}, {name: j}]", `phase: Pending, initContainerStatuses: [{name: i, restartCount: 2, state: {terminated: {exitCode: 0}}}, {name: j, state: {running: {}}}]`),
			"web|0/2|Init:1/2|2|60m|<none>|<none>|<none>|<none>"},
		{"an init container has no image", pod("initContainers: [{name: i}]", `phase: Pending, initContainerStatuses: [{name: i, state: {waiting: {reason: ImagePullBackOff}}}]`), "web|0/2|Init:ImagePullBackOff|0|60m|<none>|<none>|<none>|<none>"},
		{"an init container failed", pod("initContainers: [{name: i}]", `phase: Failed, initContainerStatuses: [{name: i, restartCount: 4, state: {terminated: {exitCode: 3}}}]`), "web|0/2|Init:ExitCode:3|4|60m|<none>|<none>|<none>|<none>"},
		{"an init container waits for its pod", pod("initContainers: [{name: i}]", `phase: Pending, initContainerStatuses: [{name: i, state: {waiting: {reason: PodInitializing}}}]`), "web|0/2|Init:0/1|0|60m|<none>|<none>|<none>|<none>"},
		{"a sidecar counts among the containers", pod("initContainers: [{name: i, restartPolicy: Always}]", `phase: Running, initContainerStatuses: [{name: i, started: true, ready: true, restartCount: 1, state: {running: {}}}], containerStatuses: [{name: a, ready: true, state: {running: {}}}]`),
			"web|2/3|Running|1|60m|<none>|<none>|<none>|<none>"},
		{"a pod that is being deleted", gone("phase: Running"), "web|0/2|Terminating|0|60m|<none>|<none>|<none>|<none>"},
		{"a pod that is being deleted and has ended", gone("phase: Succeeded"), "web|0/2|Succeeded|0|60m|<none>|<none>|<none>|<none>"},
		{"a pod on a node that is lost", gone("phase: Running, reason: NodeLost"), "web|0/2|Unknown|0|60m|<none>|<none>|<none>|<none>"},
		{"a pod with gates", pod("readinessGates: [{conditionType: x}, {conditionType: y}], schedulingGates: [{name: z}]", `phase: Pending, nominatedNodeName: n2, conditions: [{type: x, status: "True"}, {type: PodScheduled, status: "False", reason: SchedulingGated}]`),
			"web|0/2|SchedulingGated|0|60m|<none>|<none>|n2|1/2"},
		{"a deployment", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, ` + born + `}, spec: {replicas: 3, selector: {matchLabels: {app: web}}, template: {spec: {containers: [{name: a, image: "x:1"}, {name: b, image: z}]}}}, status: {readyReplicas: 2, updatedReplicas: 1, availableReplicas: 2}}`,
			"web|2/3|1|2|60m|a,b|x:1,z|app=web"},
		{"a replica set", `{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web, ` + born + `}, spec: {replicas: 3, selector: {matchLabels: {app: web}}, template: {spec: {containers: [{name: a, image: "x:1"}]}}}, status: {replicas: 2, readyReplicas: 1}}`,
			"web|3|2|1|60m|a|x:1|app=web"},
		{"a service", `{apiVersion: v1, kind: Service, metadata: {name: web, ` + born + `}, spec: {clusterIP: 10.96.0.1, selector: {b: c, a: b}, ports: [{port: 80}, {port: 53, protocol: UDP}]}}`,
			"web|ClusterIP|10.96.0.1|<none>|80/TCP,53/UDP|60m|a=b,b=c"},
		{"a headless service", `{apiVersion: v1, kind: Service, metadata: {name: web, ` + born + `}, spec: {clusterIP: None}}`, "web|ClusterIP|None|<none>|<none>|60m|<none>"},
		{"a service with node ports", `{apiVersion: v1, kind: Service, metadata: {name: web, ` + born + `}, spec: {type: NodePort, externalIPs: [1.2.3.4], ports: [{port: 80, nodePort: 30080}]}}`, "web|NodePort|<none>|1.2.3.4|80:30080/TCP|60m|<none>"},
		{"a load balancer that waits for an address", `{apiVersion: v1, kind: Service, metadata: {name: web, ` + born + `}, spec: {type: LoadBalancer}}`, "web|LoadBalancer|<none>|<pending>|<none>|60m|<none>"},
		{"a load balancer", `{apiVersion: v1, kind: Service, metadata: {name: web, ` + born + `}, spec: {type: LoadBalancer, externalIPs: [9.9.9.9]}, status: {loadBalancer: {ingress: [{ip: 2.2.2.2}, {hostname: a.b}, {ip: 1.1.1.1}]}}}`,
			"web|LoadBalancer|<none>|1.1.1.1,2.2.2.2,a.b,9.9.9.9|<none>|60m|<none>"},
		{"a name for another", `{apiVersion: v1, kind: Service, metadata: {name: web, ` + born + `}, spec: {type: ExternalName, externalName: example.com}}`, "web|ExternalName|<none>|example.com|<none>|60m|<none>"},
		{"an endpoint slice of many", `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web, ` + born + `}, addressType: IPv4, ports: [{port: 80}, {name: all}], endpoints: [{addresses: [a, b]}, {addresses: [c]}, {addresses: [d]}]}`,
			"web|IPv4|80,all|a,b,c + 1 more...|60m"},
		{"an endpoint slice of none", `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web, ` + born + `}, addressType: IPv4}`, "web|IPv4|<unset>|<unset>|60m"},
		{"a node", `{apiVersion: v1, kind: Node, metadata: {name: n1, ` + born + `, labels: {node-role.kubernetes.io/control-plane: "", kubernetes.io/role: worker}}, spec: {unschedulable: true}, status: {conditions: [{type: Ready, status: "True"}], addresses: [{type: InternalIP, address: 10.0.0.1}], nodeInfo: {kubeletVersion: v1.37.2, osImage: Debian}}}`,
			"n1|Ready,SchedulingDisabled|control-plane,worker|60m|v1.37.2|10.0.0.1|<none>|Debian|<unknown>|<unknown>"},
		{"a node of which nothing is known", `{apiVersion: v1, kind: Node, metadata: {name: n1}}`, "n1|Unknown|<none>|<unknown>||<none>|<none>|<unknown>|<unknown>|<unknown>"},
		{"a node that is not ready", `{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {conditions: [{type: Ready, status: Unknown}]}}`, "n1|NotReady|<none>|<unknown>||<none>|<none>|<unknown>|<unknown>|<unknown>"},
		{"a namespace", `{apiVersion: v1, kind: Namespace, metadata: {name: hello, ` + born + `}, status: {phase: Terminating}}`, "hello|Terminating|60m"},
		{"a config map", `{apiVersion: v1, kind: ConfigMap, metadata: {name: c, ` + born + `}, data: {a: b}, binaryData: {b: YQ==}}`, "c|2|60m"},
		{"a secret", `{apiVersion: v1, kind: Secret, metadata: {name: s, ` + born + `}, data: {a: YQ==}}`, "s|Opaque|1|60m"},
		{"a service account", `{apiVersion: v1, kind: ServiceAccount, metadata: {name: s, ` + born + `}}`, "s|60m"},
		{"a lease", `{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: l, ` + born + `}, spec: {holderIdentity: n1}}`, "l|n1|60m"},
		{"a runtime class", `{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: c, ` + born + `}, handler: runc}`, "c|runc|60m"},
		{"an event", `{apiVersion: v1, kind: Event, metadata: {name: e}, involvedObject: {kind: Pod, name: web, fieldPath: "spec.containers{a}"}, reason: Pulled, type: Normal, message: " pulled ", count: 3, source: {component: agent, host: n1}, firstTimestamp: "2026-01-01T00:00:00Z", lastTimestamp: "2026-01-01T00:59:00Z"}`,
			"60s|Normal|Pulled|pod/web|spec.containers{a}|agent, n1|pulled|60m|3|e"},
		{"an event of the new form", `{apiVersion: v1, kind: Event, metadata: {name: e}, involvedObject: {kind: Node, name: n1}, eventTime: "2026-01-01T00:00:00.000000Z", reportingComponent: agent, series: {count: 7, lastObservedTime: "2026-01-01T00:59:30.000000Z"}}`,
			"30s|||node/n1||agent||60m|7|e"},
		{"a source", `{apiVersion: mainstay.dev/v1alpha1, kind: GitSource, metadata: {name: g, ` + born + `}, spec: {url: "builtin:g", ref: {branch: main}}, status: {objects: 3, applied: {hash: 0123456789abcdef}, conditions: [{type: Ready, status: "False", reason: x, message: "web is not ready", lastTransitionTime: null}]}}`,
			"g|False|main|0123456|3|60m|builtin:g|.|web is not ready"},
		{"a source that is suspended", `{apiVersion: mainstay.dev/v1alpha1, kind: GitSource, metadata: {name: g, ` + born + `}, spec: {url: "builtin:g", suspend: true, ref: {commit: 0123456789abcdef}, path: a}}`,
			"g|Suspended|0123456|<none>|0|60m|builtin:g|a|"},
		{"an inventory", `{apiVersion: mainstay.dev/v1alpha1, kind: Inventory, metadata: {name: i, ` + born + `}, spec: {source: g, path: a/b.yaml, commit: 0123456789abcdef, objects: [{kind: Pod, name: x, line: 1}]}}`, "i|g|a/b.yaml|1|0123456|60m"},
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

func TestHeadings(t *testing.T) {
	s := New(Options{})
	for kind, want := range map[string]string{
		"Pod":        "Name Ready Status Restarts Age IP* Node* Nominated Node* Readiness Gates*",
		"Deployment": "Name Ready Up-to-date Available Age Containers* Images* Selector*",
		"Service":    "Name Type Cluster-IP External-IP Port(s) Age Selector*",
		"Event":      "Last Seen Type Reason Object Subobject* Source* Message First Seen* Count* Name*",
	} {
		for _, k := range s.All() {
			if k.Kind != kind {
				continue
			}
			var names []string
			for _, c := range k.Columns() {
				names = append(names, c.Name+strings.Repeat("*", int(c.Priority)))
			}
			if d := cmp.Diff(want, strings.Join(names, " ")); d != "" {
				t.Errorf("%s: %s", kind, d)
			}
		}
	}
}
