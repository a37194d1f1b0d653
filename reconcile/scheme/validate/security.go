package validate

import (
	"path"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	sysctlSegment = `[a-z0-9]([-_a-z0-9]*[a-z0-9])?`
	sysctlPattern = `^(` + sysctlSegment + `[\./])*` + sysctlSegment + `$`
	sysctlLength  = 253
	profileLength = 4096
)

func isSysctl(name string) bool {
	return len(name) <= sysctlLength && regexp.MustCompile(sysctlPattern).MatchString(name)
}

// security validates how a container is confined.
func security(c *corev1.SecurityContext, at *field.Path) field.ErrorList {
	if c == nil {
		return nil
	}
	errs := userID(c.RunAsUser, at.Child("runAsUser"))
	errs = append(errs, groupID(c.RunAsGroup, at.Child("runAsGroup"))...)
	errs = append(errs, maybe(c.ProcMount, at.Child("procMount"), corev1.DefaultProcMount, corev1.UnmaskedProcMount)...)
	if c.AllowPrivilegeEscalation != nil && !*c.AllowPrivilegeEscalation {
		if c.Privileged != nil && *c.Privileged {
			errs = append(errs, field.Invalid(at, c, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
		}
		if c.Capabilities != nil {
			for _, added := range c.Capabilities.Add {
				if added == "CAP_SYS_ADMIN" {
					errs = append(errs, field.Invalid(at, c, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
				}
			}
		}
	}
	errs = append(errs, seccomp(c.SeccompProfile, at.Child("seccompProfile"))...)
	return append(errs, appArmor(c.AppArmorProfile, at.Child("appArmorProfile"))...)
}

func seccomp(p *corev1.SeccompProfile, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	if p.Type == "" {
		return field.ErrorList{field.Required(at.Child("type"), "type is required when seccompProfile is set")}
	}
	errs := oneOf(p.Type, at.Child("type"), corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)
	local := at.Child("localhostProfile")
	switch {
	case p.Type != corev1.SeccompProfileTypeLocalhost && p.LocalhostProfile != nil:
		errs = append(errs, field.Invalid(local, p, "can only be set when seccomp type is Localhost"))
	case p.Type == corev1.SeccompProfileTypeLocalhost && p.LocalhostProfile == nil:
		errs = append(errs, field.Required(local, "must be set when seccomp type is Localhost"))
	case p.LocalhostProfile != nil && path.IsAbs(*p.LocalhostProfile):
		errs = append(errs, field.Invalid(local, *p.LocalhostProfile, "must be a relative path"))
	case p.LocalhostProfile != nil:
		errs = append(errs, noBackSteps(*p.LocalhostProfile, local)...)
	}
	return errs
}

func appArmor(p *corev1.AppArmorProfile, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	if p.Type == "" {
		return field.ErrorList{field.Required(at.Child("type"), "type is required when appArmorProfile is set")}
	}
	errs := oneOf(p.Type, at.Child("type"), corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)
	local := at.Child("localhostProfile")
	switch {
	case p.Type != corev1.AppArmorProfileTypeLocalhost && p.LocalhostProfile != nil:
		errs = append(errs, field.Invalid(local, *p.LocalhostProfile, "can only be set when AppArmor type is Localhost"))
	case p.Type == corev1.AppArmorProfileTypeLocalhost && p.LocalhostProfile == nil:
		errs = append(errs, field.Required(local, "must be set when AppArmor type is Localhost"))
	case p.LocalhostProfile != nil && strings.TrimSpace(*p.LocalhostProfile) != *p.LocalhostProfile:
		errs = append(errs, field.Invalid(local, *p.LocalhostProfile, "must not be padded with whitespace"))
	case p.LocalhostProfile != nil && len(*p.LocalhostProfile) > profileLength:
		errs = append(errs, field.TooLong(local, *p.LocalhostProfile, profileLength))
	}
	return errs
}
