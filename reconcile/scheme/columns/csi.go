package columns

import (
	"strings"
	"time"

	storagev1 "k8s.io/api/storage/v1"
)

// yes is what b points to; false if it points to nothing.
func yes(b *bool) bool { return b != nil && *b }

// CSIDrivers shows what they can do.
func CSIDrivers() Table[*storagev1.CSIDriver] {
	return Table[*storagev1.CSIDriver]{
		header("Name,AttachRequired:boolean,PodInfoOnMount:boolean,StorageCapacity:boolean,TokenRequests,RequiresRepublish:boolean,Modes,Age"),
		func(d *storagev1.CSIDriver, now time.Time) []any {
			var modes, audiences []string
			for _, m := range d.Spec.VolumeLifecycleModes {
				modes = append(modes, string(m))
			}
			tokens := "<unset>"
			if d.Spec.TokenRequests != nil {
				for _, r := range d.Spec.TokenRequests {
					audiences = append(audiences, r.Audience)
				}
				tokens = strings.Join(audiences, ",")
			}
			attach := d.Spec.AttachRequired == nil || *d.Spec.AttachRequired
			return []any{
				d.Name, attach, yes(d.Spec.PodInfoOnMount), yes(d.Spec.StorageCapacity), tokens, yes(d.Spec.RequiresRepublish),
				or(strings.Join(modes, ","), none), created(d, now),
			}
		},
	}
}

// CSINodes shows how many drivers they have.
func CSINodes() Table[*storagev1.CSINode] {
	return Table[*storagev1.CSINode]{header("Name,Drivers:integer,Age"), func(n *storagev1.CSINode, now time.Time) []any {
		return []any{n.Name, int64(len(n.Spec.Drivers)), created(n, now)}
	}}
}

// CSIStorageCapacities shows how much there is of what.
func CSIStorageCapacities() Table[*storagev1.CSIStorageCapacity] {
	return Table[*storagev1.CSIStorageCapacity]{header("Name,StorageClassName,Capacity"), func(c *storagev1.CSIStorageCapacity, _ time.Time) []any {
		capacity := "<unset>"
		if c.Capacity != nil {
			capacity = c.Capacity.String()
		}
		return []any{c.Name, c.StorageClassName, capacity}
	}}
}

// VolumeAttachments shows what is attached to which node.
func VolumeAttachments() Table[*storagev1.VolumeAttachment] {
	return Table[*storagev1.VolumeAttachment]{header("Name,Attacher,PV,Node,Attached:boolean,Age"), func(a *storagev1.VolumeAttachment, now time.Time) []any {
		volume := ""
		if a.Spec.Source.PersistentVolumeName != nil {
			volume = *a.Spec.Source.PersistentVolumeName
		}
		return []any{a.Name, a.Spec.Attacher, volume, a.Spec.NodeName, a.Status.Attached, created(a, now)}
	}}
}

// VolumeAttributesClasses shows whose they are.
func VolumeAttributesClasses() Table[*storagev1.VolumeAttributesClass] {
	return Table[*storagev1.VolumeAttributesClass]{header("Name,DriverName,Age"), func(c *storagev1.VolumeAttributesClass, now time.Time) []any {
		return []any{c.Name, c.DriverName, created(c, now)}
	}}
}
