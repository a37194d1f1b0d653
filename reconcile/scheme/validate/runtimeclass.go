package validate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// RuntimeClass validates a RuntimeClass.
func RuntimeClass(c *nodev1.RuntimeClass) field.ErrorList {
	errs := clusterMetadata(&c.ObjectMeta, validation.NameIsDNSSubdomain)
	errs = append(errs, invalid(root("handler"), c.Handler, valid.IsDNS1123Label(c.Handler))...)
	if c.Overhead != nil {
		errs = append(errs, quantities(c.Overhead.PodFixed, root("overhead"), containerResource)...)
	}
	if s := c.Scheduling; s != nil {
		path := root("scheduling")
		errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, path.Child("nodeSelector"))...)
		errs = append(errs, tolerations(s.Tolerations, path.Child("tolerations"))...)
		for i, t := range s.Tolerations {
			if slices.ContainsFunc(s.Tolerations[:i], func(o corev1.Toleration) bool { return same(o, t) }) {
				errs = append(errs, field.Duplicate(path.Child("tolerations").Index(i), t))
			}
		}
	}
	return errs
}

// RuntimeClassUpdate keeps the handler.
func RuntimeClassUpdate(new, old *nodev1.RuntimeClass) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, immutable(new.Handler, old.Handler, root("handler"))...)
	return append(errs, RuntimeClass(new)...)
}
