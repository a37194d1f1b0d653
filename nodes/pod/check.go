package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// Kind of a check.
type Kind string

const (
	Startup   Kind = "Startup"
	Readiness Kind = "Readiness"
	Liveness  Kind = "Liveness"
)

// A CheckKey names a probe of one run of a container.
type CheckKey struct {
	ID   runtime.ID
	Kind Kind
}

// A Check is a probe that is to be run.
type Check struct {
	CheckKey
	Probe  *corev1.Probe
	Host   string    // of an HTTP or TCP probe: what the probe says, else the pod's address
	Port   int       // of an HTTP or TCP probe; 0: the container has no port of that name
	Since  time.Time // when the container was started: the probe's initial delay counts from then,
	Gated  bool      // or, if it waited for a startup probe to pass, from when it is first asked for
	Passed bool      // what is taken for true until the probe has found something else
}

// passed is what a probe of the container's newest run has found; what the status says of that run if it has found nothing.
func (v *view) passed(c *container, k Kind, status func(*corev1.ContainerStatus) bool) bool {
	id := c.last().ID
	if ok, known := v.seen.Checks[CheckKey{id, k}]; known {
		return ok
	}
	return c.prev != nil && c.prev.ContainerID == ContainerID(id) && status(c.prev)
}

// started tells whether the container runs, its postStart hook is done and its startup probe, if it has one, has passed.
func (v *view) started(c *container) bool {
	return c.running() && v.hooked(c) && (c.spec.StartupProbe == nil || v.passed(c, Startup, func(s *corev1.ContainerStatus) bool {
		return s.Started != nil && *s.Started
	}))
}

// containerReady tells whether the container does its work. One that is to run before the others has done so when it
// succeeded.
func (v *view) containerReady(c *container) bool {
	switch c.role {
	case initial:
		end := c.ended(nil)
		return end != nil && end.ExitCode == 0
	case ephemeral:
		return false // nothing is led to it
	}
	return v.started(c) && (c.spec.ReadinessProbe == nil || v.passed(c, Readiness, func(s *corev1.ContainerStatus) bool { return s.Ready }))
}

// failed tells whether a probe has found that the container must be started anew.
func (v *view) failed(c *container) (Kind, *corev1.Probe) {
	id := c.last().ID
	for _, k := range []Kind{Startup, Liveness} {
		if p := probe(c.spec, k); p != nil {
			if ok, known := v.seen.Checks[CheckKey{id, k}]; known && !ok {
				return k, p
			}
		}
	}
	return "", nil
}

func probe(c *corev1.Container, k Kind) *corev1.Probe {
	switch k {
	case Startup:
		return c.StartupProbe
	case Readiness:
		return c.ReadinessProbe
	}
	return c.LivenessProbe
}

// check has the probes of a running container run: the startup probe until it passed, then the others.
func (v *view) check(c *container) {
	if v.seen.Network != Here {
		return
	}
	ending := v.ending() || v.over()
	if !v.started(c) {
		if !ending {
			v.probe(c, Startup, false)
		}
		return
	}
	v.probe(c, Readiness, v.containerReady(c))
	if _, told := v.seen.Stops[c.last().ID]; !told && !ending {
		v.probe(c, Liveness, true)
	}
}

func (v *view) probe(c *container, k Kind, passed bool) {
	p := probe(c.spec, k)
	if p == nil {
		return
	}
	check := Check{CheckKey: CheckKey{c.last().ID, k}, Probe: p, Host: v.seen.Address.String(), Since: c.last().Started, Passed: passed}
	check.Gated = k != Startup && c.spec.StartupProbe != nil
	switch {
	case p.HTTPGet != nil:
		check.Port = port(c.spec, p.HTTPGet.Port)
		if p.HTTPGet.Host != "" {
			check.Host = p.HTTPGet.Host
		}
	case p.GRPC != nil:
		check.Port = int(p.GRPC.Port)
	case p.TCPSocket != nil:
		check.Port = port(c.spec, p.TCPSocket.Port)
		if p.TCPSocket.Host != "" {
			check.Host = p.TCPSocket.Host
		}
	}
	v.next.Checks = append(v.next.Checks, check)
}

// port is the number of a port that a probe may name.
func port(c *corev1.Container, p intstr.IntOrString) int {
	if p.Type == intstr.Int {
		return p.IntValue()
	}
	for _, named := range c.Ports {
		if named.Name == p.StrVal {
			return int(named.ContainerPort)
		}
	}
	return 0
}
