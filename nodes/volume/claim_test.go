package volume

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// claim puts a claim that has a volume into c.
func (c *cluster) claim(v corev1.PersistentVolumeSource, options ...string) {
	c.t.Helper()
	pvc := &corev1.PersistentVolumeClaim{ObjectMeta: meta("hello", "data"), Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "v"}}
	pvc.UID, pvc.Status.Phase = "c", corev1.ClaimBound
	pv := &corev1.PersistentVolume{ObjectMeta: meta("", "v")}
	pv.Spec.MountOptions = options
	pv.Spec.PersistentVolumeSource, pv.Spec.ClaimRef = v, &corev1.ObjectReference{Namespace: "hello", Name: "data", UID: "c"}
	c.put(pvc)
	c.put(pv)
}

func ours(handle string) corev1.PersistentVolumeSource {
	return corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: Driver, VolumeHandle: handle}}
}

const claims = `{containers: [{name: c, image: i, volumeMounts: [{name: d, mountPath: /d}]}], volumes: [{name: d, persistentVolumeClaim: {claimName: data, readOnly: true}}]}`

func TestAClaimIsAFolderThatOutlivesItsPods(t *testing.T) {
	dir := t.TempDir()
	v, c, p := In(filepath.Join(dir, "pods"), filepath.Join(dir, "memory")), newCluster(t), parse(t, claims)
	p.Namespace, p.UID = "hello", "one"
	c.claim(ours("pvc-1"))
	if _, err := v.Make(p, c.world()); err != nil {
		t.Fatal(err)
	}
	m, err := v.Mounts(p, &p.Spec.Containers[0], 0, c.world())
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "volumes", "pvc-1")
	if m[0].Source != folder || !m[0].ReadOnly {
		t.Errorf("it is mounted as %+v", m[0])
	}
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("the folder: %v, %v", info, err)
	}
	if err := os.WriteFile(filepath.Join(folder, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := v.RemoveAll(p.UID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(folder, "file")); err != nil {
		t.Errorf("what was in it went with the pod: %v", err)
	}
	for range 2 {
		if err := v.RemoveFolder("pvc-1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(folder); !isNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestAFolderIsGivenToTheGroupOfAPodAndNothingBesideIt(t *testing.T) {
	dir := t.TempDir()
	in, beside := filepath.Join(dir, "in"), filepath.Join(dir, "beside")
	for _, d := range []string{in, filepath.Join(in, "below"), beside} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../beside", filepath.Join(in, "out")); err != nil {
		t.Fatal(err)
	}
	if err := giveTo(in, int64(os.Getgid()), false); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{in: os.ModeSetgid | 0o770, filepath.Join(in, "below"): os.ModeSetgid | 0o770, beside: 0o700} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode() &^ os.ModeDir; got != want {
			t.Errorf("%s has mode %v, want %v", filepath.Base(path), got, want)
		}
	}
}

func TestAClaimThatCannotBeMountedSaysWhy(t *testing.T) {
	for name, row := range map[string]struct {
		source  corev1.PersistentVolumeSource
		want    string
		options []string
	}{
		"of a file server":       {corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{}}, `persistentvolume "v": nfs: not supported yet`, nil},
		"of another driver":      {corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "disks.example.com"}}, `csi driver disks.example.com: not supported yet`, nil},
		"beside all folders":     {ours("../other"), `it must be a name`, nil},
		"of a path that is gone": {corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/nowhere/at/all"}}, `no such file`, nil},
		"with mount options":     {ours("pvc-1"), `mount options are not supported for this volume type`, []string{"noexec"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			v, c, p := In(filepath.Join(dir, "pods"), filepath.Join(dir, "memory")), newCluster(t), parse(t, claims)
			p.Namespace, p.UID = "hello", "one"
			c.claim(row.source, row.options...)
			if _, err := v.Make(p, c.world()); err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), `volume "d"`) {
				t.Errorf("it says %v", err)
			}
		})
	}
}
