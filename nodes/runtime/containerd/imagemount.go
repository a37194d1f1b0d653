package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/mount"
	"github.com/containerd/containerd/snapshots"
	"github.com/moby/sys/mountinfo"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// An image that is a volume of a pod is a view of its files, mounted in the pod's folder. What it is stands in the labels of
// the view. One without the other is half made.
const (
	labelVolume  = "mainstay.dev/volume"
	labelImage   = "mainstay.dev/image"
	labelImageID = "mainstay.dev/image-id"
)

// volumePrefix begins the name of such a view.
const volumePrefix = "volume."

func volumeKey(uid types.UID, volume string) string {
	return volumePrefix + string(uid) + "." + volume
}

// imagesDir is the folder in that of a pod that has a folder for each image.
func imagesDir(podDir string) string { return filepath.Join(podDir, "images") }

func (r *Runtime) MountImage(ctx context.Context, uid types.UID, volume, image string) (runtime.ImageMount, error) {
	p, err := r.pod(uid)
	if err != nil {
		return runtime.ImageMount{}, err
	}
	box, _ := r.Sandbox(ctx, uid)
	if !box.Ready {
		return runtime.ImageMount{}, fmt.Errorf("sandbox of pod %s: %w", uid, runtime.ErrNotFound)
	}
	if i := slices.IndexFunc(box.Images, func(m runtime.ImageMount) bool { return m.Volume == volume }); i >= 0 {
		return box.Images[i], ctx.Err()
	}
	ctx, cancel := r.call(ctx)
	defer cancel()
	p.work.Lock()
	defer p.work.Unlock()
	m, err := r.mountImage(ctx, p, volume, image)
	if err != nil {
		return runtime.ImageMount{}, fmt.Errorf("mount image: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.box.Images = append(p.box.Images, m)
	return m, nil
}

func (r *Runtime) mountImage(ctx context.Context, p *pod, volume, image string) (runtime.ImageMount, error) {
	found, err := r.images.stored(ctx, image)
	if err != nil {
		return runtime.ImageMount{}, err
	}
	m := runtime.ImageMount{Volume: volume, Image: image, ImageID: found.ID, Path: filepath.Join(imagesDir(p.dir), volume)}
	if err := r.dropImage(ctx, p.box.Pod, volume, m.Path); err != nil { // what a crash left half made
		return m, err
	}
	err = r.showImage(ctx, p.box.Pod, m, found.chain)
	if errdefs.IsNotFound(err) {
		if err = r.images.unpack(ctx, found); err == nil {
			err = r.showImage(ctx, p.box.Pod, m, found.chain)
		}
	}
	if err != nil {
		late, cancel := r.call(context.WithoutCancel(ctx))
		defer cancel()
		return m, errors.Join(err, r.dropImage(late, p.box.Pod, volume, m.Path))
	}
	return m, nil
}

// showImage makes the view and mounts it. Its folder is made first: it leads to the rest.
func (r *Runtime) showImage(ctx context.Context, uid types.UID, m runtime.ImageMount, chain string) error {
	if err := os.MkdirAll(m.Path, 0o755); err != nil {
		return err
	}
	labels := keep()
	labels[labelPod], labels[labelVolume], labels[labelImage], labels[labelImageID] = string(uid), m.Volume, m.Image, m.ImageID
	mounts, err := r.snapshots.View(ctx, volumeKey(uid, m.Volume), chain, snapshots.WithLabels(labels))
	if err != nil {
		return err
	}
	return mount.All(mounts, m.Path)
}

// dropImage undoes showImage, however much of it was done.
func (r *Runtime) dropImage(ctx context.Context, uid types.UID, volume, path string) error {
	if err := unmount(path); err != nil {
		return err
	}
	if err := ignoreNotFound(r.snapshots.Remove(ctx, volumeKey(uid, volume))); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// dropImages gives back all images of a pod.
func (r *Runtime) dropImages(ctx context.Context, dir string, uid types.UID) error {
	entries, err := os.ReadDir(imagesDir(dir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if err := r.dropImage(ctx, uid, e.Name(), filepath.Join(imagesDir(dir), e.Name())); err != nil {
			return fmt.Errorf("unmount the image of volume %q: %w", e.Name(), err)
		}
	}
	return nil
}

// loadImages finds the images that earlier processes mounted, and clears away what they had half made, or a boot left.
func (r *Runtime) loadImages(ctx context.Context) error {
	var views []snapshots.Info
	err := r.snapshots.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if isVolume(info) {
			views = append(views, info)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	for _, view := range views {
		uid := types.UID(view.Labels[labelPod])
		m := runtime.ImageMount{Volume: view.Labels[labelVolume], Image: view.Labels[labelImage], ImageID: view.Labels[labelImageID]}
		m.Path = filepath.Join(imagesDir(r.podDir(uid)), m.Volume)
		mounted, err := mountinfo.Mounted(m.Path)
		p, known := r.pods[uid]
		switch {
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return err
		case mounted && known:
			p.box.Images = append(p.box.Images, m)
		default:
			if err := r.dropImage(ctx, uid, m.Volume, m.Path); err != nil {
				return fmt.Errorf("clear away an image of pod %s: %w", uid, err)
			}
		}
	}
	return nil
}

// isVolume tells whether a snapshot is the view of an image that is a volume.
func isVolume(info snapshots.Info) bool {
	pod, volume := info.Labels[labelPod], info.Labels[labelVolume]
	return volume != "" && info.Name == volumeKey(types.UID(pod), volume)
}
