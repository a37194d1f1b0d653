package pod

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubectl/pkg/util/qos"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// SandboxSpec is what the runtime is to make for p.
func SandboxSpec(p *corev1.Pod, place Place) runtime.SandboxSpec {
	return runtime.SandboxSpec{
		Pod: p.UID, Namespace: p.Namespace, Name: p.Name,
		Hostname:    Hostname(p, place.Node),
		HostNetwork: p.Spec.HostNetwork,
		QoS:         string(qos.GetPodQOS(p)),
		Resources:   podLimits(p),
		Labels:      sandboxLabels(p),
	}
}

// A Making is what is known of one run of a container when it is to be made.
type Making struct {
	Step    Step  // the Create
	Image   Image // what it is made from
	Place   Place
	Address netip.Addr // the pod's
	Mounts  []runtime.Mount
}

// ContainerSpec is what the runtime is to make for one run of a container of p. References to ConfigMaps, Secrets and
// Services are looked up in s. Errors are *runtime.ConfigError.
func ContainerSpec(p *corev1.Pod, m Making, s *store.Snapshot) (runtime.ContainerSpec, error) {
	c := ContainerNamed(p, m.Step.Container)
	if c == nil {
		return runtime.ContainerSpec{}, &runtime.ConfigError{Reason: fmt.Sprintf("container %q is not in the pod", m.Step.Container)}
	}
	env, err := environment(p, c, s, m.Place, m.Address)
	if err != nil {
		return runtime.ContainerSpec{}, err
	}
	security, err := security(p, c)
	if err != nil {
		return runtime.ContainerSpec{}, err
	}
	return runtime.ContainerSpec{
		ID:         runtime.ID{Pod: p.UID, Name: c.Name, Attempt: m.Step.Attempt},
		Image:      m.Image.Name,
		Command:    expandAll(c.Command, env),
		Args:       expandAll(c.Args, env),
		Env:        env.list(),
		WorkingDir: c.WorkingDir,
		Mounts:     m.Mounts,
		Resources:  limits(c.Resources.Requests, c.Resources.Limits),
		TargetPIDs: target(&p.Spec, c.Name),
		OOMScore:   oomScore(c, qos.GetPodQOS(p), m.Place.Capacity.Memory().Value()),
		Security:   security,
		StopSignal: stopSignal(c),
		Stdin:      c.Stdin,
		TTY:        c.TTY,
		Labels: map[string]string{
			crashesLabel: strconv.Itoa(m.Step.Crashes),
			imageLabel:   c.Image,
			MessageLabel: string(c.TerminationMessagePolicy),
		},
	}, nil
}

func expandAll(list []string, env *variables) []string {
	if len(list) == 0 {
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = Expand(s, env.get)
	}
	return out
}

// SubPath is the path inside its volume that a container mounts: what subPath says, or subPathExpr with the container's
// variables in it. Errors are *runtime.ConfigError.
func SubPath(p *corev1.Pod, c *corev1.Container, m *corev1.VolumeMount, s *store.Snapshot, place Place, address netip.Addr) (string, error) {
	if m.SubPathExpr == "" {
		return m.SubPath, nil
	}
	env, err := environment(p, c, s, place, address)
	if err != nil {
		return "", err
	}
	missing := ""
	path := Expand(m.SubPathExpr, func(name string) (string, bool) {
		v, ok := env.get(name)
		if !ok {
			missing = name
		}
		return v, ok
	})
	if missing != "" {
		return "", &runtime.ConfigError{Reason: fmt.Sprintf("subPathExpr %q: variable %s is not set", m.SubPathExpr, missing)}
	}
	return path, nil
}

// security is what the container may do: what it says itself, else what the pod says.
func security(p *corev1.Pod, c *corev1.Container) (runtime.Security, error) {
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
	}
	if all.FSGroup != nil && !slices.Contains(s.Groups, *all.FSGroup) {
		s.Groups = append(s.Groups, *all.FSGroup)
	}
	if own.Capabilities != nil {
		s.AddCaps, s.DropCaps = names(own.Capabilities.Add), names(own.Capabilities.Drop)
	}
	profile := first(own.SeccompProfile, all.SeccompProfile)
	s.Unconfined = s.Privileged || profile != nil && profile.Type == corev1.SeccompProfileTypeUnconfined
	if s.RunAsNonRoot && s.UID != nil && *s.UID == 0 {
		return s, &runtime.ConfigError{Reason: fmt.Sprintf("container %q: runAsNonRoot is true and runAsUser is 0", c.Name)}
	}
	return s, nil
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
