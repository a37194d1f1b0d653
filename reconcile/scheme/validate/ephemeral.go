package validate

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// PodEphemeralUpdate allows a pod that exists nothing but more ephemeral containers.
func (v Rules) PodEphemeralUpdate(new, old *corev1.Pod) field.ErrorList {
	spec := root("spec")
	path := spec.Child("ephemeralContainers")
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	if _, mirror := new.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		errs = append(errs, field.Forbidden(root(""), "static pods do not support ephemeral containers"))
	}
	have := map[string]*corev1.EphemeralContainer{}
	for i := range new.Spec.EphemeralContainers {
		have[new.Spec.EphemeralContainers[i].Name] = &new.Spec.EphemeralContainers[i]
	}
	for i := range old.Spec.EphemeralContainers {
		c := &old.Spec.EphemeralContainers[i]
		switch n := have[c.Name]; {
		case n == nil:
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be removed", c.Name)))
		case !same(*n, *c):
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be changed", c.Name)))
		}
	}
	volumes, _ := volumes(new.Spec.Volumes, spec.Child("volumes"))
	names := map[string]bool{}
	for _, cs := range [][]corev1.Container{new.Spec.InitContainers, new.Spec.Containers} {
		for i := range cs {
			names[cs[i].Name] = true
		}
	}
	errs = append(errs, ephemeralContainers(&new.Spec, names, volumes, path)...)
	return append(errs, v.unsupported(&new.Spec, spec)...)
}

// ephemeralContainers validates those that were added while the pod ran. Names are those of the others.
func ephemeralContainers(s *corev1.PodSpec, names, volumes map[string]bool, path *field.Path) field.ErrorList {
	others := map[string]bool{}
	for name := range names {
		others[name] = true
	}
	var errs field.ErrorList
	for i := range s.EphemeralContainers {
		e, p := &s.EphemeralContainers[i], path.Index(i)
		c := corev1.Container(e.EphemeralContainerCommon)
		errs = append(errs, containerName(c.Name, names, p)...)
		errs = append(errs, container(s, &c, volumes, p)...)
		errs = append(errs, notEphemeral(&c, p)...)
		if e.TargetContainerName != "" && !others[e.TargetContainerName] {
			errs = append(errs, field.NotFound(p.Child("targetContainerName"), e.TargetContainerName))
		}
	}
	return errs
}

// notEphemeral refuses what a container that is only there for a while cannot have.
func notEphemeral(c *corev1.Container, path *field.Path) field.ErrorList {
	const message = "cannot be set for an Ephemeral Container"
	var errs field.ErrorList
	for _, f := range []struct {
		field string
		set   bool
	}{
		{"ports", len(c.Ports) > 0}, {"lifecycle", c.Lifecycle != nil}, {"livenessProbe", c.LivenessProbe != nil},
		{"readinessProbe", c.ReadinessProbe != nil}, {"startupProbe", c.StartupProbe != nil}, {"resizePolicy", len(c.ResizePolicy) > 0},
		{"resources", !same(c.Resources, corev1.ResourceRequirements{})}, {"restartPolicy", c.RestartPolicy != nil},
		{"restartPolicyRules", len(c.RestartPolicyRules) > 0},
	} {
		if f.set {
			errs = append(errs, field.Forbidden(path.Child(f.field), message))
		}
	}
	for i, m := range c.VolumeMounts {
		at := path.Child("volumeMounts").Index(i)
		if m.SubPath != "" {
			errs = append(errs, field.Forbidden(at.Child("subPath"), message))
		}
		if m.SubPathExpr != "" {
			errs = append(errs, field.Forbidden(at.Child("subPathExpr"), message))
		}
	}
	return errs
}
