package plugin

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/component-helpers/storage/ephemeral"
	helper "k8s.io/component-helpers/storage/volume"

	"github.com/mainstay-gitops/mainstay/reconcile/schedule"
	"github.com/mainstay-gitops/mainstay/reconcile/storage"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// VolumeBinding refuses nodes that do not reach the volumes of the pod's claims, or where claims that wait for a node could
// get none.
type VolumeBinding struct{}

func (VolumeBinding) Name() string { return "VolumeBinding" }

func (VolumeBinding) Prepare(pod *corev1.Pod, v *schedule.View) func(*schedule.NodeInfo) *schedule.Reject {
	var ask []func(*schedule.NodeInfo) *schedule.Reject
	for i := range pod.Spec.Volumes {
		if fn := claimRule(pod, &pod.Spec.Volumes[i], v.State()); fn != nil {
			ask = append(ask, fn)
		}
	}
	if len(ask) == 0 {
		return nil
	}
	return func(n *schedule.NodeInfo) *schedule.Reject {
		for _, fn := range ask {
			if r := fn(n); r != nil {
				return r
			}
		}
		return nil
	}
}

// everywhere refuses all nodes for one reason.
func everywhere(format string, args ...any) func(*schedule.NodeInfo) *schedule.Reject {
	r := reject(true, fmt.Sprintf(format, args...))
	return func(*schedule.NodeInfo) *schedule.Reject { return r }
}

// claimRule is what one volume of a pod asks of a node; nil: nothing.
func claimRule(pod *corev1.Pod, vol *corev1.Volume, s *store.Snapshot) func(*schedule.NodeInfo) *schedule.Reject {
	name := storage.ClaimName(pod, vol)
	if name == "" || s == nil {
		return nil
	}
	c, ok := store.Get[*corev1.PersistentVolumeClaim](s, pod.Namespace, name)
	switch {
	case !ok && vol.Ephemeral != nil:
		return everywhere("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", name)
	case !ok:
		return everywhere("persistentvolumeclaim %q not found", name)
	case vol.Ephemeral != nil && ephemeral.VolumeIsForPod(pod, c) != nil:
		return everywhere("%v", ephemeral.VolumeIsForPod(pod, c))
	case c.Status.Phase == corev1.ClaimLost:
		return everywhere("persistentvolumeclaim %q bound to non-existent persistentvolume %q", c.Name, c.Spec.VolumeName)
	case c.DeletionTimestamp != nil:
		return everywhere("persistentvolumeclaim %q is being deleted", c.Name)
	}
	if used := onlyOne(pod, c, s); used != nil {
		return used
	}
	if storage.Bound(c) {
		return boundRule(c, s)
	}
	class := storage.ClassOf(s, c)
	if !storage.Delayed(class) {
		return everywhere("pod has unbound immediate PersistentVolumeClaims")
	}
	return delayedRule(c, class, s)
}

// onlyOne refuses a pod whose claim is for one pod, and has another.
func onlyOne(pod *corev1.Pod, c *corev1.PersistentVolumeClaim, s *store.Snapshot) func(*schedule.NodeInfo) *schedule.Reject {
	if len(c.Spec.AccessModes) != 1 || c.Spec.AccessModes[0] != corev1.ReadWriteOncePod {
		return nil
	}
	for p := range store.List[*corev1.Pod](s, store.InNamespace(pod.Namespace)) {
		if p.UID == pod.UID || p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		for i := range p.Spec.Volumes {
			if storage.ClaimName(p, &p.Spec.Volumes[i]) == c.Name {
				return everywhere("node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode")
			}
		}
	}
	return nil
}

func boundRule(c *corev1.PersistentVolumeClaim, s *store.Snapshot) func(*schedule.NodeInfo) *schedule.Reject {
	v, ok := store.Get[*corev1.PersistentVolume](s, "", c.Spec.VolumeName)
	switch {
	case !ok:
		return everywhere("persistentvolume %q not found", c.Spec.VolumeName)
	case !storage.Mountable(v):
		return everywhere("persistentvolume %q is of a kind that no node mounts: %s", v.Name, storage.Source(v))
	}
	return func(n *schedule.NodeInfo) *schedule.Reject {
		if !storage.Reaches(v, n.Node) {
			return reject(true, "node(s) didn't match PersistentVolume's node affinity")
		}
		return nil
	}
}

// delayedRule is for a claim that gets its volume once the pod has a node.
func delayedRule(c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, s *store.Snapshot) func(*schedule.NodeInfo) *schedule.Reject {
	chosen := c.Annotations[helper.AnnSelectedNode]
	return func(n *schedule.NodeInfo) *schedule.Reject {
		if chosen != "" && chosen != n.Node.Name {
			return reject(true, "node(s) didn't match the node that its claim was promised")
		}
		if storage.Match(s, c, n.Node, true) != nil {
			return nil
		}
		if why := storage.Refuse(c, class); why != "" && class.Provisioner == storage.Driver {
			return reject(true, fmt.Sprintf("persistentvolumeclaim %q: %s", c.Name, why))
		}
		if class.Provisioner != storage.Driver || !storage.Allows(class, n.Node) {
			return reject(true, "node(s) didn't find available persistent volumes to bind")
		}
		return nil
	}
}
