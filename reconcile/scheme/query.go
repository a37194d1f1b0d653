package scheme

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// addQueries has the queries of subresources that are streams read into their options.
func addQueries(r *runtime.Scheme) {
	for _, name := range []string{"PodLogOptions", "PodExecOptions", "PodAttachOptions", "PodPortForwardOptions", "PodProxyOptions", "ServiceProxyOptions", "NodeProxyOptions"} {
		hub(r, core(name))
	}
	for to, read := range map[any]conversion.ConversionFunc{
		(*corev1.PodLogOptions)(nil):         podLogOptions,
		(*corev1.PodExecOptions)(nil):        podExecOptions,
		(*corev1.PodAttachOptions)(nil):      podAttachOptions,
		(*corev1.PodPortForwardOptions)(nil): podPortForwardOptions,
		(*corev1.PodProxyOptions)(nil):       podProxyOptions,
		(*corev1.ServiceProxyOptions)(nil):   serviceProxyOptions,
		(*corev1.NodeProxyOptions)(nil):      nodeProxyOptions,
	} {
		must(r.AddConversionFunc((*url.Values)(nil), to, read))
	}
}

// flag reads a value of a query as Kubernetes does everywhere: any but "false" and "0" means yes.
func flag(q url.Values, name string) bool {
	v := q.Get(name)
	return q.Has(name) && v != "false" && v != "0"
}

func podExecOptions(in, out any, _ conversion.Scope) error {
	q, o := *in.(*url.Values), out.(*corev1.PodExecOptions)
	o.Stdin, o.Stdout, o.Stderr, o.TTY = flag(q, "stdin"), flag(q, "stdout"), flag(q, "stderr"), flag(q, "tty")
	o.Container, o.Command = q.Get("container"), q["command"]
	return nil
}

func podAttachOptions(in, out any, _ conversion.Scope) error {
	q, o := *in.(*url.Values), out.(*corev1.PodAttachOptions)
	o.Stdin, o.Stdout, o.Stderr, o.TTY = flag(q, "stdin"), flag(q, "stdout"), flag(q, "stderr"), flag(q, "tty")
	o.Container = q.Get("container")
	return nil
}

func podProxyOptions(in, out any, _ conversion.Scope) error {
	out.(*corev1.PodProxyOptions).Path = in.(*url.Values).Get("path")
	return nil
}

func serviceProxyOptions(in, out any, _ conversion.Scope) error {
	out.(*corev1.ServiceProxyOptions).Path = in.(*url.Values).Get("path")
	return nil
}

func nodeProxyOptions(in, out any, _ conversion.Scope) error {
	out.(*corev1.NodeProxyOptions).Path = in.(*url.Values).Get("path")
	return nil
}

// podPortForwardOptions reads ports: several values, or one with commas.
func podPortForwardOptions(in, out any, _ conversion.Scope) error {
	q, o := *in.(*url.Values), out.(*corev1.PodPortForwardOptions)
	for _, values := range q["ports"] {
		for text := range strings.SplitSeq(values, ",") {
			n, err := strconv.ParseUint(text, 10, 16)
			if err != nil || n == 0 {
				return fmt.Errorf("read the query: ports=%s: %q is not a port", values, text)
			}
			o.Ports = append(o.Ports, int32(n))
		}
	}
	return nil
}
