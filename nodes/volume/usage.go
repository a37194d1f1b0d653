package volume

import (
	"context"
	"io/fs"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
)

// Usage is how much disk the empty folders of p use, and the logs of its containers, in bytes. It walks them, so it takes as
// long as they have files; what is not seen by the end of ctx counts nothing.
func (v *Volumes) Usage(ctx context.Context, p *corev1.Pod) pod.Storage {
	used := pod.Storage{Volumes: map[string]int64{}, Containers: map[string]int64{}}
	for i := range p.Spec.Volumes {
		if vol := &p.Spec.Volumes[i]; pod.OnDisk(vol) {
			used.Volumes[vol.Name], _ = DiskUsage(ctx, v.path(p.UID, vol))
		}
	}
	for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range containers {
			used.Containers[containers[i].Name] = v.logUsage(ctx, p.UID, containers[i].Name)
		}
	}
	return used
}

func (v *Volumes) logUsage(ctx context.Context, uid types.UID, container string) int64 {
	bytes, _ := DiskUsage(ctx, v.ContainerDir(uid, container))
	return bytes
}

// DiskUsage is what a folder and all below it take of the file system that it is on. A file with several names counts once,
// what is not seen by the end of ctx nothing, nor does a folder that is not there.
func DiskUsage(ctx context.Context, dir string) (bytes, inodes int64) {
	var root unix.Stat_t
	if unix.Lstat(dir, &root) != nil {
		return 0, 0
	}
	linked := map[uint64]bool{}
	// A file that goes, or cannot be looked at, while the rest is counted counts nothing: so there is no error.
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return fs.SkipAll
		}
		if err != nil {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		s, ok := info.Sys().(*syscall.Stat_t)
		switch {
		case !ok || linked[s.Ino]:
		case s.Dev != root.Dev && d.IsDir():
			return fs.SkipDir // it is only shown here
		default:
			bytes += s.Blocks * 512
			inodes++
			if s.Nlink > 1 && !d.IsDir() {
				linked[s.Ino] = true
			}
		}
		return nil
	})
	return bytes, inodes
}
