package validate

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// volumes validates the volumes of a pod, and returns the names that its containers may mount.
func volumes(all []corev1.Volume, at *field.Path) (map[string]bool, field.ErrorList) {
	var errs field.ErrorList
	names := map[string]bool{}
	for i := range all {
		v, p := &all[i], at.Index(i)
		switch {
		case v.Name == "":
			errs = append(errs, field.Required(p.Child("name"), ""))
		case names[v.Name]:
			errs = append(errs, field.Duplicate(p.Child("name"), v.Name))
		default:
			errs = append(errs, invalid(p.Child("name"), v.Name, valid.IsDNS1123Label(v.Name))...)
		}
		names[v.Name] = true
		errs = append(errs, volumeSource(&v.VolumeSource, p)...)
	}
	delete(names, "")
	return names, errs
}

// A source is one of the things that a volume can be.
type source struct {
	field string
	set   bool
	check func(*field.Path) field.ErrorList
}

// volumeSource wants v to be one thing, as it should be.
func volumeSource(v *corev1.VolumeSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	found := 0
	for _, s := range slices.Concat(ownSources(v), remoteSources(v)) {
		if !s.set {
			continue
		}
		if found++; found > 1 {
			errs = append(errs, field.Forbidden(at.Child(s.field), "may not specify more than 1 volume type"))
			continue
		}
		errs = append(errs, s.check(at.Child(s.field))...)
	}
	if found == 0 {
		errs = append(errs, field.Required(at, "must specify a volume type"))
	}
	return errs
}

