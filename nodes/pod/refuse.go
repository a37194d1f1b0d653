package pod

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// A Refusal is why a machine does not take a pod at all. Reasons are those of Kubernetes.
type Refusal struct{ Reason, Message string }

// Refuse is the refusal of p by a machine; nil: it takes it. A pod that was begun is not asked again.
func Refuse(p *corev1.Pod, place Place) *Refusal {
	if c := p.Spec.SecurityContext; c != nil {
		for _, s := range c.Sysctls {
			if why := forbidden(s.Name, &p.Spec, place.UnsafeSysctls); why != "" {
				return &Refusal{"SysctlForbidden", fmt.Sprintf("forbidden sysctl: %q %s", s.Name, why)}
			}
		}
	}
	if !place.Features.AppArmor && wantsAppArmor(&p.Spec) {
		return &Refusal{"AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host"}
	}
	if place.Features.SELinux && wantsSELinux(&p.Spec) {
		return &Refusal{"SELinux", "Cannot set SELinux labels: SELinux is enabled on the host, and labels are not supported yet"}
	}
	return nil
}

// safeSysctls are those that any pod may set: they are its own, and do no harm to others.
func safeSysctls() []string {
	return []string{
		"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.ip_unprivileged_port_start",
		"net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
		"net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
	}
}

// forbidden says why a pod may not set a sysctl; empty: it may. unsafe are names that it may beside the safe ones; one that
// ends with * stands for all that begin so.
func forbidden(name string, s *corev1.PodSpec, unsafe []string) string {
	dotted := strings.ReplaceAll(runtime.SysctlPath(name), "/", ".")
	allowed := slices.Contains(safeSysctls(), dotted) || slices.ContainsFunc(unsafe, func(pattern string) bool {
		prefix, open := strings.CutSuffix(pattern, "*")
		return open && strings.HasPrefix(dotted, prefix) || pattern == dotted
	})
	switch ns := runtime.NamespaceOf(name); {
	case ns == "net" && s.HostNetwork:
		return "not allowed with host net enabled"
	case ns == "ipc" && s.HostIPC:
		return "not allowed with host ipc enabled"
	case ns == "" || !allowed:
		return "not allowlisted"
	}
	return ""
}

// CheckUnsafeSysctls tells what is wrong with names of sysctls that pods are to be allowed.
func CheckUnsafeSysctls(patterns []string) error {
	for _, p := range patterns {
		if runtime.NamespaceOf(p) == "" {
			return fmt.Errorf("sysctl %q: pods have none of their own of that name; theirs begin with net., fs.mqueue., kernel.shm, kernel.msg, or are kernel.sem", p)
		}
	}
	return nil
}

func wantsAppArmor(s *corev1.PodSpec) bool {
	wants := func(p *corev1.AppArmorProfile) bool {
		return p != nil && p.Type != corev1.AppArmorProfileTypeUnconfined
	}
	return s.SecurityContext != nil && wants(s.SecurityContext.AppArmorProfile) ||
		anyContext(s, func(c *corev1.SecurityContext) bool { return wants(c.AppArmorProfile) })
}

// wantsSELinux says whether a pod asks for labels. Where the kernel has no SELinux they mean nothing, here as in Kubernetes.
func wantsSELinux(s *corev1.PodSpec) bool {
	return s.SecurityContext != nil && (s.SecurityContext.SELinuxOptions != nil || s.SecurityContext.SELinuxChangePolicy != nil) ||
		anyContext(s, func(c *corev1.SecurityContext) bool { return c.SELinuxOptions != nil })
}

// anyContext says whether is holds for the security context of any container.
func anyContext(s *corev1.PodSpec, is func(*corev1.SecurityContext) bool) bool {
	for _, cs := range [][]corev1.Container{s.InitContainers, s.Containers, ephemerals(s)} {
		for i := range cs {
			if c := cs[i].SecurityContext; c != nil && is(c) {
				return true
			}
		}
	}
	return false
}

// refuse is the decision about a pod that this machine does not take: it has failed before anything of it was made.
func refuse(want *corev1.Pod, seen Seen, now time.Time) (Next, bool) {
	r := seen.Refused
	if r == nil || want.DeletionTimestamp != nil || seen.Sandbox != nil {
		return Next{}, false
	}
	prev := &want.Status
	if seen.Status != nil {
		prev = seen.Status
	}
	if prev.Phase != corev1.PodPending && prev.Phase != "" || len(prev.ContainerStatuses) > 0 {
		return Next{}, false
	}
	s := want.Status
	s.ObservedGeneration = want.Generation
	s.Phase, s.Reason, s.Message = corev1.PodFailed, r.Reason, "Pod was rejected: "+r.Message
	start := when(now)
	s.StartTime = &start
	return Next{Status: s, Events: []Event{{Type: corev1.EventTypeWarning, Reason: r.Reason, Message: r.Message}}}, true
}
