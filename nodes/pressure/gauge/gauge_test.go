package gauge

import (
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/nodetest"
	"github.com/mainstay-gitops/mainstay/nodes/pressure"
)

func TestMain(m *testing.M) { os.Exit(nodetest.Main(m)) }

func TestThisMachineIsMeasured(t *testing.T) {
	nodetest.Root(t)
	tree, err := cgroup.Open()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	root := nodetest.Group(t, tree)
	g := &Gauge{Tree: tree, Pods: tree.NewPods(root), PodsMemory: 64 << 20, NodeDir: dir, ImageDir: dir, Folder: func(types.UID) string { return dir }}
	if err := g.Pods.LimitAll(cgroup.Limits{CPUShares: 100, MemoryLimit: g.PodsMemory, Pids: 100}); err != nil {
		t.Fatal(err)
	}
	levels, err := g.Levels()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []pressure.Signal{pressure.Memory, pressure.PodsMemory, pressure.NodeFS, pressure.ImageFS, pressure.PIDs} {
		if l := levels[s]; l.Available <= 0 || l.Available > l.Capacity {
			t.Errorf("%s: %+v", s, l)
		}
	}
	if l := levels[pressure.PodsMemory]; l.Capacity != 64<<20 {
		t.Errorf("pods may have %d", l.Capacity)
	}
	if _, err := g.Pods.Make("BestEffort", "u", cgroup.Limits{}); err != nil {
		t.Fatal(err)
	}
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}}}}
	p.UID = "u"
	if err := tree.Make(g.Pods.Path("BestEffort", "u") + "/a.0"); err != nil {
		t.Fatal(err)
	}
	u, containers := g.Usage(t.Context(), p, true)
	if u.Disk < 1<<20 || u.Inodes != 2 || u.PIDs != 0 {
		t.Errorf("the pod uses %+v", u)
	}
	if _, ok := containers["a"]; !ok || len(containers) != 1 {
		t.Errorf("its containers use %v", containers)
	}
	if u, _ := g.Usage(t.Context(), p, false); u.Disk != 0 {
		t.Errorf("its disk was measured unasked: %+v", u)
	}
}
