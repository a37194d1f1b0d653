package scheme

import (
	"net/url"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Objects come from anywhere, so no rule may fall over what their types allow, defaulted or not.
func TestRulesTakeWhateverAnObjectMayHold(t *testing.T) {
	s := New(Options{})
	f := filler(s, seeded(t))
	for _, k := range s.All() {
		t.Run(k.Kind, func(t *testing.T) {
			for range 20 {
				a, b := random(s, k, f), random(s, k, f)
				raw := a.DeepCopyObject().(store.Object)
				k.Validate(raw)
				k.Cells(raw, noon())
				k.Fields(raw)
				for _, o := range []store.Object{a, b} {
					k.Default(o)
				}
				k.Validate(a)
				k.ValidateUpdate(a, b)
				if k.Status {
					c := a.DeepCopyObject().(store.Object)
					k.PrepareStatusUpdate(c, b)
					k.ValidateStatusUpdate(c, b)
				}
				k.PrepareUpdate(a, b)
				if _, _, err := k.Delete(a, metav1.DeleteOptions{}, noon()); err != nil {
					t.Error(err)
				}
				k.PrepareCreate(a, "u", noon())
			}
		})
	}
}

func TestAnObjectIsAValidUpdateOfItself(t *testing.T) {
	s := New(Options{})
	o := busyPod(t, s)
	k := s.Of(o)
	same := o.DeepCopyObject().(store.Object)
	k.PrepareUpdate(same, o)
	if d := cmp.Diff(text(t, o), text(t, same)); d != "" {
		t.Error(d)
	}
	if errs := k.ValidateUpdate(same, o); len(errs) > 0 {
		t.Error(errs)
	}
	if errs := k.ValidateStatusUpdate(same, o); len(errs) > 0 {
		t.Error(errs)
	}
}

func TestRareThingsThatAreRefused(t *testing.T) {
	refuse(t, []refusal{
		{"references to fields", pod("", `env: [{name: A, valueFrom: {fieldRef: {fieldPath: "metadata.labels['a b']"}}}, {name: B, valueFrom: {fieldRef: {fieldPath: "spec.x['y']"}}}, {name: C, valueFrom: {fieldRef: {fieldPath: metadata.labels}}}, {name: D, valueFrom: {fieldRef: {}}}, {name: E, valueFrom: {fieldRef: {apiVersion: v2, fieldPath: metadata.name}}}, {name: F, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: "3"}}}, {name: G, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1m}}}, {name: H, valueFrom: {resourceFieldRef: {}}}]`), []string{
			`spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "a b": name part`,
			`spec.containers[0].env[1].valueFrom.fieldRef.fieldPath: Invalid value: "spec.x": does not support subscript`,
			`spec.containers[0].env[2].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"`,
			`spec.containers[0].env[3].valueFrom.fieldRef.fieldPath: Required value`,
			`spec.containers[0].env[4].valueFrom.fieldRef.fieldPath: Invalid value: "metadata.name": error converting fieldPath: field label not supported: metadata.name`,
			`spec.containers[0].env[5].valueFrom.resourceFieldRef.divisor: Invalid value: "cpu": only divisor's values 1m and 1 are supported with the cpu resource`,
			`spec.containers[0].env[6].valueFrom.resourceFieldRef.divisor: Invalid value: "memory": only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource`,
			`spec.containers[0].env[7].valueFrom.resourceFieldRef.resource: Required value`,
		}},
		{"DNS settings", pod(`dnsConfig: {nameservers: [a, 1.1.1.1, 1.1.1.2, 1.1.1.3], searches: [A_b, "."], options: [{}]},`, ""), []string{
			`spec.dnsConfig.nameservers: Invalid value: ["a","1.1.1.1","1.1.1.2","1.1.1.3"]: must not have more than 3 nameservers`,
			`spec.dnsConfig.nameservers[0]: Invalid value: "a": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`,
			`spec.dnsConfig.options[0]: Required value: must not be empty`,
			`spec.dnsConfig.searches[0]: Invalid value: "A_b": a lowercase RFC 1123 subdomain`,
		}},
		{"resizing, restarting and stopping", pod("os: {name: linux},", `restartPolicy: Maybe, resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}, {resourceName: cpu, restartPolicy: X}], lifecycle: {stopSignal: TERM}`), []string{
			`spec.containers[0].lifecycle.stopSignal: Invalid value: "TERM": must be the name of a signal, such as SIGTERM`,
			`spec.containers[0].resizePolicy[1].restartPolicy: Unsupported value: "X": supported values: "NotRequired", "RestartContainer"`,
			`spec.containers[0].resizePolicy[1]: Duplicate value: "cpu"`,
			`spec.containers[0].restartPolicy: Unsupported value: "Maybe": supported values: "Always", "Never", "OnFailure"`,
		}},
		{"disks of others", pod(`volumes: [{name: a, nfs: {path: x}}, {name: b, csi: {}}, {name: c, iscsi: {}}, {name: d, rbd: {}}, {name: e, fc: {}}, {name: f, flocker: {}}, {name: g, persistentVolumeClaim: {}}, {name: h, ephemeral: {}}, {name: i, image: {}}, {name: j, gitRepo: {directory: ../x}}],`, ""), []string{
			`spec.volumes[0].nfs.path: Invalid value: "x": must be an absolute path`,
			`spec.volumes[0].nfs.server: Required value`,
			`spec.volumes[1].csi.driver: Required value`,
			`spec.volumes[2].iscsi.iqn: Required value`,
			`spec.volumes[2].iscsi.targetPortal: Required value`,
			`spec.volumes[3].rbd.image: Required value`,
			`spec.volumes[3].rbd.monitors: Required value`,
			`spec.volumes[4].fc.targetWWNs: Required value: must specify either targetWWNs and lun, or wwids, but not both`,
			`spec.volumes[5].flocker: Required value: one of datasetName and datasetUUID is required`,
			`spec.volumes[6].persistentVolumeClaim.claimName: Required value`,
			`spec.volumes[7].ephemeral.volumeClaimTemplate: Required value`,
			`spec.volumes[8].image.reference: Required value`,
			`spec.volumes[9].gitRepo.directory: Invalid value: "../x": must not contain '..'`,
			`spec.volumes[9].gitRepo.repository: Required value`,
		}},
		{"mounts of special kinds", pod("volumes: [{name: v}],", `volumeMounts: [{name: v, mountPath: /a, mountPropagation: Bidirectional}, {name: v, mountPath: /b, recursiveReadOnly: Enabled}, {name: v, mountPath: /c, subPath: a, subPathExpr: b}], volumeDevices: [{name: v, devicePath: /a}, {name: w}]`), []string{
			`spec.containers[0].volumeDevices[0].devicePath: Invalid value: "/a": must not already exist as a path in volumeMounts`,
			`spec.containers[0].volumeDevices[0].name: Invalid value: "v": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode`,
			`spec.containers[0].volumeDevices[1].devicePath: Required value`,
			`spec.containers[0].volumeDevices[1].name: Not found: "w"`,
			`spec.containers[0].volumeMounts[0].mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers`,
			`spec.containers[0].volumeMounts[1].recursiveReadOnly: Forbidden: may only be specified when readOnly is true`,
			`spec.containers[0].volumeMounts[2].subPathExpr: Invalid value: "b": subPathExpr and subPath are mutually exclusive`,
		}},
		{"huge pages alone", pod("", "resources: {limits: {hugepages-2Mi: 2Mi}}"), []string{`spec.containers[0].resources: Forbidden: HugePages require cpu or memory`}},
		{"nodes by their fields, and pods by their weight", pod(`affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.uid, operator: In, values: [a]}, {key: metadata.name, operator: Exists}], matchExpressions: [{key: a, operator: Gt, values: [x]}, {key: b, operator: Exists, values: [x]}, {key: "c d", operator: Lt}, {key: e, operator: X}]}]}}, podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 101, podAffinityTerm: {topologyKey: "a b", namespaces: [A]}}]}},`, ""), []string{
			`spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values[0]: Invalid value: "x": for 'Gt', 'Lt' operators, the value must be an integer`,
			"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
			`spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[2].key: Invalid value: "c d": name part`,
			"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[2].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'",
			`spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[3].operator: Invalid value: "X": not a valid selector operator`,
			`spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].key: Invalid value: "metadata.uid": not a valid field selector key`,
			`spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[1].operator: Invalid value: "Exists": not a valid selector operator`,
			`spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.namespaces[0]: Invalid value: "A": a lowercase RFC 1123 label`,
			`spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Invalid value: "a b": name part`,
			`spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101: must be in the range 1-100`,
		}},
	})
}

func TestTheQueryForLogsIsRead(t *testing.T) {
	s := New(Options{})
	got := &corev1.PodLogOptions{}
	q := url.Values{
		"container": {"web"}, "follow": {""}, "previous": {"false"}, "timestamps": {"true"}, "tailLines": {"10"}, "limitBytes": {"5"},
		"sinceTime": {"2026-01-01T00:00:00Z"}, "stream": {"Stdout"},
	}
	if err := s.Parameters.DecodeParameters(q, corev1.SchemeGroupVersion, got); err != nil {
		t.Fatal(err)
	}
	if got.Container != "web" || !got.Follow || got.Previous || !got.Timestamps || *got.TailLines != 10 || *got.LimitBytes != 5 ||
		got.SinceSeconds != nil || got.SinceTime.UTC().Year() != 2026 || *got.Stream != "Stdout" {
		t.Errorf("read %+v", got)
	}
	for _, bad := range []url.Values{{"tailLines": {"x"}}, {"sinceTime": {"yesterday"}}} {
		if err := s.Parameters.DecodeParameters(bad, corev1.SchemeGroupVersion, &corev1.PodLogOptions{}); err == nil {
			t.Errorf("%v was read", bad)
		}
	}
}

func TestTheQueriesForStreamsAreRead(t *testing.T) {
	s := New(Options{})
	q := url.Values{"container": {"web"}, "command": {"sh", "-c", "true"}, "stdin": {"true"}, "stdout": {"1"}, "stderr": {"false"}, "tty": {""}, "ports": {"80,81", "82"}, "path": {"/x"}}
	for _, row := range []struct{ got, want runtime.Object }{
		{&corev1.PodExecOptions{}, &corev1.PodExecOptions{Container: "web", Command: []string{"sh", "-c", "true"}, Stdin: true, Stdout: true, TTY: true}},
		{&corev1.PodAttachOptions{}, &corev1.PodAttachOptions{Container: "web", Stdin: true, Stdout: true, TTY: true}},
		{&corev1.PodPortForwardOptions{}, &corev1.PodPortForwardOptions{Ports: []int32{80, 81, 82}}},
		{&corev1.PodProxyOptions{}, &corev1.PodProxyOptions{Path: "/x"}},
		{&corev1.ServiceProxyOptions{}, &corev1.ServiceProxyOptions{Path: "/x"}},
		{&corev1.NodeProxyOptions{}, &corev1.NodeProxyOptions{Path: "/x"}},
	} {
		if err := s.Parameters.DecodeParameters(q, corev1.SchemeGroupVersion, row.got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(row.want, row.got); d != "" {
			t.Error(d)
		}
	}
	for _, bad := range []string{"", "x", "0", "65536", "80,"} {
		if err := s.Parameters.DecodeParameters(url.Values{"ports": {bad}}, corev1.SchemeGroupVersion, &corev1.PodPortForwardOptions{}); err == nil {
			t.Errorf("ports=%s was read", bad)
		}
	}
}

func TestDocumentsBecomeTyped(t *testing.T) {
	s := New(Options{})
	o, err := s.Typed(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "c"}, "data": map[string]any{"a": "b"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := o.(*corev1.ConfigMap); !ok || c.Data["a"] != "b" || c.Kind != "ConfigMap" {
		t.Errorf("got %#v", o)
	}
	for _, bad := range []map[string]any{
		{"apiVersion": "v1", "kind": "Nothing"}, {"apiVersion": "v1", "kind": "ConfigMap", "data": "x"},
	} {
		if o, err := s.Typed(&unstructured.Unstructured{Object: bad}); err == nil {
			t.Errorf("%v became %v", bad, o)
		}
	}
}

func TestInterningSaysTheSame(t *testing.T) {
	s := New(Options{})
	c, f := s.Codec(), filler(s, seeded(t))
	for _, k := range s.All() {
		o := random(s, k, f)
		before := o.DeepCopyObject()
		c.Intern(o)
		if d := cmp.Diff(text(t, before), text(t, o)); d != "" {
			t.Error(d)
		}
	}
}

func TestKindsAreListedByGroup(t *testing.T) {
	var groups []string
	for _, k := range New(Options{}).All() {
		groups = append(groups, k.Group)
	}
	if !slices.IsSorted(groups) {
		t.Errorf("got %q", groups)
	}
}

func TestWritersInsideChangeSpecAndStatusAtOnce(t *testing.T) {
	s := New(Options{})
	old := object(t, s, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, generation: 3}, spec: {replicas: 1}}`)
	for yaml, want := range map[string]int64{
		`{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, generation: 9}, spec: {replicas: 1}, status: {replicas: 1}}`: 3,
		`{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 2}, status: {replicas: 1}}`:                4,
	} {
		o := object(t, s, yaml)
		s.Of(o).PrepareInside(o, old)
		if o.GetGeneration() != want || part(o, "Status").IsZero() {
			t.Errorf("got %s", text(t, o))
		}
	}
}
