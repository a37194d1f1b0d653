package scheme

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func noon() time.Time { return time.Date(2026, 1, 1, 12, 0, 0, 500, time.UTC) }

func TestNewObjectsBeginClean(t *testing.T) {
	s := New(Options{})
	for _, row := range []struct{ says, give, want string }{
		{"a deployment has a generation, and no status but what the controller gives it", `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, generation: 7, deletionTimestamp: "2026-01-01T00:00:00Z", deletionGracePeriodSeconds: 1, creationTimestamp: "2020-01-01T00:00:00Z", uid: mine}
spec: {replicas: 2}
status: {replicas: 3}`, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, generation: 1, creationTimestamp: "2026-01-01T12:00:00Z", uid: uid}
spec: {replicas: 2}`},
		{"a pod is pending, and has what admission gives to all", `
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {containers: [{name: a, image: "a:1", resources: {limits: {cpu: 1, memory: 1}}}], schedulingGates: [{name: g}], terminationGracePeriodSeconds: -5}
status: {phase: Running}`, `
apiVersion: v1
kind: Pod
metadata: {name: web, generation: 1, creationTimestamp: "2026-01-01T12:00:00Z", uid: uid}
spec:
  containers: [{name: a, image: "a:1", resources: {limits: {cpu: 1, memory: 1}}}]
  schedulingGates: [{name: g}]
  terminationGracePeriodSeconds: 1
  priority: 0
  preemptionPolicy: PreemptLowerPriority
  serviceAccountName: default
  serviceAccount: default
  tolerations:
  - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}
  - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 300}
  - {key: node.kubernetes.io/memory-pressure, operator: Exists, effect: NoSchedule}
