package defaults

import storagev1 "k8s.io/api/storage/v1"

// CSIDriver attaches its volumes, which persist, and has the owning group of those changed that are of one writer.
func CSIDriver(d *storagev1.CSIDriver) {
	s := &d.Spec
	missing(&s.AttachRequired, true)
	missing(&s.PodInfoOnMount, false)
	missing(&s.StorageCapacity, false)
	missing(&s.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	if len(s.VolumeLifecycleModes) == 0 {
		s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
	missing(&s.RequiresRepublish, false)
	missing(&s.SELinuxMount, false)
	missing(&s.PreventPodSchedulingIfMissing, false)
}
