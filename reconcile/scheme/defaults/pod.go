package defaults

import (
	"maps"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Pod has what PodTemplate has and, since it is about to run: requests where only limits are given, host ports where it
// uses the host's network, and service links.
func Pod(p *corev1.Pod) {
	podSpec(&p.Spec)
	missing(&p.Spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	if *p.Spec.TerminationGracePeriodSeconds < 0 {
		shortest := int64(1)
		p.Spec.TerminationGracePeriodSeconds = &shortest
	}
	for c := range containers(&p.Spec) {
		requestLimits(&c.Resources)
		if p.Spec.HostNetwork {
			hostPorts(c.Ports)
		}
	}
	if s := &p.Status; s.PodIP == "" && len(s.PodIPs) > 0 {
		s.PodIP = s.PodIPs[0].IP
	} else if s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP) {
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	}
}

// PodTemplate is a pod that is always restarted, gets 30 seconds to end, and asks the cluster's DNS.
func PodTemplate(t *corev1.PodTemplateSpec) { podSpec(&t.Spec) }

func podSpec(s *corev1.PodSpec) {
	unset(&s.RestartPolicy, corev1.RestartPolicyAlways)
	unset(&s.DNSPolicy, corev1.DNSClusterFirst)
	unset(&s.SchedulerName, corev1.DefaultSchedulerName)
	missing(&s.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	missing(&s.SecurityContext, corev1.PodSecurityContext{})
	// The old name of the field is kept beside the new one, for clients that know only one of them.
	unset(&s.ServiceAccountName, s.DeprecatedServiceAccount)
	s.DeprecatedServiceAccount = s.ServiceAccountName
	roundUp(s.Overhead)
	if s.Resources != nil {
		roundUp(s.Resources.Limits)
		roundUp(s.Resources.Requests)
	}
	for c := range containers(s) {
		container(c)
	}
	for i := range s.EphemeralContainers {
		c := corev1.Container(s.EphemeralContainers[i].EphemeralContainerCommon)
		container(&c)
		s.EphemeralContainers[i].EphemeralContainerCommon = corev1.EphemeralContainerCommon(c)
	}
	for i := range s.Volumes {
		volume(&s.Volumes[i])
	}
}

// containers are the init containers of s and its containers.
func containers(s *corev1.PodSpec) func(yield func(*corev1.Container) bool) {
	return func(yield func(*corev1.Container) bool) {
		for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
	}
}

func container(c *corev1.Container) {
	unset(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	unset(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	unset(&c.ImagePullPolicy, pullPolicy(c.Image))
	for i := range c.Ports {
		unset(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil && from.FieldRef != nil {
			unset(&from.FieldRef.APIVersion, "v1")
		}
		if from := c.Env[i].ValueFrom; from != nil && from.FileKeyRef != nil {
			missing(&from.FileKeyRef.Optional, false)
		}
	}
	roundUp(c.Resources.Limits)
	roundUp(c.Resources.Requests)
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p != nil {
			probe(p)
		}
	}
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil {
				httpGet(h.HTTPGet)
			}
		}
	}
}

// pullPolicy asks the registry each time for an image whose tag is meant to move.
func pullPolicy(image string) corev1.PullPolicy {
	name, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return corev1.PullIfNotPresent // and the node will say that there is no such image
	}
	if tagged, ok := reference.TagNameOnly(name).(reference.Tagged); ok && tagged.Tag() == "latest" {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

func probe(p *corev1.Probe) {
	unset(&p.TimeoutSeconds, 1)
	unset(&p.PeriodSeconds, 10)
	unset(&p.SuccessThreshold, 1)
	unset(&p.FailureThreshold, 3)
	httpGet(p.HTTPGet)
	if p.GRPC != nil {
		missing(&p.GRPC.Service, "")
	}
}

func httpGet(g *corev1.HTTPGetAction) {
	if g != nil {
		unset(&g.Path, "/")
		unset(&g.Scheme, corev1.URISchemeHTTP)
	}
}

func hostPorts(ports []corev1.ContainerPort) {
	for i := range ports {
		unset(&ports[i].HostPort, ports[i].ContainerPort)
	}
}

// requestLimits asks for as much as a container may use at most, where it does not say what it needs.
func requestLimits(r *corev1.ResourceRequirements) {
	if r.Limits == nil {
		return
	}
	all := r.Limits.DeepCopy()
	maps.Copy(all, r.Requests)
	r.Requests = all
}

// roundUp takes away what is finer than a thousandth.
func roundUp(l corev1.ResourceList) {
	for name, q := range l {
		if q.RoundUp(resource.Milli) {
			continue
		}
		l[name] = q
	}
}
