package upgrade

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

func read(t *testing.T, text string) map[string]any {
	t.Helper()
	var o map[string]any
	if err := yaml.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestRemovedVersionsAreUpgraded(t *testing.T) {
	for _, row := range []struct{ says, old, want string }{
		{"a deployment of extensions selects its pods, and replaces one at a time",
			`{apiVersion: extensions/v1beta1, kind: Deployment, metadata: {name: web}, spec: {rollbackTo: {revision: 1}, template: {metadata: {labels: {app: web}}, spec: {}}}}`,
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {selector: {matchLabels: {app: web}}, strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 1}},
			template: {metadata: {labels: {app: web}}, spec: {}}}}`},
		{"one that is recreated has no rolling update, and what it says stays",
			`{apiVersion: extensions/v1beta1, kind: Deployment, spec: {strategy: {type: Recreate}, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b, c: d}}}}}`,
			`{apiVersion: apps/v1, kind: Deployment, spec: {strategy: {type: Recreate}, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b, c: d}}}}}`},
		{"a daemon set of extensions waits for its pods to be deleted",
			`{apiVersion: extensions/v1beta1, kind: DaemonSet, spec: {templateGeneration: 3, template: {metadata: {labels: {a: b}}}}}`,
			`{apiVersion: apps/v1, kind: DaemonSet, spec: {updateStrategy: {type: OnDelete}, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}}}}`},
		{"a stateful set of beta 1 too", `{apiVersion: apps/v1beta1, kind: StatefulSet, spec: {serviceName: x}}`, `{apiVersion: apps/v1, kind: StatefulSet, spec: {serviceName: x, updateStrategy: {type: OnDelete}}}`},
		{"one of beta 2 does not", `{apiVersion: apps/v1beta2, kind: StatefulSet, spec: {serviceName: x}}`, `{apiVersion: apps/v1, kind: StatefulSet, spec: {serviceName: x}}`},
		{"a cron job", `{apiVersion: batch/v1beta1, kind: CronJob, spec: {schedule: "* * * * *"}}`, `{apiVersion: batch/v1, kind: CronJob, spec: {schedule: "* * * * *"}}`},
		{"an ingress", `{apiVersion: extensions/v1beta1, kind: Ingress, spec: {backend: {serviceName: d, servicePort: 80}, rules: [{host: a, http: {paths: [{path: /, backend: {serviceName: web, servicePort: http}}, {path: /x, pathType: Exact, backend: {resource: {kind: A, name: b}}}]}}]}}`,
			`{apiVersion: networking.k8s.io/v1, kind: Ingress, spec: {defaultBackend: {service: {name: d, port: {number: 80}}}, rules: [{host: a, http: {paths: [
			{path: /, pathType: ImplementationSpecific, backend: {service: {name: web, port: {name: http}}}}, {path: /x, pathType: Exact, backend: {resource: {kind: A, name: b}}}]}}]}}`},
		{"a budget for nobody", `{apiVersion: policy/v1beta1, kind: PodDisruptionBudget, spec: {minAvailable: 1, selector: {}}}`, `{apiVersion: policy/v1, kind: PodDisruptionBudget, spec: {minAvailable: 1}}`},
		{"an autoscaler", `{apiVersion: autoscaling/v2beta1, kind: HorizontalPodAutoscaler, spec: {metrics: [
			{type: Resource, resource: {name: cpu, targetAverageUtilization: 50}}, {type: Pods, pods: {metricName: qps, targetAverageValue: 10}},
			{type: Object, object: {target: {kind: Service, name: a}, metricName: hits, targetValue: 5}}, {type: External, external: {metricName: e, metricSelector: {matchLabels: {a: b}}, targetAverageValue: 3}}]}}`,
			`{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, spec: {metrics: [
			{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}, {type: Pods, pods: {metric: {name: qps}, target: {type: AverageValue, averageValue: 10}}},
			{type: Object, object: {describedObject: {kind: Service, name: a}, metric: {name: hits}, target: {type: Value, value: 5}}},
			{type: External, external: {metric: {name: e, selector: {matchLabels: {a: b}}}, target: {type: AverageValue, averageValue: 3}}}]}}`},
		{"a binding", `{apiVersion: rbac.authorization.k8s.io/v1alpha1, kind: RoleBinding, subjects: [{kind: User, name: a, apiVersion: rbac.authorization.k8s.io/v1alpha1}, {kind: ServiceAccount, name: b, apiVersion: v1}]}`,
			`{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, subjects: [{kind: User, name: a, apiGroup: rbac.authorization.k8s.io}, {kind: ServiceAccount, name: b}]}`},
		{"a runtime class", `{apiVersion: node.k8s.io/v1alpha1, kind: RuntimeClass, spec: {runtimeHandler: kata, overhead: {podFixed: {cpu: 1}}}}`, `{apiVersion: node.k8s.io/v1, kind: RuntimeClass, handler: kata, overhead: {podFixed: {cpu: 1}}}`},
		{"a slice", `{apiVersion: discovery.k8s.io/v1beta1, kind: EndpointSlice, endpoints: [{addresses: [a], topology: {kubernetes.io/hostname: n1, topology.kubernetes.io/zone: z, other: x}}]}`,
			`{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, endpoints: [{addresses: [a], nodeName: n1, zone: z, deprecatedTopology: {other: x}}]}`},
		{"a webhook", `{apiVersion: admissionregistration.k8s.io/v1beta1, kind: ValidatingWebhookConfiguration, webhooks: [{name: a, sideEffects: None}]}`,
			`{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, webhooks: [{name: a, sideEffects: None, failurePolicy: Ignore, matchPolicy: Exact, timeoutSeconds: 30, admissionReviewVersions: [v1beta1]}]}`},
		{"a kind of one's own", `{apiVersion: apiextensions.k8s.io/v1beta1, kind: CustomResourceDefinition, spec: {group: a.b, version: v1, names: {kind: C}, validation: {openAPIV3Schema: {properties: {spec: {type: object}}}},
			subresources: {status: {}}, additionalPrinterColumns: [{name: x, JSONPath: .spec.x}]}}`,
			`{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, spec: {group: a.b, scope: Namespaced, names: {kind: C}, versions: [{name: v1, served: true, storage: true,
			schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true, properties: {spec: {type: object}}}}, subresources: {status: {}}, additionalPrinterColumns: [{name: x, jsonPath: .spec.x}]}]}}`},
		{"shares", `{apiVersion: flowcontrol.apiserver.k8s.io/v1beta2, kind: PriorityLevelConfiguration, spec: {limited: {assuredConcurrencyShares: 5}}}`,
			`{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, spec: {limited: {nominalConcurrencyShares: 5}}}`},
	} {
		t.Run(row.says, func(t *testing.T) {
			old := read(t, row.old)
			before := runtime.DeepCopyJSON(integers(old).(map[string]any))
			got, version, err := Object(integers(old).(map[string]any))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(integers(read(t, row.want)), any(got)); d != "" {
				t.Error(d)
			}
			if version.String() != got["apiVersion"] {
				t.Errorf("told %s, wrote %s", version, got["apiVersion"])
			}
			if d := cmp.Diff(before, integers(old)); d != "" {
				t.Errorf("what was given was changed: %s", d)
			}
			if again, _, err := Object(got); again != nil || err != nil {
				t.Errorf("what is upgraded is upgraded again: %v, %v", again, err)
			}
		})
	}
}

// integers has whole numbers as the decoder has them.
func integers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = integers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = integers(v[i])
		}
	case float64:
		return int64(v)
	}
	return v
}

func TestWhatCannotBeUpgradedIsRefusedByName(t *testing.T) {
	for _, row := range []struct{ says, old, want string }{
		{"a policy for pods", `{apiVersion: policy/v1beta1, kind: PodSecurityPolicy}`, "kind PodSecurityPolicy (policy/v1beta1) was removed from Kubernetes: write Pod Security labels"},
		{"a webhook that does more than answer", `{apiVersion: admissionregistration.k8s.io/v1beta1, kind: MutatingWebhookConfiguration, webhooks: [{name: a}]}`, "webhooks[0].sideEffects must be None or NoneOnDryRun"},
		{"a request to nobody", `{apiVersion: certificates.k8s.io/v1beta1, kind: CertificateSigningRequest, spec: {}}`, "spec.signerName is missing"},
	} {
		t.Run(row.says, func(t *testing.T) {
			if _, _, err := Object(read(t, row.old)); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v\nis not: %s", err, row.want)
			}
		})
	}
}

func TestOddObjectsAreLeftToWhoChecksThem(t *testing.T) {
	for gvk := range steps() {
		for _, odd := range []string{`{}`, `{spec: 3}`, `{spec: []}`, `{spec: {template: x, backend: 1, rules: [3, {http: []}], metrics: [{resource: 1}], versions: x, conversion: [], limited: 1, selector: 2, strategy: 3}}`,
			`{endpoints: {}, webhooks: 3, subjects: [null]}`} {
			o := integers(read(t, odd)).(map[string]any)
			o["apiVersion"], o["kind"] = gvk.GroupVersion().String(), gvk.Kind
			if got, _, err := Object(o); err == nil && got["kind"] != gvk.Kind {
				t.Errorf("%s: %v", gvk, got)
			}
		}
		if !Known(gvk) {
			t.Errorf("%s is not known", gvk)
		}
	}
}
