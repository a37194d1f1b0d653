package pod

import (
	"fmt"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/kubectl/pkg/util/qos"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// SandboxSpec is what the runtime is to make for p. Its RuntimeClass is looked up in s. Errors that are p's own fault are
// *runtime.ConfigError.
func SandboxSpec(p *corev1.Pod, place Place, s *store.Snapshot) (runtime.SandboxSpec, error) {
	handler, err := classHandler(p, s)
	if err != nil {
		return runtime.SandboxSpec{}, err
	}
	name, err := SandboxHostname(p, place)
	resources := podLimits(p, place.Capacity)
	resources.Pids = place.Pids
	return runtime.SandboxSpec{
		Pod: p.UID, Namespace: p.Namespace, Name: p.Name,
		Hostname:    name,
		Handler:     handler,
		HostNetwork: p.Spec.HostNetwork,
		HostPID:     p.Spec.HostPID,
		HostIPC:     p.Spec.HostIPC,
		SharePIDs:   yes(p.Spec.ShareProcessNamespace),
		Sysctls:     sysctls(p),
		QoS:         string(qos.GetPodQOS(p)),
		Resources:   resources,
		Labels:      sandboxLabels(p),
	}, err
}

// classHandler is what runs the containers of a pod's RuntimeClass; empty if it names none.
func classHandler(p *corev1.Pod, s *store.Snapshot) (string, error) {
	if p.Spec.RuntimeClassName == nil || *p.Spec.RuntimeClassName == "" {
		return "", nil
	}
	class, ok := store.Get[*nodev1.RuntimeClass](s, "", *p.Spec.RuntimeClassName)
	if !ok {
		return "", fmt.Errorf("RuntimeClass %q not found", *p.Spec.RuntimeClassName)
	}
	return class.Handler, nil
}

func sysctls(p *corev1.Pod) map[string]string {
	if p.Spec.SecurityContext == nil || len(p.Spec.SecurityContext.Sysctls) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, s := range p.Spec.SecurityContext.Sysctls {
		out[s.Name] = s.Value
	}
	return out
}

// A Making is what is known of one run of a container when it is to be made.
type Making struct {
	Step    Step  // the Create
	Image   Image // what it is made from
	Place   Place
	Address netip.Addr // the pod's
	Mounts  []runtime.Mount
	Tell    func(Event) // is told of what is left out, and how come; nil: nobody is
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
	if m.Tell != nil {
		for _, note := range env.notes {
			m.Tell(Event{corev1.EventTypeWarning, "InvalidEnvironmentVariableNames", c.Name, note})
		}
	}
	security, err := security(p, c, m.Place.Features)
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
		OOMScore:   oomScore(p, c, m.Place.Capacity.Memory().Value()),
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
