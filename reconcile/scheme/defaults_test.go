package scheme

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func TestDefaults(t *testing.T) {
	s := New(Options{})
	for _, row := range []struct{ says, give, want string }{
		{"a deployment of one line", `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {selector: {matchLabels: {app: web}}, template: {spec: {containers: [{name: web, image: nginx}]}}}`, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  revisionHistoryLimit: 10
  progressDeadlineSeconds: 600
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}}
  selector: {matchLabels: {app: web}}
  template:
    spec:
      restartPolicy: Always
      dnsPolicy: ClusterFirst
      schedulerName: default-scheduler
      terminationGracePeriodSeconds: 30
      securityContext: {}
      containers: [{name: web, image: nginx, imagePullPolicy: Always, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}]`},
		{"a deployment that is recreated has no rolling update, and half a rolling update is made whole", `
apiVersion: apps/v1
kind: Deployment
spec: {strategy: {type: Recreate}, replicas: 0}`, `
apiVersion: apps/v1
kind: Deployment
spec:
  replicas: 0
  revisionHistoryLimit: 10
  progressDeadlineSeconds: 600
  strategy: {type: Recreate}
  template: {spec: {restartPolicy: Always, dnsPolicy: ClusterFirst, schedulerName: default-scheduler, terminationGracePeriodSeconds: 30, securityContext: {}}}`},
		{"a replica set", `{apiVersion: apps/v1, kind: ReplicaSet}`, `
apiVersion: apps/v1
kind: ReplicaSet
spec:
  replicas: 1
  template: {spec: {restartPolicy: Always, dnsPolicy: ClusterFirst, schedulerName: default-scheduler, terminationGracePeriodSeconds: 30, securityContext: {}}}`},
		{"a pod asks for its limits where it does not say what it needs", `
apiVersion: v1
kind: Pod
spec: {containers: [{name: a, image: "a:1", resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 100u}}}]}`, `
apiVersion: v1
kind: Pod
spec:
  restartPolicy: Always
  dnsPolicy: ClusterFirst
  schedulerName: default-scheduler
  terminationGracePeriodSeconds: 30
  enableServiceLinks: true
  securityContext: {}
  containers: [{name: a, image: "a:1", imagePullPolicy: IfNotPresent, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File,
    resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1m, memory: 1Gi}}}]`},
		{"a pod on the host's network takes the host's ports", `
apiVersion: v1
kind: Pod
spec: {hostNetwork: true, containers: [{name: a, image: "a:1", ports: [{containerPort: 80}]}]}`, `
apiVersion: v1
kind: Pod
spec:
  hostNetwork: true
  restartPolicy: Always
  dnsPolicy: ClusterFirst
  schedulerName: default-scheduler
  terminationGracePeriodSeconds: 30
  enableServiceLinks: true
  securityContext: {}
  containers: [{name: a, image: "a:1", imagePullPolicy: IfNotPresent, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File,
    ports: [{containerPort: 80, hostPort: 80, protocol: TCP}]}]`},
		{"probes, references and volumes", `
apiVersion: v1
kind: Pod
spec:
  serviceAccountName: sa
  containers:
  - name: a
    image: a:1
    env: [{name: N, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
    livenessProbe: {httpGet: {port: 80}}
    readinessProbe: {grpc: {port: 80}, periodSeconds: 1, successThreshold: 2}
    lifecycle: {preStop: {httpGet: {port: 80, scheme: HTTPS}}}
  volumes:
  - {name: nothing}
  - {name: secret, secret: {secretName: s}}
  - {name: config, configMap: {name: c, defaultMode: 0400}}
  - {name: host, hostPath: {path: /x}}
  - {name: down, downwardAPI: {items: [{path: l, fieldRef: {fieldPath: metadata.labels}}]}}
  - {name: all, projected: {sources: [{serviceAccountToken: {path: t}}]}}
  - {name: image, image: {reference: "x:latest"}}`, `
apiVersion: v1
kind: Pod
spec:
  restartPolicy: Always
  dnsPolicy: ClusterFirst
  schedulerName: default-scheduler
  terminationGracePeriodSeconds: 30
  enableServiceLinks: true
  securityContext: {}
  serviceAccountName: sa
  serviceAccount: sa
  containers:
  - name: a
    image: a:1
    imagePullPolicy: IfNotPresent
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: File
    env: [{name: N, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: spec.nodeName}}}]
    livenessProbe: {httpGet: {port: 80, path: /, scheme: HTTP}, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3}
    readinessProbe: {grpc: {port: 80, service: ""}, timeoutSeconds: 1, periodSeconds: 1, successThreshold: 2, failureThreshold: 3}
    lifecycle: {preStop: {httpGet: {port: 80, path: /, scheme: HTTPS}}}
  volumes:
  - {name: nothing, emptyDir: {}}
  - {name: secret, secret: {secretName: s, defaultMode: 0644}}
  - {name: config, configMap: {name: c, defaultMode: 0400}}
  - {name: host, hostPath: {path: /x, type: ""}}
  - {name: down, downwardAPI: {defaultMode: 0644, items: [{path: l, fieldRef: {apiVersion: v1, fieldPath: metadata.labels}}]}}
  - {name: all, projected: {defaultMode: 0644, sources: [{serviceAccountToken: {path: t, expirationSeconds: 3600}}]}}
  - {name: image, image: {reference: "x:latest", pullPolicy: Always}}`},
		{"a service", `