status:
  phase: Pending
  qosClass: Guaranteed
  conditions: [{type: PodScheduled, status: "False", reason: SchedulingGated, message: Scheduling is blocked due to non-empty scheduling gates, lastTransitionTime: "2026-01-01T12:00:00Z"}]`},
		{"a pod keeps what it says of itself", `
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {serviceAccountName: sa, priority: 5, preemptionPolicy: Never, tolerations: [{operator: Exists}], resources: {limits: {cpu: 2}}, containers: [{name: a, image: "a:1"}]}`, `
apiVersion: v1
kind: Pod
metadata: {name: web, generation: 1, creationTimestamp: "2026-01-01T12:00:00Z", uid: uid}
spec: {serviceAccountName: sa, priority: 5, preemptionPolicy: Never, tolerations: [{operator: Exists}], resources: {limits: {cpu: 2}, requests: {cpu: 2}}, containers: [{name: a, image: "a:1"}]}
status: {phase: Pending, qosClass: Burstable}`},
		{"a pod of a class that every cluster has gets its priority", `{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {serviceAccountName: sa, priorityClassName: system-node-critical, preemptionPolicy: Never, tolerations: [{operator: Exists}]}}`,
			`{apiVersion: v1, kind: Pod, metadata: {name: p, generation: 1, creationTimestamp: "2026-01-01T12:00:00Z", uid: uid}, spec: {serviceAccountName: sa, priorityClassName: system-node-critical, priority: 2000001000, preemptionPolicy: Never, tolerations: [{operator: Exists}]}, status: {phase: Pending, qosClass: BestEffort}}`},
		{"a namespace waits for its contents when it is deleted", `{apiVersion: v1, kind: Namespace, metadata: {name: hello}, status: {phase: Terminating}}`,
			`{apiVersion: v1, kind: Namespace, metadata: {name: hello, creationTimestamp: "2026-01-01T12:00:00Z", uid: uid}, spec: {finalizers: [kubernetes]}, status: {phase: Active}}`},
		{"a node brings its status", `{apiVersion: v1, kind: Node, metadata: {name: n}, status: {capacity: {cpu: 4}}}`,
			`{apiVersion: v1, kind: Node, metadata: {name: n, creationTimestamp: "2026-01-01T12:00:00Z", uid: uid}, status: {capacity: {cpu: 4}}}`},
		{"the two fields for a service's address agree", `{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {clusterIP: None}, status: {loadBalancer: {ingress: [{ip: 1.2.3.4}]}}}`,
			`{apiVersion: v1, kind: Service, metadata: {name: s, creationTimestamp: "2026-01-01T12:00:00Z", uid: uid}, spec: {clusterIP: None, clusterIPs: [None]}}`},
		{"a config map counts nothing", `{apiVersion: v1, kind: ConfigMap, metadata: {name: c, generation: 3}}`,
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: c, creationTimestamp: "2026-01-01T12:00:00Z", uid: uid}}`},
	} {
		t.Run(row.says, func(t *testing.T) {
			got, want := object(t, s, row.give), object(t, s, row.want)
			k := s.Of(got)
			k.PrepareCreate(got, "uid", noon())
			k.Default(want)
			if d := cmp.Diff(text(t, want), text(t, got)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestUpdatesKeepWhatIsNotTheirs(t *testing.T) {
	s := New(Options{})
	const deployment = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, uid: u, generation: 3, creationTimestamp: "2026-01-01T00:00:00Z", annotations: {a: b}}, spec: {replicas: 1}, status: {replicas: 1}}`
	const service = `{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: NodePort, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ipFamilies: [IPv4], ipFamilyPolicy: SingleStack, ports: [{port: 80, nodePort: 30080}]}, status: {loadBalancer: {}}}`
	for _, row := range []struct{ says, old, new, want string }{
		{"a new status is dropped, an old identity kept, and nothing counted", deployment,
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, annotations: {a: b}}, spec: {replicas: 1}, status: {replicas: 9}}`, deployment},
		{"a change of the spec counts", deployment,
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, generation: 9, annotations: {a: b}}, spec: {replicas: 2}}`,
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, uid: u, generation: 4, creationTimestamp: "2026-01-01T00:00:00Z", annotations: {a: b}}, spec: {replicas: 2}, status: {replicas: 1}}`},
		{"a change of a deployment's annotations counts too", deployment,
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 1}}`,
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, uid: u, generation: 4, creationTimestamp: "2026-01-01T00:00:00Z"}, spec: {replicas: 1}, status: {replicas: 1}}`},
		{"nobody is called back to life",
			`{apiVersion: v1, kind: Pod, metadata: {name: web, generation: 1, deletionTimestamp: "2026-01-01T00:00:00Z", deletionGracePeriodSeconds: 30}}`,
			`{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {a: b}}}`,
			`{apiVersion: v1, kind: Pod, metadata: {name: web, generation: 1, labels: {a: b}, deletionTimestamp: "2026-01-01T00:00:00Z", deletionGracePeriodSeconds: 30}}`},
		{"a pod whose tolerations are replaced has the usual ones again",
			`{apiVersion: v1, kind: Pod, metadata: {name: web, generation: 1}}`,
			`{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {tolerations: [{key: a, operator: Exists}, {key: node.kubernetes.io/unreachable, operator: Exists}]}}`,
			`{apiVersion: v1, kind: Pod, metadata: {name: web, generation: 2}, spec: {tolerations: [{key: a, operator: Exists}, {key: node.kubernetes.io/unreachable, operator: Exists},
  {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}]}}`},
		{"a pod that is only bound to a node is of the generation that it was",
			`{apiVersion: v1, kind: Pod, metadata: {name: web, generation: 1}}`, `{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {nodeName: n}}`,
			`{apiVersion: v1, kind: Pod, metadata: {name: web, generation: 1}, spec: {nodeName: n}}`},
		{"a namespace's finalizers are another's matter",
			`{apiVersion: v1, kind: Namespace, metadata: {name: n}, spec: {finalizers: [kubernetes]}}`,
			`{apiVersion: v1, kind: Namespace, metadata: {name: n}}`, `{apiVersion: v1, kind: Namespace, metadata: {name: n}, spec: {finalizers: [kubernetes]}}`},
		{"a service keeps what the cluster gave it", service,
			`{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: NodePort, ports: [{port: 80}, {port: 81}]}}`,
			`{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: NodePort, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ipFamilies: [IPv4], ipFamilyPolicy: SingleStack, ports: [{port: 80, nodePort: 30080}, {port: 81}]}}`},
		{"and loses what its new type has no use for", service,
			`{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: ClusterIP, externalTrafficPolicy: Cluster, clusterIP: 10.0.0.1, ports: [{port: 80, nodePort: 30080}]}}`,
			`{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: ClusterIP, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ipFamilies: [IPv4], ipFamilyPolicy: SingleStack, ports: [{port: 80}]}}`},
		{"an address goes when the service becomes a name", service,
			`{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: ExternalName, externalName: a.b, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ports: [{port: 80, nodePort: 30080}]}}`,
			`{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: ExternalName, externalName: a.b, ports: [{port: 80}]}}`},
	} {
		t.Run(row.says, func(t *testing.T) {
			old, got, want := object(t, s, row.old), object(t, s, row.new), object(t, s, row.want)
			k := s.Of(got)
			k.Default(old)
			k.Default(want)
			before := text(t, old)
			k.PrepareUpdate(got, old)
			if d := cmp.Diff(text(t, want), text(t, got)); d != "" {
				t.Error(d)
			}
			if text(t, old) != before {
				t.Error("the old object was changed")
			}
		})
	}
}

