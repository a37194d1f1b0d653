package validate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"golang.org/x/sys/unix"
)

// handlers validates what asks a container, or tells it, something.
func handlers(c *corev1.Container, path *field.Path) field.ErrorList {
	errs := probe(c.ReadinessProbe, path.Child("readinessProbe"))
	errs = append(errs, onceProbe(c.LivenessProbe, path.Child("livenessProbe"))...)
	errs = append(errs, onceProbe(c.StartupProbe, path.Child("startupProbe"))...)
	if c.ReadinessProbe != nil && c.ReadinessProbe.TerminationGracePeriodSeconds != nil {
		errs = append(errs, field.Invalid(path.Child("readinessProbe", "terminationGracePeriodSeconds"),
			*c.ReadinessProbe.TerminationGracePeriodSeconds, "must not be set for readinessProbes"))
	}
	if c.Lifecycle == nil {
		return errs
	}
	path = path.Child("lifecycle")
	errs = append(errs, hook(c.Lifecycle.PostStart, path.Child("postStart"))...)
	errs = append(errs, hook(c.Lifecycle.PreStop, path.Child("preStop"))...)
	if c.Lifecycle.StopSignal != nil {
		errs = append(errs, stopSignal(*c.Lifecycle.StopSignal, path.Child("stopSignal"))...)
	}
	return errs
}

// noHandlers refuses what makes no sense for a container that ends before the others begin.
func noHandlers(c *corev1.Container, path *field.Path) field.ErrorList {
	const message = "may not be set for init containers without restartPolicy=Always"
	var errs field.ErrorList
	for _, h := range []struct {
		field string
		set   bool
	}{
		{"lifecycle", c.Lifecycle != nil}, {"livenessProbe", c.LivenessProbe != nil},
		{"readinessProbe", c.ReadinessProbe != nil}, {"startupProbe", c.StartupProbe != nil},
	} {
		if h.set {
			errs = append(errs, field.Forbidden(path.Child(h.field), message))
		}
	}
	return errs
}

func probe(p *corev1.Probe, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := action(corev1.LifecycleHandler{Exec: p.Exec, HTTPGet: p.HTTPGet, TCPSocket: p.TCPSocket}, p.GRPC, path)
	errs = append(errs, notNegative(p.InitialDelaySeconds, path.Child("initialDelaySeconds"))...)
	errs = append(errs, notNegative(p.TimeoutSeconds, path.Child("timeoutSeconds"))...)
	errs = append(errs, notNegative(p.PeriodSeconds, path.Child("periodSeconds"))...)
	errs = append(errs, notNegative(p.SuccessThreshold, path.Child("successThreshold"))...)
	errs = append(errs, notNegative(p.FailureThreshold, path.Child("failureThreshold"))...)
	if s := p.TerminationGracePeriodSeconds; s != nil && *s <= 0 {
		errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *s, "must be greater than 0"))
	}
	return errs
}

// onceProbe is a probe for which one success is enough.
func onceProbe(p *corev1.Probe, path *field.Path) field.ErrorList {
	errs := probe(p, path)
	if p != nil && p.SuccessThreshold != 1 {
		errs = append(errs, field.Invalid(path.Child("successThreshold"), p.SuccessThreshold, "must be 1"))
	}
	return errs
}

func hook(h *corev1.LifecycleHandler, path *field.Path) field.ErrorList {
	if h == nil {
		return nil
	}
	return action(*h, nil, path)
}

// action is one of the ways to ask or tell.
func action(h corev1.LifecycleHandler, grpc *corev1.GRPCAction, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	handlers := 0
	one := func(name string, check func(*field.Path) field.ErrorList) {
		if handlers++; handlers > 1 {
			errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 handler type"))
			return
		}
		errs = append(errs, check(path.Child(name))...)
	}
	if h.Exec != nil {
		one("exec", func(p *field.Path) field.ErrorList {
			if len(h.Exec.Command) == 0 {
				return field.ErrorList{field.Required(p.Child("command"), "")}
			}
			return nil
		})
	}
	if h.HTTPGet != nil {
		one("httpGet", func(p *field.Path) field.ErrorList { return httpGet(h.HTTPGet, p) })
	}
	if h.TCPSocket != nil {
		one("tcpSocket", func(p *field.Path) field.ErrorList { return portOrName(h.TCPSocket.Port, p.Child("port")) })
	}
	if grpc != nil {
		one("grpc", func(p *field.Path) field.ErrorList {
			return append(port(grpc.Port, p.Child("port")), maybe(grpc.Mode, p.Child("mode"), corev1.GRPCProbeModePlaintext, corev1.GRPCProbeModeTLS)...)
		})
	}
	if h.Sleep != nil {
		one("sleep", func(p *field.Path) field.ErrorList { return notNegative(h.Sleep.Seconds, p.Child("seconds")) })
	}
	if handlers == 0 {
		errs = append(errs, field.Required(path, "must specify a handler type"))
	}
	return errs
}

func httpGet(g *corev1.HTTPGetAction, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if g.Path == "" {
		errs = append(errs, field.Required(path.Child("path"), ""))
	}
	errs = append(errs, portOrName(g.Port, path.Child("port"))...)
	errs = append(errs, oneOf(g.Scheme, path.Child("scheme"), corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
	for i, h := range g.HTTPHeaders {
		errs = append(errs, invalid(path.Child("httpHeaders").Index(i).Child("name"), h.Name, valid.IsHTTPHeaderName(h.Name))...)
	}
	return errs
}

func portOrName(p intstr.IntOrString, path *field.Path) field.ErrorList {
	if p.Type == intstr.Int {
		return invalid(path, p.IntValue(), valid.IsValidPortNum(p.IntValue()))
	}
	return invalid(path, p.StrVal, valid.IsValidPortName(p.StrVal))
}

func stopSignal(s corev1.Signal, path *field.Path) field.ErrorList {
	name, realtime := strings.CutPrefix(string(s), "SIGRTM")
	if unix.SignalNum(string(s)) != 0 || realtime && slices.Contains(realtimeSignals(), name) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, s, "must be the name of a signal, such as SIGTERM")}
}

// realtimeSignals are what may follow SIGRTM: half of them are counted from either end.
func realtimeSignals() []string {
	names := []string{"IN", "AX"}
	for i := 1; i <= 15; i++ {
		names = append(names, fmt.Sprintf("IN+%d", i))
		if i <= 14 {
			names = append(names, fmt.Sprintf("AX-%d", i))
		}
	}
	return names
}
