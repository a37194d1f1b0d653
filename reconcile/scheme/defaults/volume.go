package defaults

import (
	corev1 "k8s.io/api/core/v1"
)

const tokenSeconds = 60 * 60 // how long a projected token lives

// volume is an empty folder if it does not say what it is.
func volume(v *corev1.Volume) {
	if v.VolumeSource == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	if v.Secret != nil {
		missing(&v.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	}
	if v.ConfigMap != nil {
		missing(&v.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	}
	if v.DownwardAPI != nil {
		missing(&v.DownwardAPI.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		downward(v.DownwardAPI.Items)
	}
	if v.Projected != nil {
		projected(v.Projected)
	}
	if v.HostPath != nil {
		missing(&v.HostPath.Type, corev1.HostPathUnset)
	}
	if v.Image != nil {
		unset(&v.Image.PullPolicy, pullPolicy(v.Image.Reference))
	}
	if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
		claimSpec(&v.Ephemeral.VolumeClaimTemplate.Spec)
	}
	remote(v)
}

func projected(p *corev1.ProjectedVolumeSource) {
	missing(&p.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
	for i := range p.Sources {
		s := &p.Sources[i]
		if s.ServiceAccountToken != nil {
			missing(&s.ServiceAccountToken.ExpirationSeconds, tokenSeconds)
		}
		if s.DownwardAPI != nil {
			downward(s.DownwardAPI.Items)
		}
	}
}

func downward(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		if items[i].FieldRef != nil {
			unset(&items[i].FieldRef.APIVersion, "v1")
		}
	}
}

// remote fills in the disks of others. No node mounts them yet, but a template that names them must read as it would
// elsewhere.
func remote(v *corev1.Volume) {
	if v.ISCSI != nil {
		unset(&v.ISCSI.ISCSIInterface, "default")
	}
	if v.RBD != nil {
		unset(&v.RBD.RBDPool, "rbd")
		unset(&v.RBD.RadosUser, "admin")
		unset(&v.RBD.Keyring, "/etc/ceph/keyring")
	}
	if v.AzureDisk != nil {
		missing(&v.AzureDisk.CachingMode, corev1.AzureDataDiskCachingReadWrite)
		missing(&v.AzureDisk.Kind, corev1.AzureSharedBlobDisk)
		missing(&v.AzureDisk.FSType, "ext4")
		missing(&v.AzureDisk.ReadOnly, false)
	}
	if v.ScaleIO != nil {
		unset(&v.ScaleIO.StorageMode, "ThinProvisioned")
		unset(&v.ScaleIO.FSType, "xfs")
	}
}