// ownSources are what a node makes by itself.
func ownSources(v *corev1.VolumeSource) []source {
	return []source{
		{"emptyDir", v.EmptyDir != nil, func(p *field.Path) field.ErrorList { return emptyDir(v.EmptyDir, p) }},
		{"hostPath", v.HostPath != nil, func(p *field.Path) field.ErrorList { return hostPath(v.HostPath, p) }},
		{"secret", v.Secret != nil, func(p *field.Path) field.ErrorList {
			return append(required(v.Secret.SecretName, p.Child("secretName")), keyFiles(v.Secret.DefaultMode, v.Secret.Items, p)...)
		}},
		{"configMap", v.ConfigMap != nil, func(p *field.Path) field.ErrorList {
			return append(required(v.ConfigMap.Name, p.Child("name")), keyFiles(v.ConfigMap.DefaultMode, v.ConfigMap.Items, p)...)
		}},
		{"downwardAPI", v.DownwardAPI != nil, func(p *field.Path) field.ErrorList {
			return append(mode(v.DownwardAPI.DefaultMode, p.Child("defaultMode")), downward(v.DownwardAPI.Items, p.Child("items"))...)
		}},
		{"projected", v.Projected != nil, func(p *field.Path) field.ErrorList { return projected(v.Projected, p) }},
		{"persistentVolumeClaim", v.PersistentVolumeClaim != nil, func(p *field.Path) field.ErrorList {
			return required(v.PersistentVolumeClaim.ClaimName, p.Child("claimName"))
		}},
		{"ephemeral", v.Ephemeral != nil, func(p *field.Path) field.ErrorList {
			if v.Ephemeral.VolumeClaimTemplate == nil {
				return field.ErrorList{field.Required(p.Child("volumeClaimTemplate"), "")}
			}
			return claimSpec(&v.Ephemeral.VolumeClaimTemplate.Spec, p.Child("volumeClaimTemplate", "spec"))
		}},
		{"image", v.Image != nil, func(p *field.Path) field.ErrorList {
			return append(required(v.Image.Reference, p.Child("reference")),
				oneOf(v.Image.PullPolicy, p.Child("pullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
		}},
	}
}

// required refuses an empty text.
func required(s string, p *field.Path) field.ErrorList {
	if s == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	return nil
}

func emptyDir(e *corev1.EmptyDirVolumeSource, p *field.Path) field.ErrorList {
	if e.SizeLimit != nil && e.SizeLimit.Cmp(resource.Quantity{}) < 0 {
		return field.ErrorList{field.Forbidden(p.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity")}
	}
	return nil
}

func hostPath(h *corev1.HostPathVolumeSource, p *field.Path) field.ErrorList {
	errs := required(h.Path, p.Child("path"))
	if h.Path != "" {
		errs = append(errs, noBackSteps(h.Path, p.Child("path"))...)
	}
	return append(errs, maybe(h.Type, p.Child("type"), corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory, corev1.HostPathFileOrCreate,
		corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev)...)
}

// noBackSteps refuses "..".
func noBackSteps(s string, p *field.Path) field.ErrorList {
	if slices.Contains(strings.Split(s, "/"), "..") {
		return field.ErrorList{field.Invalid(p, s, "must not contain '..'")}
	}
	return nil
}

// relativePath refuses a path that leads out of the folder that it begins in.
func relativePath(s string, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	if path.IsAbs(s) {
		errs = append(errs, field.Invalid(p, s, "must be a relative path"))
	}
	return append(errs, noBackSteps(s, p)...)
}

// filePath is that of a file in a volume of files.
func filePath(s string, p *field.Path) field.ErrorList {
	errs := relativePath(s, p)
	if strings.HasPrefix(s, "..") && len(errs) == 0 {
		errs = append(errs, field.Invalid(p, s, "must not start with '..'"))
	}
	return errs
}

func mode(m *int32, p *field.Path) field.ErrorList {
	if m != nil && (*m < 0 || *m > 0o777) {
		return field.ErrorList{field.Invalid(p, *m, "must be a number between 0 and 0777 (octal), both inclusive")}
	}
	return nil
}

func keyFiles(defaultMode *int32, items []corev1.KeyToPath, p *field.Path) field.ErrorList {
	errs := mode(defaultMode, p.Child("defaultMode"))
	for i, item := range items {
		p := p.Child("items").Index(i)
		errs = append(errs, required(item.Key, p.Child("key"))...)
		errs = append(errs, required(item.Path, p.Child("path"))...)
		errs = append(errs, filePath(item.Path, p.Child("path"))...)
		errs = append(errs, mode(item.Mode, p.Child("mode"))...)
	}
	return errs
}

func downward(items []corev1.DownwardAPIVolumeFile, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, f := range items {
		p := p.Index(i)
		errs = append(errs, required(f.Path, p.Child("path"))...)
		errs = append(errs, filePath(f.Path, p.Child("path"))...)
		errs = append(errs, mode(f.Mode, p.Child("mode"))...)
		switch {
		case f.FieldRef != nil:
			errs = append(errs, fieldRef(f.FieldRef, p.Child("fieldRef"), volumeFields())...)
			if f.ResourceFieldRef != nil {
				errs = append(errs, field.Invalid(p, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
			}
		case f.ResourceFieldRef != nil:
			errs = append(errs, resourceFieldRef(f.ResourceFieldRef, p.Child("resourceFieldRef"), true)...)
		default:
			errs = append(errs, field.Required(p, "one of fieldRef and resourceFieldRef is required"))
		}
	}
	return errs
}

const tokenSecondsAtLeast = 10 * 60

func projected(v *corev1.ProjectedVolumeSource, p *field.Path) field.ErrorList {
	errs := mode(v.DefaultMode, p.Child("defaultMode"))
	paths := map[string]bool{}
	once := func(path string, p *field.Path) {
		if path != "" && paths[path] {
			errs = append(errs, field.Invalid(p, path, "conflicting duplicate paths"))
		}
		paths[path] = true
	}
	for i, s := range v.Sources {
		p := p.Child("sources").Index(i)
		sources := 0
		if s.Secret != nil {
			sources++
			errs = append(errs, required(s.Secret.Name, p.Child("secret", "name"))...)
			errs = append(errs, keyFiles(nil, s.Secret.Items, p.Child("secret"))...)
			for j, f := range s.Secret.Items {
				once(f.Path, p.Child("secret", "items").Index(j).Child("path"))
			}
		}
		if s.ConfigMap != nil {
			sources++
			errs = append(errs, required(s.ConfigMap.Name, p.Child("configMap", "name"))...)
			errs = append(errs, keyFiles(nil, s.ConfigMap.Items, p.Child("configMap"))...)
			for j, f := range s.ConfigMap.Items {
				once(f.Path, p.Child("configMap", "items").Index(j).Child("path"))
			}
		}
		if s.DownwardAPI != nil {
			sources++
			errs = append(errs, downward(s.DownwardAPI.Items, p.Child("downwardAPI", "items"))...)
			for j, f := range s.DownwardAPI.Items {
				once(f.Path, p.Child("downwardAPI", "items").Index(j).Child("path"))
			}
		}
		if s.ServiceAccountToken != nil {
			sources++
			errs = append(errs, token(s.ServiceAccountToken, p.Child("serviceAccountToken"))...)
			once(s.ServiceAccountToken.Path, p.Child("serviceAccountToken", "path"))
		}
		if s.ClusterTrustBundle != nil || s.PodCertificate != nil {
			sources++
		}
		if sources > 1 {
			errs = append(errs, field.Forbidden(p, "may not specify more than 1 volume type per source"))
		}
	}
	return errs
}

func token(t *corev1.ServiceAccountTokenProjection, p *field.Path) field.ErrorList {
	errs := required(t.Path, p.Child("path"))
	errs = append(errs, filePath(t.Path, p.Child("path"))...)
	if s := t.ExpirationSeconds; s != nil && *s < tokenSecondsAtLeast {
		errs = append(errs, field.Invalid(p.Child("expirationSeconds"), *s, "may not specify a duration less than 10 minutes"))
	}
	return errs
}

// mounts validates where a container sees the volumes.
func mounts(s *corev1.PodSpec, c *corev1.Container, volumes map[string]bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	paths := map[string]bool{}
	for i, m := range c.VolumeMounts {
		p := at.Child("volumeMounts").Index(i)
		switch {
		case m.Name == "":
			errs = append(errs, field.Required(p.Child("name"), ""))
		case !volumes[m.Name]:
			errs = append(errs, field.NotFound(p.Child("name"), m.Name))
		}
		if m.MountPath == "" {
			errs = append(errs, field.Required(p.Child("mountPath"), ""))
		}
		if paths[m.MountPath] {
			errs = append(errs, field.Invalid(p.Child("mountPath"), m.MountPath, "must be unique"))
		}
		paths[m.MountPath] = true
		errs = append(errs, subPath(&m, p)...)
		errs = append(errs, propagation(c, &m, p)...)
	}
	return append(errs, devices(s, c, volumes, paths, at.Child("volumeDevices"))...)
}

func subPath(m *corev1.VolumeMount, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	if m.SubPath != "" {
		errs = append(errs, relativePath(m.SubPath, p.Child("subPath"))...)
	}
	if m.SubPathExpr == "" {
		return errs
	}
	if m.SubPath != "" {
		errs = append(errs, field.Invalid(p.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
	}
	return append(errs, relativePath(m.SubPathExpr, p.Child("subPathExpr"))...)
}

func propagation(c *corev1.Container, m *corev1.VolumeMount, p *field.Path) field.ErrorList {
	errs := maybe(m.MountPropagation, p.Child("mountPropagation"),
		corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)
	if m.MountPropagation != nil {
		privileged := c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
		if *m.MountPropagation == corev1.MountPropagationBidirectional && !privileged {
			errs = append(errs, field.Forbidden(p.Child("mountPropagation"), "Bidirectional mount propagation is available only to privileged containers"))
		}
	}
	errs = append(errs, maybe(m.RecursiveReadOnly, p.Child("recursiveReadOnly"),
		corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyIfPossible, corev1.RecursiveReadOnlyEnabled)...)
	if r := m.RecursiveReadOnly; r != nil {
		if *r != corev1.RecursiveReadOnlyDisabled && !m.ReadOnly {
			errs = append(errs, field.Forbidden(p.Child("recursiveReadOnly"), "may only be specified when readOnly is true"))
		}
	}
	return errs
}

func devices(s *corev1.PodSpec, c *corev1.Container, volumes, mounted map[string]bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	claims := map[string]bool{}
	for _, v := range s.Volumes {
		claims[v.Name] = v.PersistentVolumeClaim != nil || v.Ephemeral != nil
	}
	for i, d := range c.VolumeDevices {
		p := at.Index(i)
		switch {
		case d.Name == "":
			errs = append(errs, field.Required(p.Child("name"), ""))
		case !volumes[d.Name]:
			errs = append(errs, field.NotFound(p.Child("name"), d.Name))
		case !claims[d.Name]:
			errs = append(errs, field.Invalid(p.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"))
		}
		errs = append(errs, required(d.DevicePath, p.Child("devicePath"))...)
		if mounted[d.DevicePath] {
			errs = append(errs, field.Invalid(p.Child("devicePath"), d.DevicePath, "must not already exist as a path in volumeMounts"))
		}
	}
	return errs
}
