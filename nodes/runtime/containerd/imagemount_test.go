package containerd_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/snapshots"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/containerd"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest/script"
)

// views are the snapshots that volumes have.
func (n *node) views() []string {
	n.Helper()
	var all []string
	n.ok(n.Client.SnapshotService("overlayfs").Walk(n.in(), func(_ context.Context, info snapshots.Info) error {
		if strings.HasPrefix(info.Name, "volume.") {
			all = append(all, info.Name)
		}
		return nil
	}))
	return all
}

// mountImage mounts the test image for the volume m of a pod.
func (n *node) mountImage(p *runtimetest.Pod) runtime.ImageMount {
	n.Helper()
	m, err := n.Runtime.MountImage(n.Context(), p.UID, "m", runtimetest.ImageName)
	n.ok(err)
	return m
}

func TestTheImageOfAVolumeIsReadAndNotWrittenAndLeavesNothing(t *testing.T) {
	n := newNode(t)
	p := runtimetest.NewPod(t, n.Runtime)
	m := n.mountImage(p)
	n.ok(n.Images.Remove(t.Context(), runtimetest.ImageName)) // what is mounted stays
	n.load("mainstay.local/other:v1", "app")                  // another image, of the same layers
	spec := p.Container("c", script.Cat, "/m/etc/group", script.Write, "/m/data/x", script.Wait)
	spec.Image, spec.Mounts = "mainstay.local/other:v1", []runtime.Mount{{Source: m.Path, Target: "/m", ReadOnly: true}}
	id := p.Start(spec)
	p.FirstLine(id)
	if err := os.WriteFile(filepath.Join(m.Path, "x"), nil, 0o644); err == nil || !strings.Contains(err.Error(), "read-only file system") {
		t.Error("it is written to by the machine itself:", err)
	}
	used, err := containerd.UsedBy(t.Context(), n.Client, n.Server.RunDir)
	n.ok(err)
	if !slices.Contains(used[m.ImageID], "test/pod") {
		t.Error("the images in use are", used)
	}

	n.restart()
	p.Runtime = n.Runtime
	box, err := n.Runtime.Sandbox(t.Context(), p.UID)
	n.ok(err)
	if diff := cmp.Diff([]runtime.ImageMount{m}, box.Images); diff != "" {
		t.Error("a later daemon finds", diff)
	}
	n.ok(n.Runtime.Signal(t.Context(), id, unix.SIGKILL))
	if out, errout := p.Said(id); !strings.Contains(errout, "read-only file system") {
		t.Errorf("it said %q and %q", out, errout)
	}
	n.ok(n.Runtime.RemoveSandbox(t.Context(), p.UID))
	if left := n.views(); len(left) > 0 {
		t.Error("there are still the snapshots", left)
	}
	n.empty()
}

func TestAnImageThatIsNotUnpackedIsUnpackedForAVolume(t *testing.T) {
	n := newNode(t)
	n.ok(n.Client.SnapshotService("overlayfs").Remove(n.in(), n.chain()))
	m := n.mountImage(runtimetest.NewPod(t, n.Runtime))
	if _, err := os.Stat(filepath.Join(m.Path, "etc/passwd")); err != nil {
		t.Error(err)
	}
}

func TestTheLayersOfAVolumesImageAreSeenAsOne(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	n.ok(os.WriteFile(filepath.Join(dir, "text"), []byte("of the upper layer"), 0o644))
	upper, err := tarball.LayerFromFile(tarOf(n, dir))
	n.ok(err)
	image, err := runtimetest.Image(os.Getenv(program), "")
	n.ok(err)
	image, err = mutate.AppendLayers(image, upper)
	n.ok(err)
	const name = "mainstay.local/layers:v1"
	archive := filepath.Join(n.Dir, "layers.tar")
	n.ok(runtimetest.Archive(archive, name, image))
	f, err := os.Open(archive)
	n.ok(err)
	defer f.Close()
	_, err = n.Images.Import(t.Context(), f)
	n.ok(err)

	p := runtimetest.NewPod(t, n.Runtime)
	m, err := n.Runtime.MountImage(t.Context(), p.UID, "m", name)
	n.ok(err)
	for file, want := range map[string]string{"text": "of the upper layer", "secret": "x\n"} {
		if got, err := os.ReadFile(filepath.Join(m.Path, file)); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v", file, got, err)
		}
	}
	if err := os.WriteFile(filepath.Join(m.Path, "text"), nil, 0o644); err == nil || !strings.Contains(err.Error(), "read-only file system") {
		t.Error("it is written to:", err)
	}
}

func TestImagesOfVolumesThatAKilledDaemonHalfMadeAreClearedAway(t *testing.T) {
	n := newNode(t)
	p := runtimetest.NewPod(t, n.Runtime)
	kept := n.mountImage(p)
	// It had got to the view of a second volume, and the pod of a third is gone.
	snaps := n.Client.SnapshotService("overlayfs")
	for volume, uid := range map[string]types.UID{"half": p.UID, "lost": "gone"} {
		_, err := snaps.View(n.in(), "volume."+string(uid)+"."+volume, n.chain(), snapshots.WithLabels(map[string]string{
			"containerd.io/gc.root": "mainstay", "mainstay.dev/pod": string(uid), "mainstay.dev/volume": volume}))
		n.ok(err)
	}
	n.ok(os.Mkdir(filepath.Join(filepath.Dir(kept.Path), "half"), 0o755))

	n.restart()
	p.Runtime = n.Runtime
	if diff := cmp.Diff([]string{"volume." + string(p.UID) + ".m"}, n.views()); diff != "" {
		t.Error(diff)
	}
	if _, err := n.Runtime.Sandbox(t.Context(), "gone"); err == nil {
		t.Error("a pod that is gone has a sandbox")
	}
	n.ok(n.Runtime.RemoveSandbox(t.Context(), p.UID))
	n.empty()
}

func TestImagesOfVolumesDoNotOutliveABoot(t *testing.T) {
	for sentence, memory := range map[string]bool{"the run folder is on disk": false, "the run folder is in memory": true} {
		t.Run(sentence, func(t *testing.T) {
			n := newNode(t)
			p := runtimetest.NewPod(n, n.Runtime)
			m := n.mountImage(p)
			n.stop()
			n.ok(n.Tree.Kill(n.Context(), n.Group))
			dir := filepath.Dir(filepath.Dir(m.Path))
			for _, path := range []string{"net", "ipc", "uts", "shm", "images/m"} {
				n.ok(unix.Unmount(filepath.Join(dir, path), unix.MNT_DETACH))
			}
			if memory {
				n.ok(os.RemoveAll(dir))
			}
			n.start()
			p.Runtime = n.Runtime
			if left := n.views(); len(left) > 0 {
				t.Error("there are still the snapshots", left)
			}
			if box := p.MakeSandbox(); !box.Ready || len(box.Images) != 0 {
				t.Errorf("made anew it is %+v", box)
			}
			if again := n.mountImage(p); again != m {
				t.Errorf("mounted again it is %+v", again)
			}
			n.ok(n.Runtime.RemoveSandbox(n.Context(), p.UID))
			n.empty()
		})
	}
}
