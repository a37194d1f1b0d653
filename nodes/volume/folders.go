package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func meta(ns, name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: ns, Name: name} }

// makeEmpty makes an empty folder, on disk or in memory. One that is there is left as it is.
func makeEmpty(path string, e *corev1.EmptyDirVolumeSource, group *int64) error {
	if e.Medium == corev1.StorageMediumMemory {
		mounted, err := isMountPoint(path)
		if err != nil || mounted {
			return err
		}
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		return mountMemory(path, memoryOptions(e, group))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(path, unfinished); err != nil {
		info, e := os.Lstat(path)
		if e != nil || info.Mode().Perm() != unfinished {
			return e // it was finished, and is the pod's since
		}
	}
	if group != nil {
		if err := os.Chown(path, -1, int(*group)); err != nil {
			return err
		}
	}
	return os.Chmod(path, emptyMode(e, group))
}

// unfinished is the mode of a folder until it is as it should be: one that a crash left so is finished later.
const unfinished fs.FileMode = 0

func emptyMode(e *corev1.EmptyDirVolumeSource, group *int64) fs.FileMode {
	mode := fs.FileMode(0o777)
	if e.Mode != nil {
		mode = fs.FileMode(*e.Mode).Perm()
		if *e.Mode&0o1000 != 0 {
			mode |= fs.ModeSticky
		}
	}
	if group != nil {
		mode |= 0o770 | fs.ModeSetgid
	}
	return mode
}

func memoryOptions(e *corev1.EmptyDirVolumeSource, group *int64) string {
	mode := emptyMode(e, group)
	bits := uint32(mode.Perm())
	if mode&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if mode&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	o := fmt.Sprintf("mode=%04o", bits)
	if group != nil {
		o += fmt.Sprintf(",gid=%d", *group)
	}
	if e.SizeLimit != nil && e.SizeLimit.Value() > 0 {
		o += fmt.Sprintf(",size=%d", e.SizeLimit.Value())
	}
	return o
}

// checkHostPath makes or checks what a hostPath volume shows, as its type asks.
func checkHostPath(h *corev1.HostPathVolumeSource) error {
	want := corev1.HostPathUnset
	if h.Type != nil {
		want = *h.Type
	}
	switch want {
	case corev1.HostPathUnset:
		if _, err := os.Lstat(h.Path); isNotExist(err) {
			return os.MkdirAll(h.Path, 0o755)
		}
		return nil
	case corev1.HostPathDirectoryOrCreate:
		if err := os.MkdirAll(h.Path, 0o755); err != nil && !errors.Is(err, syscall.ENOTDIR) {
			return err
		}
	case corev1.HostPathFileOrCreate:
		f, err := os.OpenFile(h.Path, os.O_CREATE|os.O_RDONLY, 0o644)
		switch {
		case err == nil:
			f.Close()
		case !errors.Is(err, syscall.ENXIO) && !errors.Is(err, syscall.EISDIR): // else it is there, and something else
			return err
		}
	}
	info, err := os.Stat(h.Path)
	if err != nil || !hostPathIs(want, info.Mode()) {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", h.Path, hostPathName(want))
	}
	return nil
}

// hostPathName is what people call what a type asks for.
func hostPathName(want corev1.HostPathType) string {
	switch want {
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		return "directory"
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		return "file"
	case corev1.HostPathSocket:
		return "socket file"
	case corev1.HostPathCharDev:
		return "character device"
	}
	return "block device"
}

func hostPathIs(want corev1.HostPathType, m fs.FileMode) bool {
	switch want {
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		return m.IsDir()
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		return m.IsRegular()
	case corev1.HostPathSocket:
		return m&fs.ModeSocket != 0
	case corev1.HostPathCharDev:
		return m&fs.ModeCharDevice != 0
	case corev1.HostPathBlockDev:
		return m&fs.ModeDevice != 0 && m&fs.ModeCharDevice == 0
	}
	return false
}
