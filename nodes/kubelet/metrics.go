package kubelet

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/usage"
)

// A family is a metric with its samples, as Prometheus reads them.
type family struct {
	name, help, kind string
	samples          []sample
}

type sample struct {
	labels []string // names and values in turn
	value  float64
	at     time.Time // zero: now
}

func (f *family) add(value float64, at time.Time, labels ...string) {
	f.samples = append(f.samples, sample{labels, value, at})
}

// escape is for values of labels.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`).Replace(s)
}

// print writes families as text, version 0.0.4.
func print(w http.ResponseWriter, all ...*family) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	for _, f := range all {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
		for _, s := range f.samples {
			_, _ = io.WriteString(w, f.name+s.String()+"\n") // unless the client has gone
		}
	}
}

func (s sample) String() string {
	var b strings.Builder
	for i := 0; i+1 < len(s.labels); i += 2 {
		b.WriteByte("{,"[min(i, 1)])
		fmt.Fprintf(&b, `%s="%s"`, s.labels[i], escape(s.labels[i+1]))
	}
	if len(s.labels) > 0 {
		b.WriteByte('}')
	}
	b.WriteString(" " + strconv.FormatFloat(s.value, 'g', -1, 64))
	if !s.at.IsZero() {
		b.WriteString(" " + strconv.FormatInt(s.at.UnixMilli(), 10))
	}
	return b.String()
}

// resources is what metrics-server and others read of a node: counters of processor time, and memory.
func (c Config) resources(w http.ResponseWriter, r *http.Request) {
	m, err := c.Usage(r.Context())
	failed := &family{name: "resource_scrape_error", help: "1 if there was an error while getting container metrics, 0 otherwise", kind: "gauge"}
	if err != nil {
		failed.add(1, time.Time{})
		print(w, failed)
		return
	}
	failed.add(0, time.Time{})
	print(w, append(resourceFamilies(c.Pods(), m), failed)...)
}

func resourceFamilies(pods []*corev1.Pod, m usage.Measurement) []*family {
	var (
		nodeCPU      = &family{name: "node_cpu_usage_seconds_total", help: "Cumulative cpu time consumed by the node in core-seconds", kind: "counter"}
		nodeMemory   = &family{name: "node_memory_working_set_bytes", help: "Current working set of the node in bytes", kind: "gauge"}
		podCPU       = &family{name: "pod_cpu_usage_seconds_total", help: "Cumulative cpu time consumed by the pod in core-seconds", kind: "counter"}
		podMemory    = &family{name: "pod_memory_working_set_bytes", help: "Current working set of the pod in bytes", kind: "gauge"}
		eachCPU      = &family{name: "container_cpu_usage_seconds_total", help: "Cumulative cpu time consumed by the container in core-seconds", kind: "counter"}
		eachMemory   = &family{name: "container_memory_working_set_bytes", help: "Current working set of the container in bytes", kind: "gauge"}
		startSeconds = &family{name: "container_start_time_seconds", help: "Start time of the container since unix epoch in seconds", kind: "gauge"}
	)
	nodeCPU.add(m.Node.CPU.Seconds(), m.At)
	nodeMemory.add(float64(m.Node.Memory), m.At)
	for _, p := range byPod(pods, m) {
		of := []string{"namespace", p.pod.Namespace, "pod", p.pod.Name}
		all := p.together()
		podCPU.add(all.CPU.Seconds(), m.At, of...)
		podMemory.add(float64(all.Memory), m.At, of...)
		for _, name := range p.names() {
			u, labels := p.containers[name], append([]string{"container", name}, of...)
			eachCPU.add(u.CPU.Seconds(), m.At, labels...)
			eachMemory.add(float64(u.Memory), m.At, labels...)
			if t := started(p.pod, name); !t.IsZero() {
				startSeconds.add(float64(t.UnixMilli())/1000, time.Time{}, labels...)
			}
		}
	}
	return []*family{eachCPU, eachMemory, startSeconds, nodeCPU, nodeMemory, podCPU, podMemory}
}

// metrics counts what is here.
func (c Config) metrics(w http.ResponseWriter, _ *http.Request) {
	named := &family{name: "kubelet_node_name", help: "The node's name. The count is always 1.", kind: "gauge"}
	named.add(1, time.Time{}, "node", c.Node)
	containers, running := map[string]int{"running": 0, "waiting": 0, "exited": 0}, 0
	for _, p := range c.Pods() {
		if p.Status.Phase == corev1.PodRunning {
			running++
		}
		for _, s := range p.Status.ContainerStatuses {
			switch {
			case s.State.Running != nil:
				containers["running"]++
			case s.State.Terminated != nil:
				containers["exited"]++
			default:
				containers["waiting"]++
			}
		}
	}
	pods := &family{name: "kubelet_running_pods", help: "Number of pods that run", kind: "gauge"}
	pods.add(float64(running), time.Time{})
	each := &family{name: "kubelet_running_containers", help: "Number of containers, by what they do", kind: "gauge"}
	for _, state := range []string{"exited", "running", "waiting"} {
		each.add(float64(containers[state]), time.Time{}, "container_state", state)
	}
	print(w, named, pods, each)
}
