package volume

import (
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// Mounts is what a run of a container of p mounts. The pod's volumes must have been made. Errors that are the
// manifest's fault are *runtime.ConfigError.
func (v *Volumes) Mounts(p *corev1.Pod, c *corev1.Container, attempt int, w World) ([]runtime.Mount, error) {
	var mounts []runtime.Mount
	for i := range c.VolumeMounts {
		m, err := v.mount(p, c, i, w)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, m)
	}
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		if target := "/etc/" + name; !mounted(mounts, target) {
			mounts = append(mounts, runtime.Mount{Source: v.etc(p.UID, name), Target: target})
		}
	}
	target := c.TerminationMessagePath
	if target == "" {
		target = corev1.TerminationMessagePathDefault
	}
	if mounted(mounts, target) {
		return mounts, nil
	}
	source := v.message(runtime.ID{Pod: p.UID, Name: c.Name, Attempt: attempt})
	if err := os.Remove(v.message(runtime.ID{Pod: p.UID, Name: c.Name, Attempt: attempt - 2})); err != nil && !isNotExist(err) {
		return nil, fmt.Errorf("remove last words that nobody needs: %w", err)
	}
	if err := touch(source); err != nil {
		return nil, fmt.Errorf("make the file for last words: %w", err)
	}
	return append(mounts, runtime.Mount{Source: source, Target: target}), nil
}

func mounted(mounts []runtime.Mount, target string) bool {
	for _, m := range mounts {
		if filepath.Clean(m.Target) == target {
			return true
		}
	}
	return false
}

func (v *Volumes) mount(p *corev1.Pod, c *corev1.Container, i int, w World) (runtime.Mount, error) {
	m := &c.VolumeMounts[i]
	vol := pod.VolumeNamed(p, m.Name)
	if vol == nil {
		return runtime.Mount{}, &runtime.ConfigError{Reason: fmt.Sprintf("volume %q is not in the pod", m.Name)}
	}
	source, err := v.source(p, vol, w)
	if err != nil {
		return runtime.Mount{}, err
	}
	sub, err := pod.SubPath(p, c, m, w.Snapshot, w.Place, w.Address)
	if err != nil {
		return runtime.Mount{}, err
	}
	if sub != "" {
		at := subPathAt(v.Dir(p.UID), c.Name, i)
		if err := bindSubPath(source, sub, at, !readOnly(vol)); err != nil {
			return runtime.Mount{}, &runtime.ConfigError{Reason: fmt.Sprintf("volume %q: %s", m.Name, err)}
		}
		source = at
	}
	recursive, err := pod.RecursiveReadOnly(m, w.Place.Features)
	if err != nil {
		return runtime.Mount{}, err
	}
	return runtime.Mount{
		Source: source, Target: m.MountPath, ReadOnly: m.ReadOnly || readOnly(vol), Recursive: recursive, Propagation: pod.Propagation(m),
	}, nil
}

// source is what containers mount of a volume.
func (v *Volumes) source(p *corev1.Pod, vol *corev1.Volume, w World) (string, error) {
	if claimName(p, vol) != "" {
		pv, err := claimed(p, vol, w.Snapshot)
		if err != nil {
			return "", fmt.Errorf("volume %q: %w", vol.Name, err)
		}
		return v.claimPath(pv)
	}
	if vol.Image == nil {
		return v.path(p.UID, vol), nil
	}
	for _, m := range w.Images {
		if m.Volume == vol.Name {
			return m.Path, nil
		}
	}
	return "", fmt.Errorf("volume %q: its image %s is not mounted", vol.Name, vol.Image.Reference)
}

// touch makes an empty file that any user of a container may write to.
func touch(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return err
	}
	return os.Chmod(path, 0o666)
}
