package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	helper "k8s.io/component-helpers/resource"
)

// Storage is how much of this machine's disk a pod uses, in bytes.
type Storage struct {
	Volumes    map[string]int64 // its emptyDir volumes on disk
	Containers map[string]int64 // its containers: what they wrote to their own file systems and logs
}

// LimitsStorage tells whether anything of a pod must be measured.
func LimitsStorage(p *corev1.Pod) bool {
	for i := range p.Spec.Volumes {
		if sizeLimit(&p.Spec.Volumes[i]) != nil {
			return true
		}
	}
	_, limited := helper.PodLimits(p, helper.PodResourcesOptions{})[corev1.ResourceEphemeralStorage]
	return limited
}

// OnDisk tells whether a volume is an empty folder on this machine's disk.
func OnDisk(v *corev1.Volume) bool {
	return v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumDefault || v.VolumeSource == corev1.VolumeSource{}
}

// sizeLimit is that of a volume on disk; nil: none. One in memory is kept by the kernel.
func sizeLimit(v *corev1.Volume) *resource.Quantity {
	if !OnDisk(v) || v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil || v.EmptyDir.SizeLimit.Sign() <= 0 {
		return nil
	}
	return v.EmptyDir.SizeLimit
}

// Overused is why a pod must go that uses more of the disk than it may, in the words of Kubernetes; "" if it does not.
func Overused(p *corev1.Pod, used Storage) string {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if limit := sizeLimit(v); limit != nil && used.Volumes[v.Name] > limit.Value() {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, limit)
		}
	}
	total := int64(0)
	for _, n := range used.Volumes {
		total += n
	}
	for _, n := range used.Containers {
		total += n
	}
	if limit, ok := helper.PodLimits(p, helper.PodResourcesOptions{})[corev1.ResourceEphemeralStorage]; ok && total > limit.Value() {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", &limit)
	}
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		if limit, ok := c.Resources.Limits[corev1.ResourceEphemeralStorage]; ok && used.Containers[c.Name] > limit.Value() {
			return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, &limit)
		}
	}
	return ""
}
