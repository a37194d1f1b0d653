package admit

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// defaultStorageClass gives a new claim that names no class the default one: of several the newest, then the first by name.
func defaultStorageClass(s *store.Snapshot, r *Request) error {
	claim, ok := r.Object.(*corev1.PersistentVolumeClaim)
	if !ok || r.Operation != Create || !r.is("", "persistentvolumeclaims") || claim.Spec.StorageClassName != nil || !has[*storagev1.StorageClass](s) {
		return nil
	}
	if _, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return nil
	}
	const beta = "storageclass.beta.kubernetes.io/is-default-class"
	var found *storagev1.StorageClass
	for c := range store.List[*storagev1.StorageClass](s) {
		marked := c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" || c.Annotations[beta] == "true"
		if marked && (found == nil || c.CreationTimestamp.After(found.CreationTimestamp.Time)) {
			found = c
		}
	}
	if found != nil {
		claim.Spec.StorageClassName = &found.Name
	}
	return nil
}

// defaultIngressClass does the same for an Ingress.
func defaultIngressClass(s *store.Snapshot, r *Request) error {
	ingress, ok := r.Object.(*networkingv1.Ingress)
	if !ok || r.Operation != Create || r.Subresource != "" || ingress.Spec.IngressClassName != nil || !has[*networkingv1.IngressClass](s) {
		return nil
	}
	if _, ok := ingress.Annotations["kubernetes.io/ingress.class"]; ok {
		return nil
	}
	var found *networkingv1.IngressClass
	for c := range store.List[*networkingv1.IngressClass](s) {
		if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" && (found == nil || c.CreationTimestamp.After(found.CreationTimestamp.Time)) {
			found = c
		}
	}
	if found != nil {
		ingress.Spec.IngressClassName = &found.Name
	}
	return nil
}

// taintNode keeps pods from a new node until it is known to be ready.
func taintNode(_ *store.Snapshot, r *Request) error {
	node, ok := r.Object.(*corev1.Node)
	if !ok || r.Operation != Create || r.Subresource != "" || r.User == nil {
		return nil
	}
	taint := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	for _, t := range node.Spec.Taints {
		if t.MatchTaint(&taint) {
			return nil
		}
	}
	node.Spec.Taints = append(node.Spec.Taints, taint)
	return nil
}
