package scheme

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/columns"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/defaults"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/validate"
)

// table has one row for each kind that is served. A kind that is not here is refused.
func table(opts Options) []*Kind {
	v := validate.Rules{Unsupported: opts.Unsupported, UnsupportedService: opts.UnsupportedService}
	kinds := slices.Concat(coreKinds(v), appsKinds(v), batchKinds(v), autoscalingKinds(), policyKinds(), otherKinds(), networkingKinds(), csiKinds(), flowKinds(), extensionKinds(), rbacKinds(), certificatesKinds(), admissionKinds(), setKinds(v), storageKinds(), ownKinds())
	slices.SortStableFunc(kinds, byPriority)
	return kinds
}

func coreKinds(v validate.Rules) []*Kind {
	return []*Kind{
		typed(Kind{GroupVersionKind: core("ConfigMap"), Plural: "configmaps", Short: list("cm"), Namespaced: true}, rules[*corev1.ConfigMap]{
			validate: validate.ConfigMap, update: validate.ConfigMapUpdate, table: columns.ConfigMaps(),
		}),
		typed(Kind{GroupVersionKind: core("Event"), Plural: "events", Short: list("ev"), Namespaced: true, Versions: []*Version{newEvents()}}, rules[*corev1.Event]{
			validate: validate.Event, update: validate.EventUpdate, table: columns.Events(),
			labels: list("involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
				"involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
				"reportingComponent", "source", "type"),
			fields: eventFields,
		}),
		typed(Kind{GroupVersionKind: core("Namespace"), Plural: "namespaces", Short: list("ns"), Status: true, Others: list("finalize")}, rules[*corev1.Namespace]{
			defaults: defaults.Namespace, create: createNamespace, change: changeNamespace,
			validate: validate.Namespace, update: validate.NamespaceUpdate, status: validate.NamespaceStatusUpdate,
			table: columns.Namespaces(), labels: list("status.phase", "name"), fields: namespaceFields,
		}),
		typed(Kind{GroupVersionKind: core("Node"), Plural: "nodes", Short: list("no"), Status: true, Others: list("proxy")}, rules[*corev1.Node]{
			defaults: defaults.Node, keepsStatus: true,
			validate: validate.Node, update: validate.NodeUpdate, status: validate.NodeStatusUpdate,
			table: columns.Nodes(), labels: list("spec.unschedulable"), fields: nodeFields,
		}),
		typed(Kind{GroupVersionKind: core("Pod"), Plural: "pods", Short: list("po"), Categories: list("all"), Namespaced: true, Status: true,
			Others: list("attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "proxy")}, rules[*corev1.Pod]{
			defaults: defaults.Pod, generation: true, changed: podChanged, create: createPod, change: changePod, changeState: changePodStatus, keeps: list("deletionTimestamp", "ownerReferences"),
			validate: v.Pod, update: v.PodUpdate, status: v.PodStatusUpdate, ephemeral: v.PodEphemeralUpdate, grace: podGrace,
			table: columns.Pods(),
			labels: list("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
				"status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName"),
			fields: podFields,
		}),
		typed(Kind{GroupVersionKind: core("Secret"), Plural: "secrets", Namespaced: true}, rules[*corev1.Secret]{
			defaults: defaults.Secret, validate: validate.Secret, update: validate.SecretUpdate,
			table: columns.Secrets(), labels: list("type"),
			fields: func(s *corev1.Secret, set fields.Set) { set["type"] = string(s.Type) },
		}),
		typed(Kind{GroupVersionKind: core("ServiceAccount"), Plural: "serviceaccounts", Short: list("sa"), Namespaced: true, Others: list("token")}, rules[*corev1.ServiceAccount]{
			validate: validate.ServiceAccount, update: validate.ServiceAccountUpdate, table: columns.ServiceAccounts(),
		}),
		typed(Kind{GroupVersionKind: core("Service"), Plural: "services", Short: list("svc"), Categories: list("all"), Namespaced: true, Status: true, Others: list("proxy")}, rules[*corev1.Service]{
			defaults: defaults.Service, create: createService, change: changeService,
			validate: v.Service, update: v.ServiceUpdate, status: validate.ServiceStatusUpdate,
			table: columns.Services(), labels: list("spec.clusterIP", "spec.type"), fields: serviceFields,
		}),
	}
}

func appsKinds(v validate.Rules) []*Kind {
	scale := &Scale{Replicas: "spec.replicas", Status: "status.replicas", Selector: "spec.selector"}
	return []*Kind{
		typed(Kind{GroupVersionKind: apps("Deployment"), Plural: "deployments", Short: list("deploy"), Categories: list("all"), Namespaced: true, Status: true, Scale: scale}, rules[*appsv1.Deployment]{
			defaults: defaults.Deployment, generation: true, changed: deploymentChanged, changeState: keepDeploymentLabels, keeps: list("labels"),
			validate: v.Deployment, update: v.DeploymentUpdate, status: validate.DeploymentStatusUpdate,
			table: columns.Deployments(),
		}),
		typed(Kind{GroupVersionKind: apps("ReplicaSet"), Plural: "replicasets", Short: list("rs"), Categories: list("all"), Namespaced: true, Status: true, Scale: scale}, rules[*appsv1.ReplicaSet]{
			defaults: defaults.ReplicaSet, generation: true,
			validate: v.ReplicaSet, update: v.ReplicaSetUpdate, status: validate.ReplicaSetStatusUpdate,
			table: columns.ReplicaSets(), labels: list("status.replicas"), fields: replicaSetFields,
		}),
	}
}

func otherKinds() []*Kind {
	return []*Kind{
		typed(Kind{GroupVersionKind: coordinationv1.SchemeGroupVersion.WithKind("Lease"), Plural: "leases", Namespaced: true}, rules[*coordinationv1.Lease]{
			validate: validate.Lease, update: validate.LeaseUpdate, table: columns.Leases(),
		}),
		typed(Kind{GroupVersionKind: discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), Plural: "endpointslices", Namespaced: true}, rules[*discoveryv1.EndpointSlice]{
			defaults: defaults.EndpointSlice, generation: true, changed: endpointSliceChanged,
			validate: validate.EndpointSlice, update: validate.EndpointSliceUpdate, table: columns.EndpointSlices(),
		}),
		typed(Kind{GroupVersionKind: nodev1.SchemeGroupVersion.WithKind("RuntimeClass"), Plural: "runtimeclasses"}, rules[*nodev1.RuntimeClass]{
			validate: validate.RuntimeClass, update: validate.RuntimeClassUpdate, table: columns.RuntimeClasses(),
		}),
	}
}

func ownKinds() []*Kind {
	own := list("mainstay")
	return []*Kind{
		typed(Kind{GroupVersionKind: v1alpha1.GroupVersion.WithKind("GitSource"), Plural: "gitsources", Short: list("gs"), Categories: own, Namespaced: true, Status: true}, rules[*v1alpha1.GitSource]{
			defaults: defaults.GitSource, generation: true, changeState: keepSourceLabels, keeps: list("labels"),
			validate: validate.GitSource, update: validate.GitSourceUpdate, status: validate.GitSourceStatusUpdate,
			table: columns.GitSources(),
		}),
		typed(Kind{GroupVersionKind: v1alpha1.GroupVersion.WithKind("Inventory"), Plural: "inventories", Categories: own, Namespaced: true}, rules[*v1alpha1.Inventory]{
			generation: true, validate: validate.Inventory, update: validate.InventoryUpdate, table: columns.Inventories(),
		}),
	}
}

func core(kind string) schema.GroupVersionKind { return corev1.SchemeGroupVersion.WithKind(kind) }
func apps(kind string) schema.GroupVersionKind { return appsv1.SchemeGroupVersion.WithKind(kind) }
func list(names ...string) []string            { return names }
