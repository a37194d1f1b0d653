package main

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	_ "k8s.io/kubernetes/pkg/api/testing" // the kinds, their defaults and conversions
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingadmissionpolicy"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingadmissionpolicybinding"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingwebhookconfiguration"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingadmissionpolicy"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingadmissionpolicybinding"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingwebhookconfiguration"
	"k8s.io/kubernetes/pkg/registry/apps/controllerrevision"
	"k8s.io/kubernetes/pkg/registry/apps/daemonset"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/apps/replicaset"
	"k8s.io/kubernetes/pkg/registry/apps/statefulset"
	"k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler"
	"k8s.io/kubernetes/pkg/registry/batch/cronjob"
	"k8s.io/kubernetes/pkg/registry/batch/job"
	"k8s.io/kubernetes/pkg/registry/certificates/certificates"
	"k8s.io/kubernetes/pkg/registry/coordination/lease"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/endpoint"
	"k8s.io/kubernetes/pkg/registry/core/event"
	"k8s.io/kubernetes/pkg/registry/core/limitrange"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/node"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolume"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/kubernetes/pkg/registry/core/podtemplate"
	"k8s.io/kubernetes/pkg/registry/core/replicationcontroller"
	"k8s.io/kubernetes/pkg/registry/core/resourcequota"
	"k8s.io/kubernetes/pkg/registry/core/secret"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/core/serviceaccount"
	"k8s.io/kubernetes/pkg/registry/discovery/endpointslice"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/flowschema"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/prioritylevelconfiguration"
	"k8s.io/kubernetes/pkg/registry/networking/ingress"
	"k8s.io/kubernetes/pkg/registry/networking/ingressclass"
	"k8s.io/kubernetes/pkg/registry/networking/ipaddress"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/networking/servicecidr"
	"k8s.io/kubernetes/pkg/registry/node/runtimeclass"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrole"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrolebinding"
	"k8s.io/kubernetes/pkg/registry/rbac/role"
	"k8s.io/kubernetes/pkg/registry/rbac/rolebinding"
	"k8s.io/kubernetes/pkg/registry/scheduling/priorityclass"
	"k8s.io/kubernetes/pkg/registry/storage/csidriver"
	"k8s.io/kubernetes/pkg/registry/storage/csinode"
	"k8s.io/kubernetes/pkg/registry/storage/csistoragecapacity"
	"k8s.io/kubernetes/pkg/registry/storage/storageclass"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattachment"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattributesclass"
)

