package validate

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// containers validates the containers of all three kinds. Volumes are those that they may mount.
func containers(s *corev1.PodSpec, volumes map[string]bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(s.Containers) == 0 {
		errs = append(errs, field.Required(path.Child("containers"), ""))
	}
	names := map[string]bool{}
	ports := hostPorts{}
	for i := range s.Containers {
		p := path.Child("containers").Index(i)
		errs = append(errs, containerName(s.Containers[i].Name, names, p)...)
		errs = append(errs, container(s, &s.Containers[i], volumes, p)...)
		errs = append(errs, ports.take(s.Containers[i].Ports, p)...)
	}
	for i := range s.InitContainers {
		c, p := &s.InitContainers[i], path.Child("initContainers").Index(i)
		errs = append(errs, containerName(c.Name, names, p)...)
		errs = append(errs, container(s, c, volumes, p)...)
		if sidecar(c) {
			errs = append(errs, ports.take(c.Ports, p)...)
			continue
		}
		errs = append(errs, noHandlers(c, p)...)
		errs = append(errs, hostPorts{}.take(c.Ports, p)...)
	}
	return append(errs, ephemeralContainers(s, names, volumes, path.Child("ephemeralContainers"))...)
}

// sidecar tells whether an init container goes on beside the others.
func sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func containerName(name string, seen map[string]bool, path *field.Path) field.ErrorList {
	path = path.Child("name")
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	errs := invalid(path, name, valid.IsDNS1123Label(name))
	if seen[name] {
		errs = append(errs, field.Duplicate(path, name))
	}
	seen[name] = true
	return errs
}

func container(s *corev1.PodSpec, c *corev1.Container, volumes map[string]bool, path *field.Path) field.ErrorList {
	errs := image(c.Image, path.Child("image"))
	errs = append(errs, oneOf(c.ImagePullPolicy, path.Child("imagePullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, oneOf(c.TerminationMessagePolicy, path.Child("terminationMessagePolicy"),
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, containerPorts(s, c.Ports, path.Child("ports"))...)
	errs = append(errs, env(c.Env, path.Child("env"))...)
	errs = append(errs, envFrom(c.EnvFrom, path.Child("envFrom"))...)
	errs = append(errs, mounts(s, c, volumes, path)...)
	errs = append(errs, resources(&c.Resources, s.ResourceClaims, path.Child("resources"))...)
	errs = append(errs, handlers(c, path)...)
	errs = append(errs, restarts(c, path)...)
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil && s.OS == nil {
		errs = append(errs, field.Forbidden(path.Child("lifecycle", "stopSignal"), "may not be set unless spec.os.name is"))
	}
	return append(errs, security(c.SecurityContext, path.Child("securityContext"))...)
}

func image(name string, path *field.Path) field.ErrorList {
	switch {
	case name == "":
		return field.ErrorList{field.Required(path, "")}
	case strings.TrimSpace(name) != name:
		return field.ErrorList{field.Invalid(path, name, "must not have leading or trailing whitespace")}
	}
	return nil
}

// restarts validates a container's own restart policy, and how it is resized.
func restarts(c *corev1.Container, path *field.Path) field.ErrorList {
	errs := maybe(c.RestartPolicy, path.Child("restartPolicy"),
		corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)
	errs = append(errs, restartRules(c, path)...)
	seen := map[corev1.ResourceName]bool{}
	for i, r := range c.ResizePolicy {
		p := path.Child("resizePolicy").Index(i)
		errs = append(errs, oneOf(r.ResourceName, p.Child("resourceName"), corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, oneOf(r.RestartPolicy, p.Child("restartPolicy"), corev1.NotRequired, corev1.RestartContainer)...)
		if seen[r.ResourceName] {
			errs = append(errs, field.Duplicate(p, r.ResourceName))
		}
		seen[r.ResourceName] = true
	}
	return errs
}

const maxRestartRules, maxExitCodes = 20, 255

// restartRules validates which ends of a container have it started again whatever its policy says.
func restartRules(c *corev1.Container, path *field.Path) field.ErrorList {
	if len(c.RestartPolicyRules) == 0 {
		return nil
	}
	var errs field.ErrorList
	if c.RestartPolicy == nil {
		errs = append(errs, field.Required(path.Child("restartPolicy"), "must specify restartPolicy when restart rules are used"))
	}
	path = path.Child("restartPolicyRules")
	if len(c.RestartPolicyRules) > maxRestartRules {
		errs = append(errs, field.TooMany(path, len(c.RestartPolicyRules), maxRestartRules))
	}
	for i, r := range c.RestartPolicyRules {
		p := path.Index(i)
		errs = append(errs, oneOf(r.Action, p.Child("action"), corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)...)
		if r.ExitCodes == nil {
			errs = append(errs, field.Required(p.Child("exitCodes"), "must be specified"))
			continue
		}
		errs = append(errs, oneOf(r.ExitCodes.Operator, p.Child("exitCodes", "operator"), corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)...)
		if n := len(r.ExitCodes.Values); n > maxExitCodes {
			errs = append(errs, field.TooMany(p.Child("exitCodes", "values"), n, maxExitCodes))
		}
	}
	return errs
}

func containerPorts(s *corev1.PodSpec, ports []corev1.ContainerPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	for i, c := range ports {
		p := path.Index(i)
		if c.Name != "" {
			errs = append(errs, invalid(p.Child("name"), c.Name, valid.IsValidPortName(c.Name))...)
			if names[c.Name] {
				errs = append(errs, field.Duplicate(p.Child("name"), c.Name))
			}
			names[c.Name] = true
		}
		if c.ContainerPort == 0 {
			errs = append(errs, field.Required(p.Child("containerPort"), ""))
		} else {
			errs = append(errs, port(c.ContainerPort, p.Child("containerPort"))...)
		}
		if c.HostPort != 0 {
			errs = append(errs, port(c.HostPort, p.Child("hostPort"))...)
		}
		if s.HostNetwork && c.HostPort != 0 && c.HostPort != c.ContainerPort {
			errs = append(errs, field.Invalid(p.Child("hostPort"), c.HostPort, "must match `containerPort` when `hostNetwork` is true"))
		}
		errs = append(errs, protocol(c.Protocol, p.Child("protocol"))...)
		if c.HostIP != "" {
			errs = append(errs, valid.IsValidIPForLegacyField(p.Child("hostIP"), c.HostIP, true, nil)...)
		}
	}
	return errs
}

func port[N ~int32](n N, path *field.Path) field.ErrorList {
	return invalid(path, n, valid.IsValidPortNum(int(n)))
}

func protocol(p corev1.Protocol, path *field.Path) field.ErrorList {
	return oneOf(p, path, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
}

// hostPorts are the ports of the host that a pod takes: each only once.
type hostPorts map[string]bool

func (h hostPorts) take(ports []corev1.ContainerPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, c := range ports {
		if c.HostPort == 0 {
			continue
		}
		key := fmt.Sprintf("%s/%s/%d", c.Protocol, c.HostIP, c.HostPort)
		if h[key] {
			errs = append(errs, field.Duplicate(path.Child("ports").Index(i).Child("hostPort"), key))
		}
		h[key] = true
	}
	return errs
}
