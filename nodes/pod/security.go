package pod

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// security is what the container may do: what it says itself, else what the pod says.
func security(p *corev1.Pod, c *corev1.Container, f runtime.Features) (runtime.Security, error) {
	var all corev1.PodSecurityContext
	if p.Spec.SecurityContext != nil {
		all = *p.Spec.SecurityContext
	}
	own := corev1.SecurityContext{}
	if c.SecurityContext != nil {
		own = *c.SecurityContext
	}
	s := runtime.Security{
		UID: first(own.RunAsUser, all.RunAsUser), GID: first(own.RunAsGroup, all.RunAsGroup),
		Groups:       slices.Clone(all.SupplementalGroups),
		Privileged:   yes(own.Privileged),
		ReadOnlyRoot: yes(own.ReadOnlyRootFilesystem),
		NoNewPrivs:   own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation,
		RunAsNonRoot: yes(first(own.RunAsNonRoot, all.RunAsNonRoot)),
		StrictGroups: all.SupplementalGroupsPolicy != nil && *all.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict,
		UnmaskedProc: own.ProcMount != nil && *own.ProcMount == corev1.UnmaskedProcMount,
	}
	if all.FSGroup != nil && !slices.Contains(s.Groups, *all.FSGroup) {
		s.Groups = append(s.Groups, *all.FSGroup)
	}
	if own.Capabilities != nil {
		s.AddCaps, s.DropCaps = names(own.Capabilities.Add), names(own.Capabilities.Drop)
	}
	s.Unconfined, s.Seccomp = seccomp(first(own.SeccompProfile, all.SeccompProfile), s.Privileged)
	s.AppArmor = appArmor(first(own.AppArmorProfile, all.AppArmorProfile), s.Privileged, f)
	if s.RunAsNonRoot && s.UID != nil && *s.UID == 0 {
		return s, &runtime.ConfigError{Reason: fmt.Sprintf("container %q: runAsNonRoot is true and runAsUser is 0", c.Name)}
	}
	return s, nil
}

// seccomp is whether a container has no profile, or else the file of its own.
func seccomp(p *corev1.SeccompProfile, privileged bool) (unconfined bool, file string) {
	switch {
	case privileged || p != nil && p.Type == corev1.SeccompProfileTypeUnconfined:
		return true, ""
	case p != nil && p.Type == corev1.SeccompProfileTypeLocalhost && p.LocalhostProfile != nil:
		return false, *p.LocalhostProfile
	}
	return false, ""
}

// appArmor is the profile of a container: the usual one unless it says otherwise, where the machine has AppArmor.
func appArmor(p *corev1.AppArmorProfile, privileged bool, f runtime.Features) string {
	switch {
	case !f.AppArmor || privileged && p == nil:
		return ""
	case p == nil || p.Type == corev1.AppArmorProfileTypeRuntimeDefault:
		return runtime.AppArmorDefault
	case p.Type == corev1.AppArmorProfileTypeLocalhost && p.LocalhostProfile != nil:
		return *p.LocalhostProfile
	}
	return ""
}

func first[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func names(caps []corev1.Capability) []string {
	var s []string
	for _, c := range caps {
		s = append(s, string(c))
	}
	return s
}
