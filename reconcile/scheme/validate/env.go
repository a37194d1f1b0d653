package validate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func env(all []corev1.EnvVar, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, e := range all {
		p := path.Index(i)
		if e.Name == "" {
			errs = append(errs, field.Required(p.Child("name"), ""))
		} else {
			errs = append(errs, invalid(p.Child("name"), e.Name, valid.IsRelaxedEnvVarName(e.Name))...)
		}
		if e.ValueFrom != nil {
			errs = append(errs, envSource(&e, p.Child("valueFrom"))...)
		}
	}
	return errs
}

func envSource(e *corev1.EnvVar, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	sources := 0
	if r := e.ValueFrom.FieldRef; r != nil {
		sources++
		errs = append(errs, fieldRef(r, path.Child("fieldRef"), envFields())...)
	}
	if r := e.ValueFrom.ResourceFieldRef; r != nil {
		sources++
		errs = append(errs, resourceFieldRef(r, path.Child("resourceFieldRef"), false)...)
	}
	if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
		sources++
		errs = append(errs, keyRef(r.Name, r.Key, path.Child("configMapKeyRef"))...)
	}
	if r := e.ValueFrom.SecretKeyRef; r != nil {
		sources++
		errs = append(errs, keyRef(r.Name, r.Key, path.Child("secretKeyRef"))...)
	}
	if r := e.ValueFrom.FileKeyRef; r != nil {
		sources++
		errs = append(errs, fileRef(r, path.Child("fileKeyRef"))...)
	}
	switch {
	case sources == 0:
		errs = append(errs, field.Invalid(path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
	case e.Value != "":
		errs = append(errs, field.Invalid(path, "", "may not be specified when `value` is not empty"))
	case sources > 1:
		errs = append(errs, field.Invalid(path, "", "may not have more than one field specified at a time"))
	}
	return errs
}

// keyRef names a key of a ConfigMap or Secret.
func keyRef(name, key string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	if key == "" {
		return append(errs, field.Required(path.Child("key"), ""))
	}
	return append(errs, invalid(path.Child("key"), key, valid.IsConfigMapKey(key))...)
}

func fileRef(r *corev1.FileKeySelector, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if r.Key == "" {
		errs = append(errs, field.Required(path.Child("key"), ""))
	} else {
		errs = append(errs, invalid(path.Child("key"), r.Key, valid.IsEnvVarName(r.Key))...)
	}
	if r.VolumeName == "" {
		errs = append(errs, field.Required(path.Child("volumeName"), ""))
	}
	if r.Path == "" {
		return append(errs, field.Required(path.Child("path"), ""))
	}
	return append(errs, relativePath(r.Path, path.Child("path"))...)
}

// envFields are the fields of a pod that a variable can have, volumeFields those that a file can have.
func envFields() []string {
	return []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
}

func volumeFields() []string {
	return []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
}

func fieldRef(r *corev1.ObjectFieldSelector, path *field.Path, allowed []string) field.ErrorList {
	p := path.Child("fieldPath")
	switch {
	case r.APIVersion == "":
		return field.ErrorList{field.Required(path.Child("apiVersion"), "")}
	case r.FieldPath == "":
		return field.ErrorList{field.Required(p, "")}
	case r.APIVersion != "v1":
		return field.ErrorList{field.Invalid(p, r.FieldPath, fmt.Sprintf("error converting fieldPath: field label not supported: %s", r.FieldPath))}
	}
	if name, key, ok := subscript(r.FieldPath); ok {
		switch name {
		case "metadata.annotations":
			return invalid(p, key, valid.IsQualifiedName(strings.ToLower(key)))
		case "metadata.labels":
			return invalid(p, key, valid.IsQualifiedName(key))
		}
		return field.ErrorList{field.Invalid(p, name, "does not support subscript")}
	}
	if !slices.Contains(allowed, r.FieldPath) {
		if !slices.Contains(slices.Concat(envFields(), volumeFields()), r.FieldPath) {
			return field.ErrorList{field.Invalid(p, r.FieldPath, fmt.Sprintf("error converting fieldPath: field label not supported: %s", r.FieldPath))}
		}
		return field.ErrorList{field.NotSupported(p, r.FieldPath, allowed)}
	}
	return nil
}

// subscript reads metadata.labels['key'].
func subscript(path string) (name, key string, ok bool) {
	rest, ok := strings.CutSuffix(path, "']")
	if !ok {
		return path, "", false
	}
	name, key, ok = strings.Cut(rest, "['")
	return name, key, ok && name != ""
}

// resourceFieldRef names a limit or request. A file has to say of which container.
func resourceFieldRef(r *corev1.ResourceFieldSelector, path *field.Path, file bool) field.ErrorList {
	var errs field.ErrorList
	if file && r.ContainerName == "" {
		errs = append(errs, field.Required(path.Child("containerName"), ""))
	}
	if r.Resource == "" {
		return append(errs, field.Required(path.Child("resource"), ""))
	}
	kind, name, _ := strings.Cut(r.Resource, ".")
	known := []string{"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"}
	if !slices.Contains(known, r.Resource) && (!strings.HasPrefix(name, corev1.ResourceHugePagesPrefix) || kind != "limits" && kind != "requests") {
		return append(errs, field.NotSupported(path.Child("resource"), r.Resource, known))
	}
	return append(errs, divisor(name, r, path.Child("divisor"))...)
}

func divisor(name string, r *corev1.ResourceFieldSelector, path *field.Path) field.ErrorList {
	if r.Divisor.IsZero() {
		return nil
	}
	allowed := []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
	message := "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the " + name + " resource"
	if name == "cpu" {
		allowed, message = []string{"1m", "1"}, "only divisor's values 1m and 1 are supported with the cpu resource"
	}
	if !slices.Contains(allowed, r.Divisor.String()) {
		return field.ErrorList{field.Invalid(path, name, message)}
	}
	return nil
}

func envFrom(all []corev1.EnvFromSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, e := range all {
		p := path.Index(i)
		if e.Prefix != "" {
			errs = append(errs, invalid(p.Child("prefix"), e.Prefix, valid.IsRelaxedEnvVarName(e.Prefix))...)
		}
		if e.ConfigMapRef != nil {
			errs = append(errs, objectName(e.ConfigMapRef.Name, p.Child("configMapRef", "name"))...)
		}
		if e.SecretRef != nil {
			errs = append(errs, objectName(e.SecretRef.Name, p.Child("secretRef", "name"))...)
		}
		switch {
		case e.ConfigMapRef == nil && e.SecretRef == nil:
			errs = append(errs, field.Invalid(p, "", "must specify one of: `configMapRef` or `secretRef`"))
		case e.ConfigMapRef != nil && e.SecretRef != nil:
			errs = append(errs, field.Invalid(p, "", "may not have more than one field specified at a time"))
		}
	}
	return errs
}

// objectName is that of a ConfigMap, a Secret and most others.
func objectName(s string, path *field.Path) field.ErrorList {
	if s == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return invalid(path, s, valid.IsDNS1123Subdomain(s))
}
