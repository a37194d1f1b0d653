package pod

import (
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Unsupported is all that a pod asks for and this node cannot do yet, each with the path of its field inside the spec and
// the reason. A pod for which it is not empty is not run. This is the one place that knows: a field that is neither named
// here nor acted upon is a mistake (a test goes through all fields there are).
func Unsupported(spec *corev1.PodSpec) field.ErrorList {
	var u unsupported
	u.pod(spec)
	for i := range spec.InitContainers {
		u.container(field.NewPath("initContainers").Index(i), &spec.InitContainers[i])
	}
	for i := range spec.Containers {
		u.container(field.NewPath("containers").Index(i), &spec.Containers[i])
	}
	for i, c := range ephemerals(spec) {
		u.container(field.NewPath("ephemeralContainers").Index(i), &c)
	}
	for i := range spec.Volumes {
		u.volume(field.NewPath("volumes").Index(i), &spec.Volumes[i])
	}
	return u.errs
}

type unsupported struct{ errs field.ErrorList }

// not refuses a field if it is set.
func (u *unsupported) not(set bool, path *field.Path, name, why string) {
	if set {
		if name != "" {
			path = path.Child(name)
		}
		u.errs = append(u.errs, field.Forbidden(path, why+": not supported yet"))
	}
}

func yes(b *bool) bool { return b != nil && *b }

func (u *unsupported) pod(s *corev1.PodSpec) {
	for _, f := range []struct {
		name string
		set  bool
		why  string
	}{
		{"os", s.OS != nil && s.OS.Name != corev1.Linux, "an operating system other than Linux"},
		{"hostUsers", s.HostUsers != nil && !*s.HostUsers, "user namespaces"},
		{"resourceClaims", len(s.ResourceClaims) > 0, "resource claims"},
		{"schedulingGroup", s.SchedulingGroup != nil, "scheduling groups"},
		{"evictionResponders", len(s.EvictionResponders) > 0, "eviction responders"},
	} {
		u.not(f.set, field.NewPath(f.name), "", f.why)
	}
	if s.SecurityContext != nil {
		u.podSecurity(field.NewPath("securityContext"), s.SecurityContext)
	}
}

func (u *unsupported) podSecurity(path *field.Path, s *corev1.PodSecurityContext) {
	u.not(s.WindowsOptions != nil, path, "windowsOptions", "Windows")
}

func (u *unsupported) container(path *field.Path, c *corev1.Container) {
	for i, r := range c.RestartPolicyRules {
		at := path.Child("restartPolicyRules").Index(i)
		u.not(r.Action != corev1.ContainerRestartRuleActionRestart, at, "action", "an action other than Restart")
	}
	u.not(len(c.VolumeDevices) > 0, path, "volumeDevices", "block devices")
	u.not(len(c.Resources.Claims) > 0, path.Child("resources"), "claims", "resource claims")
	for i, p := range c.Ports {
		at := path.Child("ports").Index(i)
		u.not(p.HostPort != 0 && p.Protocol == corev1.ProtocolSCTP, at, "protocol", "ports of the host for SCTP")
		u.not(strings.Contains(p.HostIP, ":"), at, "hostIP", "IPv6 addresses of the host")
	}
	for i, e := range c.Env {
		u.not(e.ValueFrom != nil && e.ValueFrom.FileKeyRef != nil, path.Child("env").Index(i), "valueFrom.fileKeyRef", "variables from files")
	}
	for i := range c.VolumeMounts {
		u.mount(path.Child("volumeMounts").Index(i), &c.VolumeMounts[i])
	}
	u.probe(path.Child("livenessProbe"), c.LivenessProbe)
	u.probe(path.Child("readinessProbe"), c.ReadinessProbe)
	u.probe(path.Child("startupProbe"), c.StartupProbe)
	u.hooks(path.Child("lifecycle"), c.Lifecycle)
	if c.SecurityContext != nil {
		u.security(path.Child("securityContext"), c.SecurityContext)
	}
}

func (u *unsupported) mount(path *field.Path, m *corev1.VolumeMount) {
	u.not(len(m.BindMountOptions) > 0, path, "bindMountOptions", "mount options")
}

func (u *unsupported) probe(path *field.Path, p *corev1.Probe) {
	if p == nil {
		return
	}
	u.httpGet(path, p.HTTPGet)
}

func (u *unsupported) httpGet(path *field.Path, g *corev1.HTTPGetAction) {
	u.not(g != nil && g.Protocol != nil && *g.Protocol != corev1.HTTPProtocolHTTP1, path.Child("httpGet"), "protocol", "protocols other than HTTP/1")
}

func (u *unsupported) hooks(path *field.Path, l *corev1.Lifecycle) {
	if l == nil {
		return
	}
	if l.PostStart != nil {
		u.httpGet(path.Child("postStart"), l.PostStart.HTTPGet)
	}
	if l.PreStop != nil {
		u.httpGet(path.Child("preStop"), l.PreStop.HTTPGet)
	}
}

func (u *unsupported) security(path *field.Path, s *corev1.SecurityContext) {
	u.not(s.WindowsOptions != nil, path, "windowsOptions", "Windows")
}

func (u *unsupported) volume(path *field.Path, v *corev1.Volume) {
	s := &v.VolumeSource
	if s.Projected != nil {
		for i, p := range s.Projected.Sources {
			at := path.Child("projected", "sources").Index(i)
			u.not(p.ClusterTrustBundle != nil, at, "clusterTrustBundle", "trust bundles")
			u.not(p.PodCertificate != nil, at, "podCertificate", "certificates of pods")
		}
	}
	if e := s.EmptyDir; e != nil {
		u.not(e.Medium != corev1.StorageMediumDefault && e.Medium != corev1.StorageMediumMemory, path.Child("emptyDir"), "medium", "huge pages")
	}
	if s.EmptyDir != nil || s.ConfigMap != nil || s.Secret != nil || s.DownwardAPI != nil || s.Projected != nil || s.HostPath != nil || s.Image != nil ||
		s.PersistentVolumeClaim != nil || s.Ephemeral != nil {
		return
	}
	u.otherVolume(path, s)
}

// otherVolume names the kind of a volume that is none of those above.
func (u *unsupported) otherVolume(path *field.Path, s *corev1.VolumeSource) {
	val := reflect.ValueOf(s).Elem()
	for i := range val.NumField() {
		if !val.Field(i).IsNil() {
			name := jsonName(val.Type().Field(i))
			u.not(true, path, name, fmt.Sprintf("%s volumes", name))
		}
	}
}
