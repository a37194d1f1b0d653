package defaults

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// PersistentVolume holds files, and what was in it is kept when its claim is gone.
func PersistentVolume(v *corev1.PersistentVolume) {
	unset(&v.Status.Phase, corev1.VolumePending)
	unset(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	missing(&v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	roundUp(v.Spec.Capacity)
	if v.Spec.HostPath != nil {
		missing(&v.Spec.HostPath.Type, corev1.HostPathUnset)
	}
}

// PersistentVolumeClaim asks for files.
func PersistentVolumeClaim(c *corev1.PersistentVolumeClaim) {
	unset(&c.Status.Phase, corev1.ClaimPending)
	claimSpec(&c.Spec)
	roundUp(c.Status.Capacity)
}

func claimSpec(s *corev1.PersistentVolumeClaimSpec) {
	missing(&s.VolumeMode, corev1.PersistentVolumeFilesystem)
	roundUp(s.Resources.Limits)
	roundUp(s.Resources.Requests)
	if s.DataSourceRef == nil && s.DataSource != nil {
		s.DataSourceRef = &corev1.TypedObjectReference{APIGroup: s.DataSource.APIGroup, Kind: s.DataSource.Kind, Name: s.DataSource.Name}
	}
}

// StorageClass makes volumes at once, which go with their claims.
func StorageClass(c *storagev1.StorageClass) {
	missing(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
	missing(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
}
