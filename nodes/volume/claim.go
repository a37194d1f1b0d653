package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/ephemeral"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const (
	// Driver is the name of what makes volumes of folders here.
	Driver = "local.mainstay.dev"
	// FolderFinalizer holds such a volume until its folder is removed.
	FolderFinalizer = Driver + "/folder"
)

// claimName is the claim that a volume is; empty if it is none.
func claimName(p *corev1.Pod, vol *corev1.Volume) string {
	switch {
	case vol.PersistentVolumeClaim != nil:
		return vol.PersistentVolumeClaim.ClaimName
	case vol.Ephemeral != nil:
		return ephemeral.VolumeClaimName(p, vol)
	}
	return ""
}

// claimed is the volume that a claim of a pod has.
func claimed(p *corev1.Pod, vol *corev1.Volume, s *store.Snapshot) (*corev1.PersistentVolume, error) {
	name := claimName(p, vol)
	c, ok := store.Get[*corev1.PersistentVolumeClaim](s, p.Namespace, name)
	if !ok {
		return nil, fmt.Errorf("persistentvolumeclaim %q not found", name)
	}
	if vol.Ephemeral != nil {
		if err := ephemeral.VolumeIsForPod(p, c); err != nil {
			return nil, err
		}
	}
	if c.Status.Phase != corev1.ClaimBound || c.Spec.VolumeName == "" {
		return nil, fmt.Errorf("persistentvolumeclaim %q is not bound to a volume", name)
	}
	v, ok := store.Get[*corev1.PersistentVolume](s, "", c.Spec.VolumeName)
	if !ok || v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID != c.UID {
		return nil, fmt.Errorf("persistentvolume %q is not that of claim %q", c.Spec.VolumeName, name)
	}
	return v, nil
}

// claimPath is where a volume that is a claim is on this machine.
func (v *Volumes) claimPath(pv *corev1.PersistentVolume) (string, error) {
	switch s := pv.Spec.PersistentVolumeSource; {
	case pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == corev1.PersistentVolumeBlock:
		return "", fmt.Errorf("persistentvolume %q: block devices: not supported yet", pv.Name)
	case len(pv.Spec.MountOptions) > 0:
		return "", fmt.Errorf("persistentvolume %q: mount options are not supported for this volume type", pv.Name)
	case s.HostPath != nil:
		return s.HostPath.Path, nil
	case s.Local != nil:
		return s.Local.Path, nil
	case s.CSI != nil && s.CSI.Driver == Driver:
		return v.folder(s.CSI.VolumeHandle)
	case s.NFS != nil:
		return "", fmt.Errorf("persistentvolume %q: nfs: not supported yet", pv.Name)
	case s.CSI != nil:
		return "", fmt.Errorf("persistentvolume %q: csi driver %s: not supported yet", pv.Name, s.CSI.Driver)
	}
	return "", fmt.Errorf("persistentvolume %q: volumes of this kind: not supported yet", pv.Name)
}

// folder is that of a volume of ours.
func (v *Volumes) folder(handle string) (string, error) {
	if handle == "" || handle == "." || filepath.Base(handle) != handle || !filepath.IsLocal(handle) {
		return "", fmt.Errorf("volume handle %q: it must be a name", handle)
	}
	return filepath.Join(v.claims, handle), nil
}

// makeClaim makes or checks what a claim of p shows, and gives it to the pod's group where that is ours to do.
func (v *Volumes) makeClaim(p *corev1.Pod, vol *corev1.Volume, w World, m *making) error {
	pv, err := claimed(p, vol, w.Snapshot)
	if err != nil {
		return err
	}
	path, err := v.claimPath(pv)
	if err != nil {
		return err
	}
	if h := pv.Spec.HostPath; h != nil {
		return checkHostPath(h)
	}
	if pv.Spec.Local == nil {
		if err := v.makeFolder(path); err != nil {
			return err
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() || m.group == nil || vol.PersistentVolumeClaim != nil && vol.PersistentVolumeClaim.ReadOnly {
		return nil
	}
	return v.once(p, vol, func() error { return giveTo(path, *m.group, rootOnly(p)) })
}

// makeFolder makes the folder of a volume of ours, in which any user of a container may write.
func (v *Volumes) makeFolder(path string) error {
	if err := os.MkdirAll(v.claims, 0o750); err != nil {
		return err
	}
	err := os.Mkdir(path, unfinished)
	info, e := os.Lstat(path)
	if e != nil {
		return errors.Join(err, e)
	}
	if info.Mode().Perm() == unfinished {
		return os.Chmod(path, 0o777)
	}
	return nil
}

// once does something the first time that a volume of a pod is made.
func (v *Volumes) once(p *corev1.Pod, vol *corev1.Volume, do func() error) error {
	mark := v.path(p.UID, vol)
	if _, err := os.Lstat(mark); err == nil {
		return nil
	}
	if err := do(); err != nil {
		return err
	}
	return os.MkdirAll(mark, 0o755)
}

func rootOnly(p *corev1.Pod) bool {
	s := p.Spec.SecurityContext
	return s != nil && s.FSGroupChangePolicy != nil && *s.FSGroupChangePolicy == corev1.FSGroupChangeOnRootMismatch
}

// giveTo lets a group read and write all below dir, and what will be. onMismatch: only if dir itself is not the group's. A
// container may change what is there meanwhile, so nothing is reached but below dir.
func giveTo(dir string, group int64, onMismatch bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if info, err := root.Stat("."); err == nil && onMismatch && ownedBy(info, group) && info.Mode()&(fs.ModeSetgid|0o070) == fs.ModeSetgid|0o070 {
		return nil
	}
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		if err := root.Lchown(name, -1, int(group)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		info, err := d.Info()
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return nil
		}
		mode := info.Mode() | 0o660
		if d.IsDir() {
			mode |= fs.ModeSetgid | 0o110
		}
		if err := root.Chmod(name, mode&(fs.ModePerm|fs.ModeSetgid|fs.ModeSetuid|fs.ModeSticky)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// Leaves tells whether a volume is a folder of a node that is to be removed.
func Leaves(v *corev1.PersistentVolume, node string) bool {
	if v.DeletionTimestamp == nil || v.Spec.CSI == nil || v.Spec.CSI.Driver != Driver || v.Spec.CSI.VolumeAttributes["node"] != node ||
		v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
		return false
	}
	held, used := false, false
	for _, f := range v.Finalizers {
		held = held || f == FolderFinalizer
		used = used || f == "kubernetes.io/pv-protection"
	}
	return held && !used
}

// RemoveFolder removes the folder of a volume of ours with all that is in it. One that is not there is removed.
func (v *Volumes) RemoveFolder(handle string) error {
	path, err := v.folder(handle)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("remove the folder of volume %s: %w", handle, err)
	}
	return nil
}

func ownedBy(info fs.FileInfo, group int64) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int64(s.Gid) == group
}
