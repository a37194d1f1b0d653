package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// A pin is a namespace of a pod, and the file that keeps it.
type pin struct {
	name string
	flag int
}

// pins are the namespaces that a pod has of its own.
func pins(hostNetwork bool) []pin {
	if hostNetwork {
		return []pin{{"ipc", unix.CLONE_NEWIPC}}
	}
	return []pin{{"net", unix.CLONE_NEWNET}, {"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}}
}

// pinNamespaces makes the namespaces of a pod, by a thread that enters them. Its goroutine ends locked to it, so that the
// thread ends too, and no other goroutine ever runs in them.
func pinNamespaces(dir string, s runtime.SandboxSpec) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		done <- unshare(dir, s)
	}()
	return <-done
}

func unshare(dir string, s runtime.SandboxSpec) error {
	flags := 0
	for _, p := range pins(s.HostNetwork) {
		flags |= p.flag
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	if !s.HostNetwork {
		if err := prepareNetwork(s.Hostname); err != nil {
			return err
		}
	}
	for _, p := range pins(s.HostNetwork) {
		file := filepath.Join(dir, p.name)
		if err := os.WriteFile(file, nil, 0o444); err != nil {
			return err
		}
		if err := unix.Mount("/proc/thread-self/ns/"+p.name, file, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("pin namespace at %s: %w", file, err)
		}
	}
	return nil
}

// prepareNetwork sets what a container expects to find: the pod's name, a loopback device, and that it may listen on any
// port and send pings whoever it runs as.
func prepareNetwork(hostname string) error {
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("set host name %q: %w", hostname, err)
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("set up loopback device: %w", err)
	}
	for name, value := range map[string]string{
		"net.ipv4.ip_unprivileged_port_start": "0",
		"net.ipv4.ping_group_range":           "0 2147483647",
	} {
		// The files show the namespaces of the thread that opens them.
		if err := os.WriteFile("/proc/sys/"+strings.ReplaceAll(name, ".", "/"), []byte(value), 0o644); err != nil {
			return fmt.Errorf("set sysctl %s: %w", name, err)
		}
	}
	return nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// pinned tells whether a file keeps a namespace. After a boot it is an empty file, or none.
func pinned(file string) bool {
	var st unix.Statfs_t
	return unix.Statfs(file, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// mountShm makes the memory that the containers of a pod share.
func mountShm(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("shm", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size=64m"); err != nil {
		return fmt.Errorf("mount shared memory at %s: %w", dir, err)
	}
	return nil
}

// unpin gives back all that is mounted in the folder of a pod, however much of it was made.
func unpin(dir string) error {
	var errs []error
	for _, name := range []string{"net", "ipc", "uts", "shm"} {
		errs = append(errs, unmount(filepath.Join(dir, name)))
	}
	return errors.Join(errs...)
}
