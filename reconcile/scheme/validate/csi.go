package validate

import (
	"fmt"
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	driverNameLength = 63
	nodeIDLength     = 192
	tokenAtLeast     = 600     // seconds
	tokenAtMost      = 1 << 32 // seconds
	attributesAtMost = 512
	attributesSize   = 256 << 10 // bytes
)

func csiDriverName(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	if len(name) > driverNameLength {
		errs = append(errs, field.TooLong(at, "", driverNameLength))
	}
	return append(errs, invalid(at, name, valid.IsDNS1123Subdomain(strings.ToLower(name)))...)
}

// CSIDriver validates a new CSIDriver.
func CSIDriver(d *storagev1.CSIDriver) field.ErrorList {
	errs := clusterMetadata(&d.ObjectMeta, func(name string, _ bool) []string { return valid.IsDNS1123Subdomain(strings.ToLower(name)) })
	if len(d.Name) > driverNameLength {
		errs = append(errs, field.TooLong(root("metadata").Child("name"), "", driverNameLength))
	}
	path := root("spec")
	errs = append(errs, maybe(d.Spec.FSGroupPolicy, path.Child("fsGroupPolicy"),
		storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)...)
	for i := range d.Spec.VolumeLifecycleModes {
		errs = append(errs, maybe(&d.Spec.VolumeLifecycleModes[i], path.Child("volumeLifecycleModes").Index(i), storagev1.VolumeLifecycleEphemeral, storagev1.VolumeLifecyclePersistent)...)
	}
	if n := d.Spec.NodeAllocatableUpdatePeriodSeconds; n != nil && *n < 10 {
		errs = append(errs, field.Invalid(path.Child("nodeAllocatableUpdatePeriodSeconds"), *n, "must be greater than or equal to 10 seconds"))
	}
	return append(errs, tokenRequests(d.Spec.TokenRequests, path.Child("tokenRequests"))...)
}

func tokenRequests(all []storagev1.TokenRequest, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, r := range all {
		p := at.Index(i)
		if seen[r.Audience] {
			errs = append(errs, field.Duplicate(p.Child("audience"), r.Audience))
		}
		seen[r.Audience] = true
		if r.ExpirationSeconds == nil {
			continue
		}
		if *r.ExpirationSeconds < tokenAtLeast {
			errs = append(errs, field.Invalid(p.Child("expirationSeconds"), *r.ExpirationSeconds, "may not specify a duration less than 10 minutes"))
		}
		if *r.ExpirationSeconds > tokenAtMost {
			errs = append(errs, field.Invalid(p.Child("expirationSeconds"), *r.ExpirationSeconds, "may not specify a duration larger than 2^32 seconds"))
		}
	}
	return errs
}

// CSIDriverUpdate keeps how volumes are attached, and how long they live.
func CSIDriverUpdate(new, old *storagev1.CSIDriver) field.ErrorList {
	path := root("spec")
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, immutable(new.Spec.AttachRequired, old.Spec.AttachRequired, path.Child("attachedRequired"))...)
	errs = append(errs, immutable(new.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes, path.Child("volumeLifecycleModes"))...)
	return append(errs, CSIDriver(new)...)
}

// CSINode validates a new CSINode.
func CSINode(n *storagev1.CSINode) field.ErrorList {
	errs := clusterMetadata(&n.ObjectMeta, validation.NameIsDNSSubdomain)
	seen := map[string]bool{}
	for i := range n.Spec.Drivers {
		d, p := &n.Spec.Drivers[i], root("spec").Child("drivers").Index(i)
		errs = append(errs, csiDriverName(d.Name, p.Child("name"))...)
		if seen[d.Name] {
			errs = append(errs, field.Duplicate(p.Child("name"), d.Name))
		}
		seen[d.Name] = true
		errs = append(errs, nodeDriver(d, p)...)
	}
	return errs
}

func nodeDriver(d *storagev1.CSINodeDriver, p *field.Path) field.ErrorList {
	errs := required(d.NodeID, p.Child("nodeID"))
	if len(d.NodeID) > nodeIDLength {
		errs = append(errs, field.Invalid(p.Child("nodeID"), d.NodeID, fmt.Sprintf("must be %d characters or less", nodeIDLength)))
	}
	if d.Allocatable != nil && d.Allocatable.Count != nil {
		errs = append(errs, notNegative(*d.Allocatable.Count, p.Child("allocatable", "count"))...)
	}
	keys := map[string]bool{}
	for _, key := range d.TopologyKeys {
		errs = append(errs, required(key, p.Child("topologyKeys"))...)
		if keys[key] {
			errs = append(errs, field.Duplicate(p.Child("topologyKeys"), key))
		}
		keys[key] = true
		errs = append(errs, labelKey(key, p.Child("topologyKeys"))...)
	}
	return errs
}

