package validate

import (
	"path"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// remoteSources are the disks of others. What is checked is what they cannot do without.
func remoteSources(v *corev1.VolumeSource) []source {
	return []source{
		{"nfs", v.NFS != nil, func(p *field.Path) field.ErrorList {
			errs := append(required(v.NFS.Server, p.Child("server")), required(v.NFS.Path, p.Child("path"))...)
			if !path.IsAbs(v.NFS.Path) {
				errs = append(errs, field.Invalid(p.Child("path"), v.NFS.Path, "must be an absolute path"))
			}
			return errs
		}},
		{"csi", v.CSI != nil, func(p *field.Path) field.ErrorList { return required(v.CSI.Driver, p.Child("driver")) }},
		{"gitRepo", v.GitRepo != nil, func(p *field.Path) field.ErrorList {
			errs := required(v.GitRepo.Repository, p.Child("repository"))
			return append(errs, filePath(v.GitRepo.Directory, p.Child("directory"))...)
		}},
		{"gcePersistentDisk", v.GCEPersistentDisk != nil, func(p *field.Path) field.ErrorList {
			return required(v.GCEPersistentDisk.PDName, p.Child("pdName"))
		}},
		{"awsElasticBlockStore", v.AWSElasticBlockStore != nil, func(p *field.Path) field.ErrorList {
			return required(v.AWSElasticBlockStore.VolumeID, p.Child("volumeID"))
		}},
		{"iscsi", v.ISCSI != nil, func(p *field.Path) field.ErrorList {
			return append(required(v.ISCSI.TargetPortal, p.Child("targetPortal")), required(v.ISCSI.IQN, p.Child("iqn"))...)
		}},
		{"glusterfs", v.Glusterfs != nil, func(p *field.Path) field.ErrorList {
			return append(required(v.Glusterfs.EndpointsName, p.Child("endpoints")), required(v.Glusterfs.Path, p.Child("path"))...)
		}},
		{"rbd", v.RBD != nil, func(p *field.Path) field.ErrorList {
			errs := required(v.RBD.RBDImage, p.Child("image"))
			if len(v.RBD.CephMonitors) == 0 {
				errs = append(errs, field.Required(p.Child("monitors"), ""))
			}
			return errs
		}},
		{"cephfs", v.CephFS != nil, func(p *field.Path) field.ErrorList {
			if len(v.CephFS.Monitors) == 0 {
				return field.ErrorList{field.Required(p.Child("monitors"), "")}
			}
			return nil
		}},
		{"flexVolume", v.FlexVolume != nil, func(p *field.Path) field.ErrorList { return required(v.FlexVolume.Driver, p.Child("driver")) }},
		{"cinder", v.Cinder != nil, func(p *field.Path) field.ErrorList { return required(v.Cinder.VolumeID, p.Child("volumeID")) }},
		{"flocker", v.Flocker != nil, func(p *field.Path) field.ErrorList {
			if (v.Flocker.DatasetName == "") == (v.Flocker.DatasetUUID == "") {
				return field.ErrorList{field.Required(p, "one of datasetName and datasetUUID is required")}
			}
			return nil
		}},
		{"fc", v.FC != nil, func(p *field.Path) field.ErrorList {
			if (len(v.FC.TargetWWNs) == 0 || v.FC.Lun == nil) && len(v.FC.WWIDs) == 0 {
				return field.ErrorList{field.Required(p.Child("targetWWNs"), "must specify either targetWWNs and lun, or wwids, but not both")}
			}
			return nil
		}},
		{"vsphereVolume", v.VsphereVolume != nil, func(p *field.Path) field.ErrorList {
			return required(v.VsphereVolume.VolumePath, p.Child("volumePath"))
		}},
		{"quobyte", v.Quobyte != nil, func(p *field.Path) field.ErrorList {
			return append(required(v.Quobyte.Registry, p.Child("registry")), required(v.Quobyte.Volume, p.Child("volume"))...)
		}},
		{"azureDisk", v.AzureDisk != nil, func(p *field.Path) field.ErrorList {
			return append(required(v.AzureDisk.DiskName, p.Child("diskName")), required(v.AzureDisk.DataDiskURI, p.Child("diskURI"))...)
		}},
		{"azureFile", v.AzureFile != nil, func(p *field.Path) field.ErrorList {
			return append(required(v.AzureFile.SecretName, p.Child("secretName")), required(v.AzureFile.ShareName, p.Child("shareName"))...)
		}},
		{"photonPersistentDisk", v.PhotonPersistentDisk != nil, func(p *field.Path) field.ErrorList {
			return required(v.PhotonPersistentDisk.PdID, p.Child("pdID"))
		}},
		{"portworxVolume", v.PortworxVolume != nil, func(p *field.Path) field.ErrorList { return required(v.PortworxVolume.VolumeID, p.Child("volumeID")) }},
		{"scaleIO", v.ScaleIO != nil, func(p *field.Path) field.ErrorList {
			errs := append(required(v.ScaleIO.Gateway, p.Child("gateway")), required(v.ScaleIO.System, p.Child("system"))...)
			return append(errs, required(v.ScaleIO.VolumeName, p.Child("volumeName"))...)
		}},
		{"storageos", v.StorageOS != nil, func(p *field.Path) field.ErrorList { return required(v.StorageOS.VolumeName, p.Child("volumeName")) }},
	}
}
