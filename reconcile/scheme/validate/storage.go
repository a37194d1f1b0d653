package validate

import (
	"path"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const betaClass = "volume.beta.kubernetes.io/storage-class"

// PersistentVolumeClaim validates a new claim.
func PersistentVolumeClaim(c *corev1.PersistentVolumeClaim) field.ErrorList {
	return append(metadata(&c.ObjectMeta, validation.NameIsDNSSubdomain), claimSpec(&c.Spec, root("spec"))...)
}

func claimSpec(s *corev1.PersistentVolumeClaimSpec, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(p.Child("accessModes"), "at least 1 access mode is required"))
	}
	if s.Selector != nil {
		errs = append(errs, selector(s.Selector, p.Child("selector"))...)
	}
	errs = append(errs, accessModes(s.AccessModes, p.Child("accessModes"))...)
	at := p.Child("resources").Key(string(corev1.ResourceStorage))
	if q, ok := s.Resources.Requests[corev1.ResourceStorage]; !ok {
		errs = append(errs, field.Required(at, ""))
	} else if q.Sign() <= 0 {
		errs = append(errs, field.Invalid(at, q.String(), "must be greater than zero"))
	}
	if s.StorageClassName != nil && *s.StorageClassName != "" {
		errs = append(errs, className(*s.StorageClassName, p.Child("storageClassName"))...)
	}
	errs = append(errs, maybe(s.VolumeMode, p.Child("volumeMode"), corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
	if d := s.DataSource; d != nil {
		errs = append(errs, required(d.Name, p.Child("dataSource", "name"))...)
		errs = append(errs, required(d.Kind, p.Child("dataSource", "kind"))...)
	}
	if d := s.DataSourceRef; d != nil {
		errs = append(errs, required(d.Name, p.Child("dataSourceRef", "name"))...)
		errs = append(errs, required(d.Kind, p.Child("dataSourceRef", "kind"))...)
	}
	if a, b := s.DataSource, s.DataSourceRef; a != nil && b != nil && (a.Kind != b.Kind || a.Name != b.Name || !same(a.APIGroup, b.APIGroup)) {
		errs = append(errs, field.Invalid(p, "", "must match dataSourceRef"))
	}
	if c := s.VolumeAttributesClassName; c != nil && *c != "" {
		errs = append(errs, className(*c, p.Child("volumeAttributesClassName"))...)
	}
	return errs
}

func className(name string, p *field.Path) field.ErrorList {
	return invalid(p, name, validation.NameIsDNSSubdomain(name, false))
}

// accessModes are known ones, and the one for a single pod stands alone.
func accessModes(all []corev1.PersistentVolumeAccessMode, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	known := []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod}
	others := false
	for _, m := range all {
		errs = append(errs, maybe(&m, p, known...)...)
		others = others || m != corev1.ReadWriteOncePod && slices.Contains(known, m)
	}
	if others && slices.Contains(all, corev1.ReadWriteOncePod) {
		errs = append(errs, field.Forbidden(p, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

// PersistentVolumeClaimUpdate keeps the spec, but for the volume that a claim gets once, and the size of one that has it.
func PersistentVolumeClaimUpdate(new, old *corev1.PersistentVolumeClaim) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, PersistentVolumeClaim(new)...)
	n, o := new.Spec.DeepCopy(), old.Spec.DeepCopy()
	if o.VolumeName == "" {
		o.VolumeName = n.VolumeName
	}
	if new.Annotations[betaClass] != old.Annotations[betaClass] {
		errs = append(errs, field.Invalid(root("metadata").Child("annotations").Key(betaClass), new.Annotations[betaClass], "field is immutable"))
	}
	if o.StorageClassName == nil && old.Annotations[betaClass] == "" {
		o.StorageClassName = n.StorageClassName // one without a class may get one
	}
	if new.Status.Phase == corev1.ClaimBound {
		if n.Resources.Requests != nil {
			n.Resources.Requests[corev1.ResourceStorage] = o.Resources.Requests[corev1.ResourceStorage]
		}
		n.VolumeAttributesClassName = o.VolumeAttributesClassName
	}
	if !same(n, o) {
		errs = append(errs, field.Forbidden(root("spec"), "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"))
	}
	if size := new.Spec.Resources.Requests.Storage(); size.Cmp(*old.Spec.Resources.Requests.Storage()) < 0 && size.Cmp(*old.Status.Capacity.Storage()) <= 0 {
		errs = append(errs, field.Forbidden(root("spec").Child("resources", "requests", "storage"), "field can not be less than status.capacity"))
	}
	return append(errs, immutable(new.Spec.VolumeMode, old.Spec.VolumeMode, root("volumeMode"))...)
}

// PersistentVolumeClaimStatusUpdate validates the capacity.
func PersistentVolumeClaimStatusUpdate(new, old *corev1.PersistentVolumeClaim) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), capacity(new.Status.Capacity, root("status").Child("capacity"))...)
}

