package validate

import (
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
)

func (v Rules) Pod(o *corev1.Pod) field.ErrorList {
	return metadata(&o.ObjectMeta, validation.NameIsDNSSubdomain)
}
func (v Rules) PodUpdate(new, old *corev1.Pod) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func (v Rules) PodStatusUpdate(new, old *corev1.Pod) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func (v Rules) Deployment(o *appsv1.Deployment) field.ErrorList {
	return metadata(&o.ObjectMeta, validation.NameIsDNSSubdomain)
}
func (v Rules) DeploymentUpdate(new, old *appsv1.Deployment) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func DeploymentStatusUpdate(new, old *appsv1.Deployment) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func (v Rules) ReplicaSet(o *appsv1.ReplicaSet) field.ErrorList {
	return metadata(&o.ObjectMeta, validation.NameIsDNSSubdomain)
}
func (v Rules) ReplicaSetUpdate(new, old *appsv1.ReplicaSet) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func ReplicaSetStatusUpdate(new, old *appsv1.ReplicaSet) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func ConfigMap(o *corev1.ConfigMap) field.ErrorList {
	return metadata(&o.ObjectMeta, validation.NameIsDNSSubdomain)
}
func ConfigMapUpdate(new, old *corev1.ConfigMap) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func Event(o *corev1.Event) field.ErrorList {
	return metadata(&o.ObjectMeta, validation.NameIsDNSSubdomain)
}
func EventUpdate(new, old *corev1.Event) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func Namespace(o *corev1.Namespace) field.ErrorList {
	return clusterMetadata(&o.ObjectMeta, validation.NameIsDNSSubdomain)
}
func NamespaceUpdate(new, old *corev1.Namespace) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func NamespaceStatusUpdate(new, old *corev1.Namespace) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func Node(o *corev1.Node) field.ErrorList {
	return clusterMetadata(&o.ObjectMeta, validation.NameIsDNSSubdomain)
}
func NodeUpdate(new, old *corev1.Node) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func NodeStatusUpdate(new, old *corev1.Node) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func Secret(o *corev1.Secret) field.ErrorList {
	return metadata(&o.ObjectMeta, validation.NameIsDNSSubdomain)
}
func SecretUpdate(new, old *corev1.Secret) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func ServiceAccount(o *corev1.ServiceAccount) field.ErrorList {
	return metadata(&o.ObjectMeta, validation.NameIsDNSSubdomain)
}
func ServiceAccountUpdate(new, old *corev1.ServiceAccount) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func Service(o *corev1.Service) field.ErrorList {
	return metadata(&o.ObjectMeta, validation.NameIsDNSSubdomain)
}
func ServiceUpdate(new, old *corev1.Service) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func ServiceStatusUpdate(new, old *corev1.Service) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func Lease(o *coordinationv1.Lease) field.ErrorList {
	return metadata(&o.ObjectMeta, validation.NameIsDNSSubdomain)
}
func LeaseUpdate(new, old *coordinationv1.Lease) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func EndpointSlice(o *discoveryv1.EndpointSlice) field.ErrorList {
	return metadata(&o.ObjectMeta, validation.NameIsDNSSubdomain)
}
func EndpointSliceUpdate(new, old *discoveryv1.EndpointSlice) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func GitSource(o *v1alpha1.GitSource) field.ErrorList {
	return metadata(&o.ObjectMeta, validation.NameIsDNSSubdomain)
}
func GitSourceUpdate(new, old *v1alpha1.GitSource) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func GitSourceStatusUpdate(new, old *v1alpha1.GitSource) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
func Inventory(o *v1alpha1.Inventory) field.ErrorList {
	return metadata(&o.ObjectMeta, validation.NameIsDNSSubdomain)
}
func InventoryUpdate(new, old *v1alpha1.Inventory) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}
