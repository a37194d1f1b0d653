package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// bindSubPath shows the part of a volume at sub at a place of its own, and returns that place. A container may mount it:
// whatever others do to the volume meanwhile, it leads to what was found here. The way is walked by the kernel, which
// follows no link out of the volume. In a volume that containers may write to, folders that are missing are made.
func bindSubPath(volume, sub, at string, mayMake bool) error {
	part, err := openBeneath(volume, sub, mayMake)
	if err != nil {
		return fmt.Errorf("subPath %q: %w", sub, err)
	}
	defer unix.Close(part)
	if err := unmountUnder(at); err != nil {
		return err
	}
	if err := makeTarget(part, at); err != nil {
		return err
	}
	tree, err := unix.OpenTree(part, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("bind subPath %q: %w", sub, err)
	}
	defer unix.Close(tree)
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("bind subPath %q: %w", sub, err)
	}
	return nil
}

// makeTarget makes a file or folder at the path, whichever what is to be mounted there is.
func makeTarget(part int, at string) error {
	var st unix.Stat_t
	if err := unix.Fstat(part, &st); err != nil {
		return err
	}
	folder := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if info, err := os.Lstat(at); err == nil && info.IsDir() != folder {
		if err := os.Remove(at); err != nil {
			return err
		}
	}
	if folder {
		return os.MkdirAll(at, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(at, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS

// openBeneath opens what is at sub inside dir, as a place only (O_PATH).
func openBeneath(dir, sub string, mayMake bool) (int, error) {
	if !filepath.IsLocal(sub) {
		return -1, errors.New("it does not lead into the volume")
	}
	root, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: beneath}
	fd, err := openat2(root, sub, &how)
	if !errors.Is(err, unix.ENOENT) || !mayMake {
		unix.Close(root)
		return fd, err
	}
	at := root
	for _, name := range strings.Split(filepath.Clean(sub), "/") {
		next, err := openOrMake(at, name)
		unix.Close(at)
		if err != nil {
			return -1, err
		}
		at = next
	}
	return at, nil
}

// openOrMake opens name in the folder at, making a folder if there is nothing of that name. Links are not followed: on
// this way something is missing, and what is there may change.
func openOrMake(at int, name string) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: beneath | unix.RESOLVE_NO_SYMLINKS}
	fd, err := openat2(at, name, &how)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	if err := unix.Mkdirat(at, name, 0o750); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	return openat2(at, name, &how)
}

// openat2 opens, and tries again when the kernel could not be sure of the way because somebody moved things about.
func openat2(at int, name string, how *unix.OpenHow) (int, error) {
	for range 100 {
		fd, err := unix.Openat2(at, name, how)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}

// subPathAt is where a mount of a container finds its part of a volume.
func subPathAt(podDir, container string, mount int) string {
	return filepath.Join(podDir, ".subpaths", container, strconv.Itoa(mount))
}
