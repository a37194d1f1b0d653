package pod

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// FieldValue is what a fieldRef stands for. address is the pod's, if it has one already.
func FieldValue(p *corev1.Pod, path string, place Place, address netip.Addr) (string, error) {
	if name, key, ok := subscript(path); ok {
		switch name {
		case "metadata.labels":
			return p.Labels[key], nil
		case "metadata.annotations":
			return p.Annotations[key], nil
		}
	}
	switch path {
	case "metadata.name":
		return p.Name, nil
	case "metadata.namespace":
		return p.Namespace, nil
	case "metadata.uid":
		return string(p.UID), nil
	case "metadata.labels":
		return formatMap(p.Labels), nil
	case "metadata.annotations":
		return formatMap(p.Annotations), nil
	case "spec.nodeName":
		return place.Node, nil
	case "spec.serviceAccountName":
		return p.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		return text(place.Host), nil
	case "status.podIP", "status.podIPs":
		return text(address), nil
	}
	return "", fmt.Errorf("field %q cannot be referred to", path)
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// subscript splits metadata.labels['key'].
func subscript(path string) (name, key string, ok bool) {
	name, key, ok = strings.Cut(path, "['")
	key, closed := strings.CutSuffix(key, "']")
	return name, key, ok && closed
}

// formatMap writes a line for each key, in order, as the downward API shows labels.
func formatMap(m map[string]string) string {
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, fmt.Sprintf("%s=%q", k, m[k]))
	}
	return strings.Join(lines, "\n")
}

// ResourceValue is what a resourceFieldRef stands for. in is the container whose variables it is for; nil for a volume.
func ResourceValue(p *corev1.Pod, in *corev1.Container, ref *corev1.ResourceFieldSelector, place Place) (string, error) {
	c := in
	if ref.ContainerName != "" {
		c = ContainerNamed(p, ref.ContainerName)
	}
	if c == nil {
		return "", fmt.Errorf("container %q not found in the pod", ref.ContainerName)
	}
	v, ok := resourceValue(c, ref.Resource, ref.Divisor, place.Allocatable)
	if !ok {
		return "", fmt.Errorf("resource %q cannot be referred to", ref.Resource)
	}
	return fmt.Sprint(v), nil
}

// ContainerNamed is a container of p, of any kind; nil if there is none of that name.
func ContainerNamed(p *corev1.Pod, name string) *corev1.Container {
	for c := range Containers(&p.Spec) {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Containers are all of a pod: those that run before the others, the others, and those that were added while it ran.
func Containers(s *corev1.PodSpec) iter.Seq[*corev1.Container] {
	return func(yield func(*corev1.Container) bool) {
		for _, cs := range [][]corev1.Container{s.InitContainers, s.Containers, ephemerals(s)} {
			for i := range cs {
				if !yield(&cs[i]) {
					return
				}
			}
		}
	}
}

// ephemerals are the containers that were added while the pod ran, as what they have in common with others.
func ephemerals(s *corev1.PodSpec) []corev1.Container {
	if len(s.EphemeralContainers) == 0 {
		return nil
	}
	cs := make([]corev1.Container, len(s.EphemeralContainers))
	for i := range s.EphemeralContainers {
		cs[i] = corev1.Container(s.EphemeralContainers[i].EphemeralContainerCommon)
	}
	return cs
}

// target is the container whose processes an ephemeral container sees; empty if it sees its own only.
func target(s *corev1.PodSpec, container string) string {
	for i := range s.EphemeralContainers {
		if s.EphemeralContainers[i].Name == container {
			return s.EphemeralContainers[i].TargetContainerName
		}
	}
	return ""
}
