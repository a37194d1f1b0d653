package volume

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// isMountPoint tells whether something is mounted at path. What is not there is none.
func isMountPoint(path string) (bool, error) {
	is, err := mountinfo.Mounted(path)
	if isNotExist(err) {
		return false, nil
	}
	return is, err
}

// mountMemory mounts a tmpfs, one that is never swapped out where the kernel can.
func mountMemory(path, options string) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	err := unix.Mount("tmpfs", path, "tmpfs", flags, options+",noswap")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("tmpfs", path, "tmpfs", flags, options)
	}
	if err != nil {
		return fmt.Errorf("mount a tmpfs at %s: %w", path, err)
	}
	return nil
}

// unmountUnder unmounts all that is mounted at dir or below, and returns nil only when nothing is: what is removed below
// it then is the pod's own.
func unmountUnder(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if isNotExist(err) {
		return nil
	} else if err != nil {
		return err
	}
	for range 100 { // mounts may be stacked
		mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
		if err != nil || len(mounts) == 0 {
			return err
		}
		slices.SortFunc(mounts, func(a, b *mountinfo.Info) int { return strings.Compare(b.Mountpoint, a.Mountpoint) })
		for _, m := range mounts {
			err := unix.Unmount(m.Mountpoint, unix.UMOUNT_NOFOLLOW)
			if errors.Is(err, unix.EBUSY) {
				err = unix.Unmount(m.Mountpoint, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
			}
			if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("unmount %s: %w", m.Mountpoint, err)
			}
		}
	}
	return fmt.Errorf("unmount %s: something is mounted there again and again", dir)
}
