// Package static follows a folder of manifests: pods that this node runs by itself, whatever the control plane says. Each has
// a mirror in the API, which only shows it.
package static

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Annotations by which the pods of a node itself are known, as Kubernetes names them.
const (
	hashAnnotation   = "kubernetes.io/config.hash"
	sourceAnnotation = "kubernetes.io/config.source"
)

// Adopt makes a pod from a manifest this node's own: named after it, bound to it, and with a UID that says what is in it, so
// that another manifest is another pod.
func Adopt(p *corev1.Pod, node string) (*corev1.Pod, error) {
	p = p.DeepCopy()
	p.Name += "-" + strings.ToLower(node)
	p.Spec.NodeName = node
	p.Status = corev1.PodStatus{Phase: corev1.PodPending}
	p.UID, p.ResourceVersion, p.CreationTimestamp, p.ManagedFields = "", "", metav1.Time{}, nil
	text, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("read pod %s: %w", p.Name, err)
	}
	p.UID = types.UID(fmt.Sprintf("%x", sha256.Sum256(text))[:32])
	annotations := map[string]string{hashAnnotation: string(p.UID), sourceAnnotation: "file"}
	maps.Copy(annotations, p.Annotations)
	p.Annotations = annotations
	return p, nil
}

// Mirror is what the API shows of a node's own pod.
func Mirror(p *corev1.Pod) *corev1.Pod {
	m := p.DeepCopy()
	m.UID = ""
	m.Annotations[corev1.MirrorPodAnnotationKey] = string(p.UID)
	m.DeletionTimestamp, m.DeletionGracePeriodSeconds = nil, nil
	return m
}

// Mirrored is the UID of the pod that p shows; false if it shows none.
func Mirrored(p *corev1.Pod) (types.UID, bool) {
	uid, ok := p.Annotations[corev1.MirrorPodAnnotationKey]
	return types.UID(uid), ok
}