apiVersion: v1
kind: Service
spec: {ports: [{port: 80}, {port: 53, protocol: UDP, targetPort: dns}]}`, `
apiVersion: v1
kind: Service
spec:
  type: ClusterIP
  sessionAffinity: None
  internalTrafficPolicy: Cluster
  ports: [{port: 80, protocol: TCP, targetPort: 80}, {port: 53, protocol: UDP, targetPort: dns}]`},
		{"a service for the world", `
apiVersion: v1
kind: Service
spec: {type: LoadBalancer, sessionAffinity: ClientIP}`, `
apiVersion: v1
kind: Service
spec:
  type: LoadBalancer
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 10800}}
  internalTrafficPolicy: Cluster
  externalTrafficPolicy: Cluster
  allocateLoadBalancerNodePorts: true`},
		{"a name for somebody else's service needs nothing", `
apiVersion: v1
kind: Service
spec: {type: ExternalName, externalName: example.com}`, `
apiVersion: v1
kind: Service
spec: {type: ExternalName, externalName: example.com, sessionAffinity: None}`},
		{"the text in a secret becomes data", `
apiVersion: v1
kind: Secret
data: {a: YQ==, b: b2xk}
stringData: {b: new}`, `
apiVersion: v1
kind: Secret
type: Opaque
data: {a: YQ==, b: bmV3}`},
		{"a namespace is labelled with its name", `{apiVersion: v1, kind: Namespace, metadata: {name: hello, labels: {kubernetes.io/metadata.name: other}}}`,
			`{apiVersion: v1, kind: Namespace, metadata: {name: hello, labels: {kubernetes.io/metadata.name: hello}}, status: {phase: Active}}`},
		{"a node gives away all that it has", `{apiVersion: v1, kind: Node, spec: {podCIDR: 10.1.0.0/24}, status: {capacity: {cpu: 4}}}`,
			`{apiVersion: v1, kind: Node, spec: {podCIDR: 10.1.0.0/24, podCIDRs: [10.1.0.0/24]}, status: {capacity: {cpu: 4}, allocatable: {cpu: 4}}}`},
		{"an endpoint slice", `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, ports: [{port: 80}]}`,
			`{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, ports: [{port: 80, name: "", protocol: TCP}]}`},
		{"kinds that have no defaults", `{apiVersion: v1, kind: ConfigMap}`, `{apiVersion: v1, kind: ConfigMap}`},
		{"a source", `{apiVersion: mainstay.dev/v1alpha1, kind: GitSource, spec: {url: "builtin:x"}}`,
			`{apiVersion: mainstay.dev/v1alpha1, kind: GitSource, spec: {url: "builtin:x", interval: 1m, timeout: 5m, prune: true, driftPolicy: Revert, namespace: default}}`},
		{"a source at a tag", `{apiVersion: mainstay.dev/v1alpha1, kind: GitSource, spec: {url: "builtin:x", ref: {tag: v1}, prune: false, interval: 1h, timeout: 1m, namespace: a}}`,
			`{apiVersion: mainstay.dev/v1alpha1, kind: GitSource, spec: {url: "builtin:x", ref: {tag: v1}, prune: false, driftPolicy: Revert, interval: 1h, timeout: 1m, namespace: a}}`},
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

func TestImagesWhoseTagMovesArePulledAlways(t *testing.T) {
	s := New(Options{})
	const digest = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for image, want := range map[string]string{
		"nginx": "Always", "nginx:latest": "Always", "registry:5000/nginx": "Always", "registry:5000/nginx:latest": "Always",
		"nginx:1": "IfNotPresent", "registry:5000/nginx:1": "IfNotPresent", "nginx" + digest: "IfNotPresent",
		"nginx:latest" + digest: "Always", "": "IfNotPresent", "Not An Image": "IfNotPresent",
	} {
		p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: image}}}}
		s.Default(p)
		if got := string(p.Spec.Containers[0].ImagePullPolicy); got != want {
			t.Errorf("%q is pulled %s, not %s", image, got, want)
		}
	}
}

func TestDefaultsAreIdempotent(t *testing.T) {
	s := New(Options{})
	f := filler(s, seeded(t))
	for _, k := range s.All() {
		for range 20 {
			once := random(s, k, f)
			k.Default(once)
			twice := once.DeepCopyObject().(store.Object)
			k.Default(twice)
			if !equality.Semantic.DeepEqual(once, twice) {
				t.Fatalf("once\n%s\ntwice\n%s", text(t, once), text(t, twice))
			}
		}
	}
}
