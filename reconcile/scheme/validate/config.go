package validate

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ConfigMap validates a ConfigMap.
func ConfigMap(c *corev1.ConfigMap) field.ErrorList {
	errs := metadata(&c.ObjectMeta, validation.NameIsDNSSubdomain)
	size := 0
	for key, v := range c.Data {
		p := root("data").Key(key)
		errs = append(errs, invalid(p, key, valid.IsConfigMapKey(key))...)
		if _, ok := c.BinaryData[key]; ok {
			errs = append(errs, field.Invalid(p, key, "duplicate of key present in binaryData"))
		}
		size += len(v)
	}
	for key, v := range c.BinaryData {
		errs = append(errs, invalid(root("binaryData").Key(key), key, valid.IsConfigMapKey(key))...)
		size += len(v)
	}
	return append(errs, notTooLong(size)...)
}

func notTooLong(size int) field.ErrorList {
	if size > corev1.MaxSecretSize {
		return field.ErrorList{field.TooLong(root("data"), "", corev1.MaxSecretSize)}
	}
	return nil
}

// ConfigMapUpdate keeps what is marked as immutable.
func ConfigMapUpdate(new, old *corev1.ConfigMap) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	if old.Immutable != nil && *old.Immutable {
		errs = append(errs, sealed(new.Immutable, new.Data, old.Data, "data")...)
		errs = append(errs, sealed(old.Immutable, new.BinaryData, old.BinaryData, "binaryData")...)
	}
	return append(errs, ConfigMap(new)...)
}

// sealed refuses to change data that is immutable, or to make it mutable again.
func sealed(immutable *bool, new, old any, name string) field.ErrorList {
	const message = "field is immutable when `immutable` is set"
	var errs field.ErrorList
	if immutable == nil || !*immutable {
		errs = append(errs, field.Forbidden(root("immutable"), message))
	}
	if !same(new, old) {
		errs = append(errs, field.Forbidden(root(name), message))
	}
	return errs
}

// Secret validates a Secret, and that it has what its type promises.
func Secret(s *corev1.Secret) field.ErrorList {
	errs := metadata(&s.ObjectMeta, validation.NameIsDNSSubdomain)
	data := root("data")
	size := 0
	for key, v := range s.Data {
		errs = append(errs, invalid(data.Key(key), key, valid.IsConfigMapKey(key))...)
		size += len(v)
	}
	errs = append(errs, notTooLong(size)...)
	needs := func(keys ...string) {
		for _, k := range keys {
			if _, ok := s.Data[k]; !ok {
				errs = append(errs, field.Required(data.Key(k), ""))
			}
		}
	}
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			errs = append(errs, field.Required(root("metadata").Child("annotations").Key(corev1.ServiceAccountNameKey), ""))
		}
	case corev1.SecretTypeDockercfg:
		needs(corev1.DockerConfigKey)
		errs = append(errs, isJSON(s, corev1.DockerConfigKey)...)
	case corev1.SecretTypeDockerConfigJson:
		needs(corev1.DockerConfigJsonKey)
		errs = append(errs, isJSON(s, corev1.DockerConfigJsonKey)...)
	case corev1.SecretTypeBasicAuth:
		_, user := s.Data[corev1.BasicAuthUsernameKey]
		_, password := s.Data[corev1.BasicAuthPasswordKey]
		if !user && !password {
			needs(corev1.BasicAuthUsernameKey, corev1.BasicAuthPasswordKey)
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			errs = append(errs, field.Required(data.Key(corev1.SSHAuthPrivateKey), ""))
		}
	case corev1.SecretTypeTLS:
		needs(corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	return errs
}

func isJSON(s *corev1.Secret, key string) field.ErrorList {
	text, ok := s.Data[key]
	var v map[string]any
	if err := json.Unmarshal(text, &v); ok && err != nil {
		return field.ErrorList{field.Invalid(root("data").Key(key), "<secret contents redacted>", err.Error())}
	}
	return nil
}

// SecretUpdate keeps the type, and what is marked as immutable.
func SecretUpdate(new, old *corev1.Secret) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, immutable(new.Type, old.Type, root("type"))...)
	if old.Immutable != nil && *old.Immutable {
		errs = append(errs, sealed(new.Immutable, new.Data, old.Data, "data")...)
	}
	return append(errs, Secret(new)...)
}

// ServiceAccount validates a ServiceAccount.
func ServiceAccount(s *corev1.ServiceAccount) field.ErrorList {
	return metadata(&s.ObjectMeta, validation.NameIsDNSSubdomain)
}

// ServiceAccountUpdate validates its metadata.
func ServiceAccountUpdate(new, old *corev1.ServiceAccount) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), ServiceAccount(new)...)
}
