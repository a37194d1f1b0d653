package scheme

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// refusals are what validation says of a new object, a line each.
func refusals(t testing.TB, s *Scheme, yaml string) []string {
	t.Helper()
	o := object(t, s, yaml)
	k := s.Of(o)
	k.PrepareCreate(o, "uid", time.Unix(0, 0))
	return lines(k.Validate(o))
}

// lines are errors in order, without the explanations of what a name is.
func lines(errs field.ErrorList) []string {
	var all []string
	for _, e := range errs {
		line := e.Error()
		if i := strings.Index(line, " must consist of"); i > 0 {
			line = line[:i]
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return all
}

type refusal struct {
	says, yaml string
	want       []string
}

func refuse(t *testing.T, rows []refusal) {
	t.Helper()
	s := New(Options{})
	for _, row := range rows {
		t.Run(row.says, func(t *testing.T) {
			if d := cmp.Diff(row.want, refusals(t, s, row.yaml)); d != "" {
				t.Error(d)
			}
		})
	}
}

// pod is a valid pod, with more in its spec and in its container.
func pod(spec, container string) string {
	return "{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: hello}, spec: {" + spec + " containers: [{name: a, image: x, " + container + "}]}}"
}

func TestPodsThatAreRefused(t *testing.T) {
	refuse(t, []refusal{
		{"nothing is wrong", pod("", ""), nil},
		{"no containers", "{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: hello}}", []string{"spec.containers: Required value"}},
		{"bad names, all at once", `
apiVersion: v1
kind: Pod
metadata: {name: Web, namespace: hello, labels: {"a b": c}, annotations: {"-": x}}
spec: {containers: [{name: A_, image: x}, {name: b}, {image: x}, {name: b, image: " x"}], hostname: a.b, nodeName: n_1}`, []string{
			`metadata.annotations: Invalid value: "-": name part`,
			`metadata.labels: Invalid value: "a b": name part`,
			`metadata.name: Invalid value: "Web": a lowercase RFC 1123 subdomain`,
			`spec.containers[0].name: Invalid value: "A_": a lowercase RFC 1123 label`,
			`spec.containers[1].image: Required value`,
			`spec.containers[2].name: Required value`,
			`spec.containers[3].image: Invalid value: " x": must not have leading or trailing whitespace`,
			`spec.containers[3].name: Duplicate value: "b"`,
			`spec.hostname: Invalid value: "a.b": must not contain dots`,
			`spec.nodeName: Invalid value: "n_1": a lowercase RFC 1123 subdomain`,
		}},
		{"policies that there are not", pod("restartPolicy: Sometimes, dnsPolicy: Foo, preemptionPolicy: Maybe,", "imagePullPolicy: Now, terminationMessagePolicy: X"), []string{
			`spec.containers[0].imagePullPolicy: Unsupported value: "Now": supported values: "Always", "IfNotPresent", "Never"`,
			`spec.containers[0].terminationMessagePolicy: Unsupported value: "X": supported values: "FallbackToLogsOnError", "File"`,
			`spec.dnsPolicy: Unsupported value: "Foo": supported values: "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"`,
			`spec.preemptionPolicy: Unsupported value: "Maybe": supported values: "Never", "PreemptLowerPriority"`,
			`spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"`,
		}},
		{"bad ports", pod("", `ports: [{containerPort: 0}, {containerPort: 70000, name: http}, {containerPort: 1, name: http, protocol: ICMP}, {containerPort: 2, name: this-name-is-too-long}, {containerPort: 3, hostPort: 80}, {containerPort: 4, hostPort: 80}]`), []string{
			`spec.containers[0].ports[0].containerPort: Required value`,
			`spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive`,
			`spec.containers[0].ports[2].name: Duplicate value: "http"`,
			`spec.containers[0].ports[2].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"`,
			`spec.containers[0].ports[3].name: Invalid value: "this-name-is-too-long": must be no more than 15 characters`,
			`spec.containers[0].ports[5].hostPort: Duplicate value: "TCP//80"`,
		}},
		{"bad environment", pod("", `env: [{name: ""}, {name: "A=B"}, {name: C, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: D, valueFrom: {}}, {name: E, valueFrom: {fieldRef: {fieldPath: spec.foo}}}, {name: F, valueFrom: {secretKeyRef: {name: s}, configMapKeyRef: {key: "a b"}}}, {name: G, valueFrom: {resourceFieldRef: {resource: limits.foo}}}], envFrom: [{}, {configMapRef: {}}]`), []string{
			`spec.containers[0].envFrom[0]: Invalid value: "": must specify one of: ` + "`configMapRef` or `secretRef`",
			`spec.containers[0].envFrom[1].configMapRef.name: Required value`,
			`spec.containers[0].env[0].name: Required value`,
			`spec.containers[0].env[1].name: Invalid value: "A=B": a valid environment variable name must consist only of printable ASCII characters other than '='`,
			"spec.containers[0].env[2].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
			"spec.containers[0].env[3].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
			`spec.containers[0].env[4].valueFrom.fieldRef.fieldPath: Invalid value: "spec.foo": error converting fieldPath: field label not supported: spec.foo`,
			`spec.containers[0].env[5].valueFrom.configMapKeyRef.key: Invalid value: "a b": a valid config key`,
			`spec.containers[0].env[5].valueFrom.configMapKeyRef.name: Required value`,
			`spec.containers[0].env[5].valueFrom.secretKeyRef.key: Required value`,
			`spec.containers[0].env[5].valueFrom: Invalid value: "": may not have more than one field specified at a time`,
			`spec.containers[0].env[6].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.foo": supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"`,
		}},
		{"bad resources", pod("", `resources: {requests: {cpu: 2, memory: -1, foo: 1, example.com/gpu: 1.5}, limits: {cpu: 500m}}`), []string{
			`spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources`,
			`spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 500m`,
			`spec.containers[0].resources.requests[example.com/gpu]: Invalid value: "1500m": must be an integer`,
			`spec.containers[0].resources.requests[foo]: Invalid value: "foo": must be a standard resource for containers`,
			`spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0`,
		}},
		{"stop signals without an operating system, and that are none", pod("", `lifecycle: {stopSignal: SIGNAL}`), []string{
			`spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set unless spec.os.name is`,
			`spec.containers[0].lifecycle.stopSignal: Invalid value: "SIGNAL": must be the name of a signal, such as SIGTERM`,
		}},
		{"a stop signal", pod("os: {name: linux},", `lifecycle: {stopSignal: SIGRTMIN+3}`), nil},
		{"restart rules without a policy and without a meaning", pod("", `restartPolicyRules: [{action: Restart}, {action: Jump, exitCodes: {operator: In, values: [1]}}]`), []string{
			`spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used`,
			`spec.containers[0].restartPolicyRules[0].exitCodes: Required value: must be specified`,
			`spec.containers[0].restartPolicyRules[1].action: Unsupported value: "Jump": supported values: "Restart", "RestartAllContainers"`,
		}},
		{"bad probes", pod("", `livenessProbe: {successThreshold: 2}, readinessProbe: {httpGet: {port: 0, scheme: FTP, httpHeaders: [{name: "a b"}]}, tcpSocket: {port: 1}}, startupProbe: {exec: {}, periodSeconds: -1, terminationGracePeriodSeconds: 0}, lifecycle: {preStop: {}}`), []string{
			`spec.containers[0].lifecycle.preStop: Required value: must specify a handler type`,
			`spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1`,
			`spec.containers[0].livenessProbe: Required value: must specify a handler type`,
			`spec.containers[0].readinessProbe.httpGet.httpHeaders[0].name: Invalid value: "a b": a valid HTTP header`,
			`spec.containers[0].readinessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive`,
			`spec.containers[0].readinessProbe.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS"`,
			`spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type`,
			`spec.containers[0].startupProbe.exec.command: Required value`,
			`spec.containers[0].startupProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0`,
			`spec.containers[0].startupProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0`,
		}},
		{"mounts of nothing, and on one another", pod("volumes: [{name: v}],", `volumeMounts: [{name: w, mountPath: /a}, {name: v, mountPath: /a}, {name: v}, {name: v, mountPath: /b, subPath: /x}, {name: v, mountPath: /c, subPath: ../x}, {mountPath: /d}]`), []string{
			`spec.containers[0].volumeMounts[0].name: Not found: "w"`,
			`spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique`,
			`spec.containers[0].volumeMounts[2].mountPath: Required value`,
			`spec.containers[0].volumeMounts[3].subPath: Invalid value: "/x": must be a relative path`,
			`spec.containers[0].volumeMounts[4].subPath: Invalid value: "../x": must not contain '..'`,
			`spec.containers[0].volumeMounts[5].name: Required value`,
		}},
		{"bad volumes", pod(`volumes: [{name: V}, {name: a, secret: {secretName: s}, configMap: {name: c}}, {name: a}, {name: b, configMap: {items: [{path: ../x, mode: 01000}]}}, {name: c, hostPath: {path: a/../b, type: Dir}}, {name: d, emptyDir: {sizeLimit: -1}}, {name: e, downwardAPI: {items: [{path: x}]}}, {name: f, projected: {sources: [{secret: {name: s, items: [{key: k, path: p}]}}, {serviceAccountToken: {path: p, expirationSeconds: 5}}]}}],`, ""), []string{
			`spec.volumes[0].name: Invalid value: "V": a lowercase RFC 1123 label`,
			`spec.volumes[1].configMap: Forbidden: may not specify more than 1 volume type`,
			`spec.volumes[2].name: Duplicate value: "a"`,
			`spec.volumes[3].configMap.items[0].key: Required value`,
			`spec.volumes[3].configMap.items[0].mode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive`,
			`spec.volumes[3].configMap.items[0].path: Invalid value: "../x": must not contain '..'`,
			`spec.volumes[3].configMap.name: Required value`,
			`spec.volumes[4].hostPath.path: Invalid value: "a/../b": must not contain '..'`,
			`spec.volumes[4].hostPath.type: Unsupported value: "Dir": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"`,
			`spec.volumes[5].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity`,
			`spec.volumes[6].downwardAPI.items[0]: Required value: one of fieldRef and resourceFieldRef is required`,
			`spec.volumes[7].projected.sources[1].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes`,
			`spec.volumes[7].projected.sources[1].serviceAccountToken.path: Invalid value: "p": conflicting duplicate paths`,
		}},
		{"init containers that would never be asked", pod("initContainers: [{name: i, image: x, livenessProbe: {tcpSocket: {port: 1}}, lifecycle: {}}, {name: a, image: x}, {name: s, image: x, restartPolicy: Always, livenessProbe: {tcpSocket: {port: 1}}}],", ""), []string{
			`spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always`,
			`spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always`,
			`spec.initContainers[1].name: Duplicate value: "a"`,
		}},
		{"bad confinement", pod("hostPID: true, shareProcessNamespace: true, securityContext: {runAsUser: -1, seccompProfile: {type: Localhost}, sysctls: [{name: \"a b\"}]},", "securityContext: {runAsGroup: -1, privileged: true, allowPrivilegeEscalation: false, seccompProfile: {type: Foo}}"), []string{
			"spec.containers[0].securityContext.runAsGroup: Invalid value: -1: must be between 0 and 2147483647, inclusive",
			`spec.containers[0].securityContext.seccompProfile.type: Unsupported value: "Foo": supported values: "Localhost", "RuntimeDefault", "Unconfined"`,
			"spec.containers[0].securityContext: Invalid value: {\"privileged\":true,\"runAsGroup\":-1,\"allowPrivilegeEscalation\":false,\"seccompProfile\":{\"type\":\"Foo\"}}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
			`spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive`,
			`spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost`,
			`spec.securityContext.sysctls[0].name: Invalid value: "a b": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`,
			`spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled`,
		}},
		{"bad wishes of the scheduler", pod(`nodeSelector: {a: "b c"}, tolerations: [{operator: Equal, value: x}, {key: a, operator: Exists, value: b, effect: Never, tolerationSeconds: 1}], topologySpreadConstraints: [{maxSkew: 0, whenUnsatisfiable: X, minDomains: 0}], affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}, preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, preference: {matchExpressions: [{key: a, operator: In}]}}]}, podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchExpressions: [{key: a, operator: X}]}}]}},`, ""), []string{
			`spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values: Required value: must be specified when ` + "`operator` is 'In' or 'NotIn'",
			`spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100`,
			`spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term`,
			`spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchExpressions[0].operator: Invalid value: "X": not a valid selector operator`,
			`spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty`,
			`spec.nodeSelector: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`,
			`spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when ` + "`key` is empty, which means \"match all values and all keys\"",
			`spec.tolerations[1].effect: Invalid value: "Never": effect must be 'NoExecute' when ` + "`tolerationSeconds` is set",
			`spec.tolerations[1].effect: Unsupported value: "Never": supported values: "NoExecute", "NoSchedule", "PreferNoSchedule"`,
			`spec.tolerations[1].operator: Invalid value: {"key":"a","operator":"Exists","value":"b","effect":"Never","tolerationSeconds":1}: value must be empty when ` + "`operator` is 'Exists'",
			`spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than 0`,
			`spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not X`,
			`spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: must be greater than 0`,
			`spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty`,
			`spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "X": supported values: "DoNotSchedule", "ScheduleAnyway"`,
		}},
		{"bad DNS", pod("dnsPolicy: None, hostAliases: [{ip: x, hostnames: [A_]}],", ""), []string{
			`spec.dnsConfig: Required value: must provide ` + "`dnsConfig` when `dnsPolicy` is None",
			`spec.hostAliases[0].hostnames[0]: Invalid value: "A_": a lowercase RFC 1123 subdomain`,
			`spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`,
		}},
		{"a pod that asks for less than its containers do", pod("resources: {requests: {cpu: 1}},", "resources: {requests: {cpu: 2}}"), []string{
			`spec.resources.requests: Invalid value: "1": must be greater than or equal to aggregate container requests of 2`,
		}},
	})
}

func TestWorkloadsThatAreRefused(t *testing.T) {
	deployment := func(spec, template string) string {
		return "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: hello}, spec: {" + spec + " template: {metadata: {labels: {app: web}}, spec: {containers: [{name: a, image: x}]," + template + "}}}}"
	}
	const selector = "selector: {matchLabels: {app: web}}, "
	refuse(t, []refusal{
		{"nothing is wrong", deployment(selector, ""), nil},
		{"no selector", deployment("", ""), []string{`spec.selector: Required value`}},
		{"a selector of everything", deployment("selector: {},", ""), []string{`spec.selector: Invalid value: {}: empty selector is invalid for deployment`}},
		{"a selector that does not find its pods", deployment("selector: {matchLabels: {app: other}},", ""), []string{
			"spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
		}},
		{"pods that end", deployment(selector, "restartPolicy: Never, activeDeadlineSeconds: 5"), []string{
			`spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported`,
			`spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`,
		}},
		{"an update that cannot move", deployment(selector+"strategy: {rollingUpdate: {maxSurge: 0%, maxUnavailable: 0}},", ""), []string{
			"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
		}},
		{"bad numbers", deployment(selector+"replicas: -1, minReadySeconds: 10, progressDeadlineSeconds: 10, revisionHistoryLimit: -1, strategy: {rollingUpdate: {maxSurge: x, maxUnavailable: 101%}},", ""), []string{
			`spec.progressDeadlineSeconds: Invalid value: 10: must be greater than minReadySeconds`,
			`spec.replicas: Invalid value: -1: must be greater than or equal to 0`,
			`spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0`,
			`spec.strategy.rollingUpdate.maxSurge: Invalid value: "x": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')`,
			`spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%`,
		}},
		{"half of another strategy", deployment(selector+"strategy: {type: Recreate, rollingUpdate: {}},", ""), []string{
			"spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
		}},
		{"what is wrong with the pods is told too", deployment(selector, "volumes: [{name: A}]"), []string{`spec.template.spec.volumes[0].name: Invalid value: "A": a lowercase RFC 1123 label`}},
		{"a replica set is refused likewise", "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web, namespace: hello}, spec: {replicas: -1, selector: {matchLabels: {a: b}}, template: {spec: {containers: [{name: a, image: x}]}}}}", []string{
			`spec.replicas: Invalid value: -1: must be greater than or equal to 0`,
			"spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
		}},
	})
}

func TestWhatTheNodesCannotDoIsRefused(t *testing.T) {
	s := New(Options{Unsupported: func(p *corev1.PodSpec) field.ErrorList {
		if p.HostIPC {
			return field.ErrorList{field.Forbidden(field.NewPath("hostIPC"), "is not supported yet")}
		}
		return nil
	}})
	for yaml, want := range map[string]string{
		pod("hostIPC: true,", ""): `spec.hostIPC: Forbidden: is not supported yet`,
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: hello}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {hostIPC: true, containers: [{name: a, image: x}]}}}}": `spec.template.spec.hostIPC: Forbidden: is not supported yet`,
	} {
		if d := cmp.Diff([]string{want}, refusals(t, s, yaml)); d != "" {
			t.Error(d)
		}
	}
	if got := refusals(t, s, pod("", "")); got != nil {
		t.Error(got)
	}
}
