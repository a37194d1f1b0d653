package schedule

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	helper "k8s.io/component-helpers/storage/volume"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/storage"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// promise tells the claims of a pod that wait for its node which one it is to be. It returns whether the pod must wait for
// one of its claims: it is bound to the node when all of them have their volumes.
func promise(p *control.Plan, s *store.Snapshot, pod *corev1.Pod, node string) (waits bool) {
	for i := range pod.Spec.Volumes {
		name := storage.ClaimName(pod, &pod.Spec.Volumes[i])
		if name == "" {
			continue
		}
		c, ok := store.Get[*corev1.PersistentVolumeClaim](s, pod.Namespace, name)
		if !ok || storage.Bound(c) {
			continue
		}
		waits = true
		if c.Annotations[helper.AnnSelectedNode] == node {
			continue
		}
		next := c.DeepCopy()
		next.Annotations = maps.Clone(next.Annotations)
		if next.Annotations == nil {
			next.Annotations = map[string]string{}
		}
		next.Annotations[helper.AnnSelectedNode] = node
		p.Update(next, "its first pod is to run there")
	}
	return waits
}

// mattersToClaims tells whether a change may let a pod have a node that waits for its claims.
func mattersToClaims(c store.Change) bool {
	switch o := c.Object().(type) {
	case *corev1.PersistentVolumeClaim:
		was, _ := c.Old.(*corev1.PersistentVolumeClaim)
		return was == nil || c.New == nil || storage.Bound(o) != storage.Bound(was) || was.Annotations[helper.AnnSelectedNode] != o.Annotations[helper.AnnSelectedNode]
	case *corev1.PersistentVolume:
		was, _ := c.Old.(*corev1.PersistentVolume)
		return was == nil || c.New == nil || o.Status.Phase != was.Status.Phase
	}
	_, class := c.New.(*storagev1.StorageClass)
	return class
}