func TestStatusUpdatesChangeLittleElse(t *testing.T) {
	s := New(Options{})
	for _, row := range []struct{ says, old, new, want string }{
		{"a deployment keeps its spec, labels and generation",
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, generation: 3, labels: {a: b}}, spec: {replicas: 1}}`,
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, generation: 4, labels: {a: c}}, spec: {replicas: 2}, status: {replicas: 1}}`,
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, generation: 3, labels: {a: b}}, spec: {replicas: 1}, status: {replicas: 1}}`},
		{"a pod keeps its owners and its class",
			`{apiVersion: v1, kind: Pod, metadata: {name: web, generation: 1, ownerReferences: [{apiVersion: v1, kind: X, name: x, uid: u}]}, status: {qosClass: BestEffort}}`,
			`{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {a: b}}, spec: {nodeName: n}, status: {phase: Running}}`,
			`{apiVersion: v1, kind: Pod, metadata: {name: web, generation: 1, labels: {a: b}, ownerReferences: [{apiVersion: v1, kind: X, name: x, uid: u}]}, status: {phase: Running, qosClass: BestEffort}}`},
	} {
		t.Run(row.says, func(t *testing.T) {
			old, got, want := object(t, s, row.old), object(t, s, row.new), object(t, s, row.want)
			k := s.Of(got)
			k.Default(old)
			k.Default(want)
			k.PrepareStatusUpdate(got, old)
			if d := cmp.Diff(text(t, want), text(t, got)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestOnlyFinalizeChangesANamespacesFinalizers(t *testing.T) {
	s := New(Options{})
	old := object(t, s, `{apiVersion: v1, kind: Namespace, metadata: {name: n}, spec: {finalizers: [kubernetes]}, status: {phase: Terminating}}`).(*corev1.Namespace)
	got := object(t, s, `{apiVersion: v1, kind: Namespace, metadata: {name: n}, status: {phase: Active}}`).(*corev1.Namespace)
	PrepareFinalize(got, old)
	if len(got.Spec.Finalizers) != 0 || got.Status.Phase != corev1.NamespaceTerminating {
		t.Errorf("got %s", text(t, got))
	}
}

func TestWhatAWriteCannotOwn(t *testing.T) {
	s := New(Options{})
	for kind, want := range map[string][2]string{
		"Pod": {".status", ".spec\n.metadata.deletionTimestamp\n.metadata.ownerReferences"}, "Deployment": {".status", ".spec\n.metadata.labels"},
		"ConfigMap": {"", ""},
	} {
		for _, k := range s.All() {
			if k.Kind == kind {
				if d := cmp.Diff(want, [2]string{k.ResetFields("").String(), k.ResetFields("status").String()}); d != "" {
					t.Errorf("%s: %s", kind, d)
				}
			}
		}
	}
}

func TestPodsAreClassedByWhatTheyArePromised(t *testing.T) {
	s := New(Options{})
	for resources, want := range map[string]corev1.PodQOSClass{
		"{}":                            corev1.PodQOSBestEffort,
		"{requests: {cpu: 0}}":          corev1.PodQOSBestEffort,
		"{requests: {cpu: 1}}":          corev1.PodQOSBurstable,
		"{limits: {cpu: 1}}":            corev1.PodQOSBurstable,
		"{limits: {cpu: 1, memory: 1}}": corev1.PodQOSGuaranteed,
		"{limits: {cpu: 1, memory: 1}, requests: {cpu: 1}}":                    corev1.PodQOSGuaranteed,
		"{limits: {cpu: 1, memory: 2}, requests: {cpu: 1, memory: 1}}":         corev1.PodQOSBurstable,
		"{limits: {example.com/gpu: 1}, requests: {example.com/gpu: 1}}":       corev1.PodQOSBestEffort,
		"{limits: {cpu: 1000m, memory: 1Gi}, requests: {cpu: 1, memory: 1Gi}}": corev1.PodQOSGuaranteed,
	} {
		o := object(t, s, pod("", "resources: "+resources))
		s.Of(o).PrepareCreate(o, "u", noon())
		if got := o.(*corev1.Pod).Status.QOSClass; got != want {
			t.Errorf("%s is %s, not %s", resources, got, want)
		}
	}
}