// CSINodeUpdate keeps the drivers that are there: they come and go whole.
func CSINodeUpdate(new, old *storagev1.CSINode) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	for _, was := range old.Spec.Drivers {
		for _, is := range new.Spec.Drivers {
			is.Allocatable = was.Allocatable
			if is.Name == was.Name && !same(is, was) {
				errs = append(errs, field.Invalid(root("spec").Child("drivers"), is, "field is immutable"))
			}
		}
	}
	return append(errs, CSINode(new)...)
}

// CSIStorageCapacity validates a new CSIStorageCapacity.
func CSIStorageCapacity(c *storagev1.CSIStorageCapacity) field.ErrorList {
	errs := metadata(&c.ObjectMeta, validation.NameIsDNSSubdomain)
	if c.NodeTopology != nil {
		errs = append(errs, selector(c.NodeTopology, root("nodeTopology"))...)
	}
	errs = append(errs, invalid(root("storageClassName"), c.StorageClassName, validation.NameIsDNSSubdomain(c.StorageClassName, false))...)
	if q := c.Capacity; q != nil && q.Sign() < 0 {
		errs = append(errs, field.Invalid(root("capacity"), q.String(), validation.IsNegativeErrorMsg))
	}
	return errs
}

// CSIStorageCapacityUpdate keeps what it is the capacity of.
func CSIStorageCapacityUpdate(new, old *storagev1.CSIStorageCapacity) field.ErrorList {
	errs := append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), CSIStorageCapacity(new)...)
	errs = append(errs, immutable(new.NodeTopology, old.NodeTopology, root("nodeTopology"))...)
	return append(errs, immutable(new.StorageClassName, old.StorageClassName, root("storageClassName"))...)
}

// VolumeAttachment validates a new VolumeAttachment.
func VolumeAttachment(a *storagev1.VolumeAttachment) field.ErrorList {
	errs := clusterMetadata(&a.ObjectMeta, validation.NameIsDNSSubdomain)
	path := root("spec")
	errs = append(errs, csiDriverName(a.Spec.Attacher, path.Child("attacher"))...)
	s, at := a.Spec.Source, path.Child("source")
	switch {
	case s.PersistentVolumeName == nil && s.InlineVolumeSpec == nil:
		errs = append(errs, field.Required(at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case s.PersistentVolumeName != nil && s.InlineVolumeSpec != nil:
		errs = append(errs, field.Forbidden(at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case s.PersistentVolumeName != nil:
		errs = append(errs, invalid(at.Child("persistentVolumeName"), *s.PersistentVolumeName, validation.NameIsDNSSubdomain(*s.PersistentVolumeName, false))...)
	}
	return append(errs, invalid(path.Child("nodeName"), a.Spec.NodeName, validation.NameIsDNSSubdomain(a.Spec.NodeName, false))...)
}

// VolumeAttachmentUpdate keeps the spec.
func VolumeAttachmentUpdate(new, old *storagev1.VolumeAttachment) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	if !same(new.Spec, old.Spec) {
		errs = append(errs, field.Invalid(root("spec"), new.Spec, "field is immutable"))
	}
	return errs
}

// VolumeAttributesClass validates a new VolumeAttributesClass.
func VolumeAttributesClass(c *storagev1.VolumeAttributesClass) field.ErrorList {
	errs := clusterMetadata(&c.ObjectMeta, validation.NameIsDNSSubdomain)
	if c.DriverName == "" {
		errs = append(errs, field.Required(root("driverName"), ""))
	} else {
		errs = append(errs, invalid(root("driverName"), c.DriverName, valid.IsQualifiedName(strings.ToLower(c.DriverName)))...)
	}
	at := root("parameters")
	if len(c.Parameters) == 0 {
		return append(errs, field.Required(at, "must contain at least one key/value pair"))
	}
	if len(c.Parameters) > attributesAtMost {
		errs = append(errs, field.TooLong(at, "", attributesAtMost))
	}
	size := 0
	for k, v := range c.Parameters {
		if k == "" {
			errs = append(errs, field.Invalid(at, k, "field can not be empty."))
		}
		size += len(k) + len(v)
	}
	if size > attributesSize {
		errs = append(errs, field.TooLong(at, "", attributesSize))
	}
	return errs
}

// VolumeAttributesClassUpdate keeps all but the metadata.
func VolumeAttributesClassUpdate(new, old *storagev1.VolumeAttributesClass) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	if new.DriverName != old.DriverName {
		errs = append(errs, field.Forbidden(root("driverName"), "updates to driverName are forbidden."))
	}
	if !same(new.Parameters, old.Parameters) {
		errs = append(errs, field.Forbidden(root("parameters"), "updates to parameters are forbidden."))
	}
	return errs
}
