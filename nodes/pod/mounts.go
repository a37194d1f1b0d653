package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// Propagation is that of a mount, as the runtime names it.
func Propagation(m *corev1.VolumeMount) runtime.Propagation {
	if m.MountPropagation == nil {
		return runtime.Private
	}
	switch *m.MountPropagation {
	case corev1.MountPropagationHostToContainer:
		return runtime.HostToContainer
	case corev1.MountPropagationBidirectional:
		return runtime.Bidirectional
	}
	return runtime.Private
}

// RecursiveReadOnly is whether what is mounted below a mount is to be read-only too. The error is a *runtime.ConfigError: it
// is asked for, and this machine cannot do it.
func RecursiveReadOnly(m *corev1.VolumeMount, f runtime.Features) (bool, error) {
	if m.RecursiveReadOnly == nil || !m.ReadOnly {
		return false, nil
	}
	switch *m.RecursiveReadOnly {
	case corev1.RecursiveReadOnlyIfPossible:
		return f.RecursiveReadOnly, nil
	case corev1.RecursiveReadOnlyEnabled:
		if !f.RecursiveReadOnly {
			return false, &runtime.ConfigError{Reason: fmt.Sprintf(
				"volume %q: recursiveReadOnly is Enabled, and this node cannot do it: it needs Linux 5.12; IfPossible does without", m.Name)}
		}
		return true, nil
	}
	return false, nil
}