// strategies are those of Kubernetes, for the kinds that are compared.
func strategies() map[schema.GroupVersionKind]strategy {
	admission := schema.GroupVersion{Group: "admissionregistration.k8s.io", Version: "v1"}
	return map[schema.GroupVersionKind]strategy{
		{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingWebhookConfiguration"}:   mutatingwebhookconfiguration.Strategy,
		{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingWebhookConfiguration"}: validatingwebhookconfiguration.Strategy,
		{Group: "apps", Version: "v1", Kind: "ControllerRevision"}:                                     controllerrevision.Strategy,
		{Group: "apps", Version: "v1", Kind: "DaemonSet"}:                                              daemonset.Strategy,
		{Group: "apps", Version: "v1", Kind: "Deployment"}:                                             deployment.Strategy,
		{Group: "apps", Version: "v1", Kind: "ReplicaSet"}:                                             replicaset.Strategy,
		{Group: "apps", Version: "v1", Kind: "StatefulSet"}:                                            statefulset.Strategy,
		{Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscaler"}:                         horizontalpodautoscaler.Strategy,
		{Group: "batch", Version: "v1", Kind: "CronJob"}:                                               cronjob.Strategy,
		{Group: "batch", Version: "v1", Kind: "Job"}:                                                   job.Strategy,
		{Group: "certificates.k8s.io", Version: "v1", Kind: "CertificateSigningRequest"}:               certificates.Strategy,
		{Group: "coordination.k8s.io", Version: "v1", Kind: "Lease"}:                                   lease.Strategy,
		{Group: "", Version: "v1", Kind: "ConfigMap"}:                                                  configmap.Strategy,
		{Group: "", Version: "v1", Kind: "Endpoints"}:                                                  endpoint.Strategy,
		{Group: "", Version: "v1", Kind: "Event"}:                                                      event.Strategy,
		{Group: "", Version: "v1", Kind: "LimitRange"}:                                                 limitrange.Strategy,
		{Group: "", Version: "v1", Kind: "Namespace"}:                                                  namespace.Strategy,
		{Group: "", Version: "v1", Kind: "Node"}:                                                       node.Strategy,
		{Group: "", Version: "v1", Kind: "PersistentVolume"}:                                           persistentvolume.Strategy,
		{Group: "", Version: "v1", Kind: "PersistentVolumeClaim"}:                                      persistentvolumeclaim.Strategy,
		{Group: "", Version: "v1", Kind: "Pod"}:                                                        pod.Strategy,
		{Group: "", Version: "v1", Kind: "PodTemplate"}:                                                podtemplate.Strategy,
		{Group: "", Version: "v1", Kind: "ReplicationController"}:                                      replicationcontroller.Strategy,
		{Group: "", Version: "v1", Kind: "ResourceQuota"}:                                              resourcequota.Strategy,
		{Group: "", Version: "v1", Kind: "Secret"}:                                                     secret.Strategy,
		{Group: "", Version: "v1", Kind: "Service"}:                                                    service.Strategy,
		{Group: "", Version: "v1", Kind: "ServiceAccount"}:                                             serviceaccount.Strategy,
		{Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice"}:                              endpointslice.Strategy,
		{Group: "flowcontrol.apiserver.k8s.io", Version: "v1", Kind: "FlowSchema"}:                     flowschema.Strategy,
		{Group: "flowcontrol.apiserver.k8s.io", Version: "v1", Kind: "PriorityLevelConfiguration"}:     prioritylevelconfiguration.Strategy,
		{Group: "networking.k8s.io", Version: "v1", Kind: "IPAddress"}:                                 ipaddress.Strategy,
		{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"}:                                   ingress.Strategy,
		{Group: "networking.k8s.io", Version: "v1", Kind: "IngressClass"}:                              ingressclass.Strategy,
		{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"}:                             networkpolicy.Strategy,
		{Group: "networking.k8s.io", Version: "v1", Kind: "ServiceCIDR"}:                               servicecidr.Strategy,
		{Group: "node.k8s.io", Version: "v1", Kind: "RuntimeClass"}:                                    runtimeclass.Strategy,
		{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"}:                                  poddisruptionbudget.Strategy,
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole"}:                       clusterrole.Strategy,
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRoleBinding"}:                clusterrolebinding.Strategy,
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}:                              role.Strategy,
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"}:                       rolebinding.Strategy,
		{Group: "scheduling.k8s.io", Version: "v1", Kind: "PriorityClass"}:                             priorityclass.Strategy,
		{Group: "storage.k8s.io", Version: "v1", Kind: "CSIDriver"}:                                    csidriver.Strategy,
		{Group: "storage.k8s.io", Version: "v1", Kind: "CSINode"}:                                      csinode.Strategy,
		{Group: "storage.k8s.io", Version: "v1", Kind: "CSIStorageCapacity"}:                           csistoragecapacity.Strategy,
		{Group: "storage.k8s.io", Version: "v1", Kind: "StorageClass"}:                                 storageclass.Strategy,
		{Group: "storage.k8s.io", Version: "v1", Kind: "VolumeAttachment"}:                             volumeattachment.Strategy,
		{Group: "storage.k8s.io", Version: "v1", Kind: "VolumeAttributesClass"}:                        volumeattributesclass.Strategy,
		admission.WithKind("MutatingAdmissionPolicy"):                                                  mutatingadmissionpolicy.NewStrategy(nil, nil),
		admission.WithKind("ValidatingAdmissionPolicy"):                                                validatingadmissionpolicy.NewStrategy(nil, nil),
		admission.WithKind("MutatingAdmissionPolicyBinding"):                                           mutatingadmissionpolicybinding.NewStrategy(nil, nil, nil),
		admission.WithKind("ValidatingAdmissionPolicyBinding"):                                         validatingadmissionpolicybinding.NewStrategy(nil, nil, nil),
	}
}
