package api

import (
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
)

// apart are kinds that are not tried like the others, and why.
func apart() map[string]string {
	return map[string]string{"APIService": "an extension without a server shows in the discovery of all others: its own test has one"}
}

// closely tells the kinds on which every verb is tried, with each kubectl; on the others, those that depend on the kind.
func closely(kind string) bool {
	switch kind {
	case "ConfigMap", "Deployment", "Namespace", "Pod", "Service", "Event", "Role", "CustomResourceDefinition", "GitSource":
		return true
	}
	return false
}

// named is name as objects of kind may be named.
func named(kind, name string) string {
	switch kind {
	case "IPAddress":
		h := fnv.New32()
		h.Write([]byte(name))
		return fmt.Sprintf("10.43.%d.%d", h.Sum32()>>8%256, h.Sum32()%256)
	case "CustomResourceDefinition":
		return "things." + name + ".example.com"
	}
	return name
}

// manifests has one object of each kind. GROUP is what follows the first dot of its name.
func manifests() map[string]string {
	once := `{restartPolicy: Never, containers: [{name: c, image: "mainstay.local/hello:v1"}]}`
	nothing := `{resourceRules: [{operations: [CREATE], apiGroups: [nothing.example.com], apiVersions: [v1], resources: [nothings]}]}`
	hook := `{name: a.example.com, failurePolicy: Ignore, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {url: "https://127.0.0.1:1/x"},
		rules: [{operations: [CREATE], apiGroups: [nothing.example.com], apiVersions: [v1], resources: [nothings]}]}`
	pod := `{containers: [{name: web, image: "mainstay.local/hello:v1", ports: [{containerPort: 80}]}]}`
	return map[string]string{
		"ConfigMap":      "data: {greeting: hello}",
		"Event":          "involvedObject: {kind: Pod, namespace: NAMESPACE, name: web}\nreason: Started\nmessage: it runs\ntype: Normal\nsource: {component: test}",
		"Namespace":      "",
		"Node":           "spec: {podCIDR: 10.42.0.0/24}",
		"Pod":            "spec: " + pod,
		"Secret":         "type: Opaque\ndata: {password: czNjcmV0}",
		"Service":        "spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}",
		"ServiceAccount": "",
		"Deployment":     "spec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: " + pod + "}}",
		"ReplicaSet":     "spec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: " + pod + "}}",
		"Lease":          "spec: {holderIdentity: me, leaseDurationSeconds: 40}",
		"EndpointSlice":  "addressType: IPv4\nports: [{name: http, port: 8080, protocol: TCP}]\nendpoints: [{addresses: [10.42.0.7], conditions: {ready: true}}]",
		"RuntimeClass":   "handler: runc",

		"Role":                      "rules: [{apiGroups: [\"\"], resources: [pods], verbs: [get, list]}]",
		"RoleBinding":               "roleRef: {kind: Role, name: reader}\nsubjects: [{kind: ServiceAccount, name: robot}]",
		"ClusterRole":               "rules: [{apiGroups: [\"\"], resources: [nodes], verbs: [get]}, {nonResourceURLs: [/metrics], verbs: [get]}]",
		"ClusterRoleBinding":        "roleRef: {kind: ClusterRole, name: view}\nsubjects: [{kind: User, name: ann}]",
		"CertificateSigningRequest": "spec: {signerName: kubernetes.io/kube-apiserver-client, usages: [client auth], request: " + base64.StdEncoding.EncodeToString(signingRequest("ann", "dev")) + "}",

		"GitSource": "spec: {url: \"https://example.com/hello.git\"}",
		"Inventory": "spec: {source: hello, path: web.yaml, blob: 3f786850e387550fdab836ed7e6dc881de23001b, commit: 89e6c98d92887913cadf06b2adb97f26cde4849b, objects: [{kind: ConfigMap, namespace: NAMESPACE, name: greeting, line: 1}]}",

		"ReplicationController":   "spec: {replicas: 2, selector: {app: web}, template: {metadata: {labels: {app: web}}, spec: " + pod + "}}",
		"StatefulSet":             "spec: {serviceName: web, replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: " + pod + "}}",
		"DaemonSet":               "spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: " + pod + "}}",
		"ControllerRevision":      "revision: 1\ndata: {a: b}",
		"PodTemplate":             "template: {metadata: {labels: {app: web}}, spec: " + pod + "}",
		"Job":                     "spec: {template: {spec: " + once + "}}",
		"CronJob":                 "spec: {schedule: \"0 3 * * *\", jobTemplate: {spec: {template: {spec: " + once + "}}}}",
		"PodDisruptionBudget":     "spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}",
		"HorizontalPodAutoscaler": "spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, maxReplicas: 3}",

		"Endpoints":     "subsets: [{addresses: [{ip: 10.42.0.7}], ports: [{name: http, port: 8080}]}]",
		"Ingress":       "spec: {rules: [{host: example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}",
		"IngressClass":  "spec: {controller: example.com/ingress}",
		"NetworkPolicy": "spec: {podSelector: {}, policyTypes: [Ingress]}",
		"IPAddress":     "spec: {parentRef: {resource: services, namespace: NAMESPACE, name: web}}",
		"ServiceCIDR":   "spec: {cidrs: [10.44.0.0/16]}",

		"PersistentVolume":      "spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /srv/x}, storageClassName: none}",
		"PersistentVolumeClaim": "spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, storageClassName: none}",
		"StorageClass":          "provisioner: example.com/disk",
		"CSIDriver":             "spec: {attachRequired: false}",
		"CSINode":               "spec: {drivers: [{name: example.com, nodeID: a}]}",
		"CSIStorageCapacity":    "storageClassName: fast\ncapacity: 1Gi",
		"VolumeAttachment":      "spec: {attacher: example.com, nodeName: a, source: {persistentVolumeName: b}}",
		"VolumeAttributesClass": "driverName: example.com\nparameters: {iops: \"1\"}",

		"LimitRange":                 "spec: {limits: [{type: Container, default: {cpu: 500m}}]}",
		"ResourceQuota":              "spec: {hard: {pods: \"10\"}}",
		"PriorityClass":              "value: 1000",
		"FlowSchema":                 "spec: {matchingPrecedence: 9999, priorityLevelConfiguration: {name: exempt}}",
		"PriorityLevelConfiguration": "spec: {type: Limited, limited: {nominalConcurrencyShares: 1, limitResponse: {type: Reject}}}",

		// None of these is asked of what the others do.
		"ValidatingWebhookConfiguration":   "webhooks: [" + hook + "]",
		"MutatingWebhookConfiguration":     "webhooks: [" + hook + "]",
		"ValidatingAdmissionPolicy":        "spec: {matchConstraints: " + nothing + ", validations: [{expression: \"true\"}]}",
		"ValidatingAdmissionPolicyBinding": "spec: {policyName: none, validationActions: [Deny]}",
		"MutatingAdmissionPolicy":          "spec: {reinvocationPolicy: Never, matchConstraints: " + nothing + ", mutations: [{patchType: ApplyConfiguration, applyConfiguration: {expression: \"Object{}\"}}]}",
		"MutatingAdmissionPolicyBinding":   "spec: {policyName: none}",
		"CustomResourceDefinition":         "spec: {group: GROUP, scope: Namespaced, names: {plural: things, kind: Thing}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}",
	}
}

// manifest is the file of an object of kind k.
func manifest(t *testing.T, k *scheme.Kind, namespace, name, label string) string {
	t.Helper()
	body, ok := manifests()[k.Kind]
	if !ok {
		t.Fatalf("there is no manifest for %s: every kind must be tried", k.Kind)
	}
	gv := k.GroupVersion().String()
	text := fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, labels: {edited: \"no\", v: %s}}\n%s\n", gv, k.Kind, name, label, body)
	_, group, _ := strings.Cut(name, ".")
	path := filepath.Join(t.TempDir(), name+".yaml")
	if err := os.WriteFile(path, []byte(strings.NewReplacer("NAMESPACE", namespace, "GROUP", group).Replace(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
