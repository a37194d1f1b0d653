package kubelet

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/usage"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// config is a node with one pod that runs, of two containers, and one that does not.
func config(t *testing.T) Config {
	dir := t.TempDir()
	for name, text := range map[string]string{"syslog": "a line\n", "deep": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "escape")); err != nil {
		t.Fatal(err)
	}
	begun := metav1.NewTime(noon.Add(-time.Minute))
	state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: begun}}
	pods := []*corev1.Pod{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u1"}, Status: corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &begun,
			ContainerStatuses: []corev1.ContainerStatus{{Name: "a", State: state}, {Name: "b", State: state}}}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "waits", UID: "u2"}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "c"}}}},
	}
	return Config{
		Node: "mine", Machine: dir,
		Pods: func() []*corev1.Pod { return pods },
		Usage: func(context.Context) (usage.Measurement, error) {
			return usage.Measurement{At: noon, Node: usage.Used{Cores: 1.5, CPU: time.Hour, Memory: 1 << 30, Window: time.Second}, Containers: map[runtime.ID]usage.Used{
				{Pod: "u1", Name: "a"}: {Cores: 0.25, CPU: 2 * time.Second, Memory: 1 << 20}, {Pod: "u1", Name: "b"}: {Cores: 0.5, CPU: time.Second, Memory: 1 << 21}, {Pod: "gone", Name: "x"}: {},
			}}, nil
		},
		Settings: func() kubeletconfig.KubeletConfiguration { return kubeletconfig.KubeletConfiguration{MaxPods: 7} },
	}
}

func TestANodeAnswersAsAKubeletDoes(t *testing.T) {
	h := New(config(t))
	for _, r := range []struct {
		method, path string
		code         int
		want         string
	}{
		{"GET", "/healthz", 200, "ok"},
		{"GET", "/pods", 200, `"name":"waits"`},
		{"GET", "/configz", 200, `{"kubeletconfig":{"syncFrequency":"0s"`},
		{"GET", "/logs/", 200, `<a href="syslog">syslog</a>`},
		{"GET", "/logs/syslog", 200, "a line"},
		{"GET", "/logs/escape", 500, ""},
		{"GET", "/logs/none", 404, ""},
		{"GET", "/metrics/resource", 200, `container_memory_working_set_bytes{container="b",namespace="default",pod="web"} 2.097152e+06 1767355200000` + "\n"},
		{"GET", "/metrics/resource", 200, `pod_cpu_usage_seconds_total{namespace="default",pod="web"} 3 1767355200000` + "\n"},
		{"GET", "/metrics", 200, `kubelet_running_containers{container_state="running"} 2` + "\n"},
		{"GET", "/run/default/web/a", 404, "node mine does not serve GET /run/default/web/a: it serves GET of /healthz"},
		{"POST", "/pods", 404, "does not serve POST"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(r.method, r.path, nil))
		if w.Code != r.code || !strings.Contains(w.Body.String(), r.want) {
			t.Errorf("%s %s: %d %s", r.method, r.path, w.Code, w.Body)
		}
	}
}

func TestWhatPodsUseIsSummedUp(t *testing.T) {
	w := httptest.NewRecorder()
	New(config(t)).ServeHTTP(w, httptest.NewRequest("GET", "/stats/summary", nil))
	var s stats.Summary
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if s.Node.NodeName != "mine" || *s.Node.CPU.UsageNanoCores != 1.5e9 || *s.Node.CPU.UsageCoreNanoSeconds != uint64(time.Hour) || *s.Node.Memory.WorkingSetBytes != 1<<30 {
		t.Errorf("the node: %+v", s.Node)
	}
	if len(s.Pods) != 1 || s.Pods[0].PodRef.Name != "web" || *s.Pods[0].CPU.UsageNanoCores != 0.75e9 || *s.Pods[0].Memory.WorkingSetBytes != 3<<20 {
		t.Fatalf("the pods: %+v", s.Pods)
	}
	if c := s.Pods[0].Containers; len(c) != 2 || c[0].Name != "a" || !c[0].StartTime.Time.Equal(noon.Add(-time.Minute)) || *c[1].CPU.UsageCoreNanoSeconds != uint64(time.Second) {
		t.Errorf("its containers: %+v", c)
	}
}