func capacity(l corev1.ResourceList, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	for name, q := range l {
		if q.Sign() < 0 {
			errs = append(errs, field.Invalid(p.Key(string(name)), q.Value(), "must be a valid resource quantity"))
		}
	}
	return errs
}

// PersistentVolume validates a new volume.
func PersistentVolume(v *corev1.PersistentVolume) field.ErrorList {
	s, p := &v.Spec, root("spec")
	errs := clusterMetadata(&v.ObjectMeta, validation.NameIsDNSSubdomain)
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(p.Child("accessModes"), ""))
	}
	errs = append(errs, accessModes(s.AccessModes, p.Child("accessModes"))...)
	if len(s.Capacity) == 0 {
		errs = append(errs, field.Required(p.Child("capacity"), ""))
	}
	if _, ok := s.Capacity[corev1.ResourceStorage]; !ok || len(s.Capacity) > 1 {
		errs = append(errs, field.NotSupported(p.Child("capacity"), s.Capacity, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for name, q := range s.Capacity {
		if q.Sign() <= 0 {
			errs = append(errs, field.Invalid(p.Child("capacity").Key(string(name)), q.String(), "must be greater than zero"))
		}
	}
	errs = append(errs, maybe(&s.PersistentVolumeReclaimPolicy, p.Child("persistentVolumeReclaimPolicy"), reclaims()...)...)
	if a := s.NodeAffinity; a != nil {
		if a.Required == nil {
			errs = append(errs, field.Required(p.Child("nodeAffinity", "required"), "must specify required node constraints"))
		} else {
			errs = append(errs, nodeSelector(a.Required, p.Child("nodeAffinity", "required"))...)
		}
	}
	errs = append(errs, persistentSource(s, p)...)
	if s.StorageClassName != "" {
		errs = append(errs, className(s.StorageClassName, p.Child("storageClassName"))...)
	}
	return append(errs, maybe(s.VolumeMode, p.Child("volumeMode"), corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
}

func reclaims() []corev1.PersistentVolumeReclaimPolicy {
	return []corev1.PersistentVolumeReclaimPolicy{corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain}
}

func nodeSelector(s *corev1.NodeSelector, p *field.Path) field.ErrorList {
	at := p.Child("nodeSelectorTerms")
	if len(s.NodeSelectorTerms) == 0 {
		return field.ErrorList{field.Required(at, "must have at least one node selector term")}
	}
	var errs field.ErrorList
	for i := range s.NodeSelectorTerms {
		errs = append(errs, nodeTerm(&s.NodeSelectorTerms[i], at.Index(i))...)
	}
	return errs
}

// persistentSource wants a volume to be one thing. Of what no node here mounts only the number is looked at.
func persistentSource(s *corev1.PersistentVolumeSpec, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	v := reflect.ValueOf(s.PersistentVolumeSource)
	found := 0
	for i := range v.NumField() {
		if v.Field(i).IsNil() {
			continue
		}
		if found++; found > 1 {
			name, _, _ := jsonName(v.Type().Field(i))
			errs = append(errs, field.Forbidden(p.Child(name), "may not specify more than 1 volume type"))
		}
	}
	if found == 0 {
		errs = append(errs, field.Required(p, "must specify a volume type"))
	}
	if h := s.HostPath; h != nil {
		errs = append(errs, hostPath(h, p.Child("hostPath"))...)
		if path.Clean(h.Path) == "/" && s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
			errs = append(errs, field.Forbidden(p.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'"))
		}
	}
	if l := s.Local; l != nil {
		errs = append(errs, required(l.Path, p.Child("local", "path"))...)
		errs = append(errs, noBackSteps(l.Path, p.Child("local", "path"))...)
		if s.NodeAffinity == nil {
			errs = append(errs, field.Required(p.Child("nodeAffinity"), "Local volume requires node affinity"))
		}
	}
	if n := s.NFS; n != nil {
		errs = append(errs, required(n.Server, p.Child("nfs", "server"))...)
		errs = append(errs, required(n.Path, p.Child("nfs", "path"))...)
		if !path.IsAbs(n.Path) {
			errs = append(errs, field.Invalid(p.Child("nfs", "path"), n.Path, "must be an absolute path"))
		}
	}
	if c := s.CSI; c != nil {
		errs = append(errs, required(c.Driver, p.Child("csi", "driver"))...)
		if c.Driver != "" {
			errs = append(errs, invalid(p.Child("csi", "driver"), c.Driver, valid.IsDNS1123Subdomain(strings.ToLower(c.Driver)))...)
		}
		errs = append(errs, required(c.VolumeHandle, p.Child("csi", "volumeHandle"))...)
	}
	return errs
}

// PersistentVolumeUpdate keeps what the volume is.
func PersistentVolumeUpdate(new, old *corev1.PersistentVolume) field.ErrorList {
	errs := append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), PersistentVolume(new)...)
	if !same(new.Spec.PersistentVolumeSource, old.Spec.PersistentVolumeSource) {
		errs = append(errs, field.Forbidden(root("spec").Child("persistentvolumesource"), "spec.persistentvolumesource is immutable after creation"))
	}
	errs = append(errs, immutable(new.Spec.VolumeMode, old.Spec.VolumeMode, root("volumeMode"))...)
	if old.Spec.NodeAffinity != nil {
		errs = append(errs, immutable(new.Spec.NodeAffinity, old.Spec.NodeAffinity, root("nodeAffinity"))...)
	}
	return errs
}

// PersistentVolumeStatusUpdate validates the metadata.
func PersistentVolumeStatusUpdate(new, old *corev1.PersistentVolume) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}

const (
	parametersAtMost     = 512
	parametersSizeAtMost = 256 * 1024
)

// StorageClass validates a new class.
func StorageClass(c *storagev1.StorageClass) field.ErrorList {
	errs := clusterMetadata(&c.ObjectMeta, validation.NameIsDNSSubdomain)
	errs = append(errs, required(c.Provisioner, root("provisioner"))...)
	if c.Provisioner != "" {
		errs = append(errs, metavalidation.ValidateLabelName(strings.ToLower(c.Provisioner), root("provisioner"))...)
	}
	size := 0
	for k, v := range c.Parameters {
		if k == "" {
			errs = append(errs, field.Invalid(root("parameters"), k, "field can not be empty."))
		}
		size += len(k) + len(v)
	}
	if len(c.Parameters) > parametersAtMost {
		errs = append(errs, field.TooLong(root("parameters"), "", parametersAtMost))
	} else if size > parametersSizeAtMost {
		errs = append(errs, field.TooLong(root("parameters"), "", parametersSizeAtMost))
	}
	errs = append(errs, maybe(c.ReclaimPolicy, root("reclaimPolicy"), corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)...)
	if c.VolumeBindingMode == nil {
		errs = append(errs, field.Required(root("volumeBindingMode"), ""))
	}
	errs = append(errs, maybe(c.VolumeBindingMode, root("volumeBindingMode"), storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)...)
	for i, t := range c.AllowedTopologies {
		for j, e := range t.MatchLabelExpressions {
			at := root("allowedTopologies").Index(i).Child("matchLabelExpressions").Index(j)
			errs = append(errs, labelKey(e.Key, at.Child("key"))...)
			if slices.ContainsFunc(t.MatchLabelExpressions[:j], func(o corev1.TopologySelectorLabelRequirement) bool { return o.Key == e.Key }) {
				errs = append(errs, field.Duplicate(at.Child("key"), e.Key))
			}
			if len(e.Values) == 0 {
				errs = append(errs, field.Required(at.Child("values"), ""))
			}
			for n, v := range e.Values {
				if slices.Contains(e.Values[:n], v) {
					errs = append(errs, field.Duplicate(at.Child("values").Index(n), v))
				}
			}
		}
	}
	return errs
}

// StorageClassUpdate keeps how volumes are made.
func StorageClassUpdate(new, old *storagev1.StorageClass) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, immutable(new.Parameters, old.Parameters, root("parameters"))...)
	errs = append(errs, immutable(new.Provisioner, old.Provisioner, root("provisioner"))...)
	errs = append(errs, immutable(new.ReclaimPolicy, old.ReclaimPolicy, root("reclaimPolicy"))...)
	return append(errs, immutable(new.VolumeBindingMode, old.VolumeBindingMode, root("volumeBindingMode"))...)
}
