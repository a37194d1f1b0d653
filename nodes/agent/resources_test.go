package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestHugePagesAreCountedBySize(t *testing.T) {
	dir := t.TempDir()
	for name, count := range map[string]string{"hugepages-2048kB": "4\n", "hugepages-1048576kB": "0\n", "hugepages-odd": "7\n"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "nr_hugepages"), []byte(count), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := map[corev1.ResourceName]string{}
	for name, q := range hugePages(dir) {
		got[name] = q.String()
	}
	if d := cmp.Diff(map[corev1.ResourceName]string{"hugepages-2Mi": "8Mi", "hugepages-1Gi": "0"}, got); d != "" {
		t.Error(d)
	}
	n := &Node{}
	may := n.forPods(corev1.ResourceList{"memory": resource.MustParse("64Mi"), "hugepages-2Mi": resource.MustParse("8Mi")})
	if q := may[corev1.ResourceMemory]; q.String() != "56Mi" {
		t.Error("of 64Mi with 8Mi of huge pages pods may have", q.String())
	}
}

func TestWhatOthersCountOnANodeIsKept(t *testing.T) {
	if extended("cpu") || extended("kubernetes.io/x") || !extended("example.com/gpu") {
		t.Error("an extended resource has a domain that is not Kubernetes'")
	}
	status := corev1.NodeStatus{Capacity: corev1.ResourceList{"cpu": resource.MustParse("2")}, Allocatable: corev1.ResourceList{"cpu": resource.MustParse("1")}}
	offer(&status, corev1.ResourceList{"cpu": resource.MustParse("4"), "example.com/gpu": resource.MustParse("3")})
	for list, want := range map[*corev1.ResourceList]string{&status.Capacity: "2", &status.Allocatable: "1"} {
		cpu, gpu := (*list)["cpu"], (*list)["example.com/gpu"]
		if cpu.String() != want || gpu.String() != "3" {
			t.Errorf("it has %s of cpu and %s of example.com/gpu", cpu.String(), gpu.String())
		}
	}
}
