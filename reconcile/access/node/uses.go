package node

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// containers are all that a pod has.
func containers(p *corev1.Pod) []corev1.Container {
	all := slices.Concat(p.Spec.InitContainers, p.Spec.Containers)
	for _, c := range p.Spec.EphemeralContainers {
		all = append(all, corev1.Container(c.EphemeralContainerCommon))
	}
	return all
}

func usesSecret(p *corev1.Pod, name string) bool {
	for _, r := range p.Spec.ImagePullSecrets {
		if r.Name == name {
			return true
		}
	}
	for _, c := range containers(p) {
		for _, e := range c.EnvFrom {
			if e.SecretRef != nil && e.SecretRef.Name == name {
				return true
			}
		}
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && e.ValueFrom.SecretKeyRef.Name == name {
				return true
			}
		}
	}
	for _, v := range p.Spec.Volumes {
		if v.Secret != nil && v.Secret.SecretName == name || v.CSI != nil && v.CSI.NodePublishSecretRef != nil && v.CSI.NodePublishSecretRef.Name == name {
			return true
		}
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.Secret != nil && s.Secret.Name == name }) {
			return true
		}
	}
	return false
}

func usesConfigMap(p *corev1.Pod, name string) bool {
	for _, c := range containers(p) {
		for _, e := range c.EnvFrom {
			if e.ConfigMapRef != nil && e.ConfigMapRef.Name == name {
				return true
			}
		}
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil && e.ValueFrom.ConfigMapKeyRef.Name == name {
				return true
			}
		}
	}
	for _, v := range p.Spec.Volumes {
		if v.ConfigMap != nil && v.ConfigMap.Name == name {
			return true
		}
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.ConfigMap != nil && s.ConfigMap.Name == name }) {
			return true
		}
	}
	return false
}

// claims are the names of the claims that a pod uses.
func claims(p *corev1.Pod) []string {
	var all []string
	for _, v := range p.Spec.Volumes {
		switch {
		case v.PersistentVolumeClaim != nil:
			all = append(all, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			all = append(all, p.Name+"-"+v.Name)
		}
	}
	return all
}

func usesClaim(p *corev1.Pod, name string) bool { return slices.Contains(claims(p), name) }

// refers tells what else a pod needs of the API; "": nothing.
func refers(p *corev1.Pod) string {
	for _, c := range containers(p) {
		for _, e := range c.EnvFrom {
			if e.SecretRef != nil || e.ConfigMapRef != nil {
				return "secrets or configmaps"
			}
		}
		for _, e := range c.Env {
			if e.ValueFrom != nil && (e.ValueFrom.SecretKeyRef != nil || e.ValueFrom.ConfigMapKeyRef != nil) {
				return "secrets or configmaps"
			}
		}
	}
	for _, v := range p.Spec.Volumes {
		switch {
		case v.Secret != nil:
			return "secrets (via secret volumes)"
		case v.ConfigMap != nil:
			return "configmaps (via configmap volumes)"
		case v.PersistentVolumeClaim != nil, v.Ephemeral != nil:
			return "persistentvolumeclaims"
		case v.CSI != nil:
			return "csidrivers (via CSI volumes)"
		case v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.DownwardAPI == nil }):
			return "the API (via projected volumes)"
		}
	}
	switch {
	case p.Spec.ServiceAccountName != "":
		return "serviceaccounts"
	case len(p.Spec.ResourceClaims) > 0:
		return "resourceclaims"
	}
	return ""
}
