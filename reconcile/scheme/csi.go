package scheme

import (
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/columns"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/defaults"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/validate"
)

// noCSI is told of what only drivers of that kind would heed.
const noCSI = "drivers of the Container Storage Interface are not supported yet: this object is kept, and has no effect"

// csiKinds are what storage drivers and the cluster tell each other.
func csiKinds() []*Kind {
	in := func(kind string) schema.GroupVersionKind { return storagev1.SchemeGroupVersion.WithKind(kind) }
	return []*Kind{
		typed(Kind{GroupVersionKind: in("CSIDriver"), Plural: "csidrivers"}, rules[*storagev1.CSIDriver]{
			defaults: defaults.CSIDriver, generation: true, validate: validate.CSIDriver, update: validate.CSIDriverUpdate,
			table: columns.CSIDrivers(), warn: always[*storagev1.CSIDriver](noCSI),
		}),
		typed(Kind{GroupVersionKind: in("CSINode"), Plural: "csinodes"}, rules[*storagev1.CSINode]{
			validate: validate.CSINode, update: validate.CSINodeUpdate, table: columns.CSINodes(), warn: always[*storagev1.CSINode](noCSI),
		}),
		typed(Kind{GroupVersionKind: in("CSIStorageCapacity"), Plural: "csistoragecapacities", Namespaced: true}, rules[*storagev1.CSIStorageCapacity]{
			validate: validate.CSIStorageCapacity, update: validate.CSIStorageCapacityUpdate, table: columns.CSIStorageCapacities(),
			warn: always[*storagev1.CSIStorageCapacity](noCSI),
		}),
		typed(Kind{GroupVersionKind: in("VolumeAttachment"), Plural: "volumeattachments", Status: true}, rules[*storagev1.VolumeAttachment]{
			validate: validate.VolumeAttachment, update: validate.VolumeAttachmentUpdate, status: validate.VolumeAttachmentUpdate,
			table: columns.VolumeAttachments(), warn: always[*storagev1.VolumeAttachment](noCSI),
		}),
		typed(Kind{GroupVersionKind: in("VolumeAttributesClass"), Plural: "volumeattributesclasses", Short: list("vac")}, rules[*storagev1.VolumeAttributesClass]{
			validate: validate.VolumeAttributesClass, update: validate.VolumeAttributesClassUpdate, table: columns.VolumeAttributesClasses(),
			warn: always[*storagev1.VolumeAttributesClass](noCSI),
		}),
	}
}
