package containerd

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// A pin is a namespace of a pod, and the file that keeps it.
type pin struct {
	name string
	flag int
}

// pins are the namespaces that a pod has of its own, but for that of processes.
func pins(s runtime.SandboxSpec) []pin {
	var out []pin
	if !s.HostNetwork {
		out = append(out, pin{"net", unix.CLONE_NEWNET}, pin{"uts", unix.CLONE_NEWUTS})
	}
	if !s.HostIPC {
		out = append(out, pin{"ipc", unix.CLONE_NEWIPC})
	}
	return out
}

// pinNamespaces makes the namespaces of a pod, by a thread that enters them, and starts the pause process if its
// containers share processes.
func pinNamespaces(dir string, s runtime.SandboxSpec) (pause *halfPause, err error) {
	err = onThreadOfItsOwn(func() error {
		err := unshare(dir, s)
		if err == nil && s.SharePIDs {
			pause, err = forkPause(dir)
		}
		return err
	})
	return pause, err
}

// onThreadOfItsOwn does something on a thread that ends with it, so that no other goroutine ever runs in the namespaces that
// it enters. The first thread of a process never ends, and is what /proc/self shows: it is not the one.
func onThreadOfItsOwn(do func() error) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread() // for good: this is what ends the thread
		if unix.Gettid() == unix.Getpid() {
			done <- onThreadOfItsOwn(do) // another, while this one is held
			goruntime.UnlockOSThread()
			return
		}
		done <- do()
	}()
	return <-done
}

func unshare(dir string, s runtime.SandboxSpec) error {
	flags := 0
	for _, p := range pins(s) {
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
	if err := setSysctls(s); err != nil {
		return err
	}
	for _, p := range pins(s) {
		if err := pinFile("/proc/thread-self/ns/"+p.name, filepath.Join(dir, p.name)); err != nil {
			return err
		}
	}
	return nil
}

// pinFile keeps a namespace by a file.
func pinFile(namespace, file string) error {
	if err := os.WriteFile(file, nil, 0o444); err != nil {
		return err
	}
	if err := unix.Mount(namespace, file, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("pin namespace at %s: %w", file, err)
	}
	return nil
}

// setSysctls sets those of the namespaces that this thread has of its own: never one of the host.
func setSysctls(s runtime.SandboxSpec) error {
	own := map[string]bool{"net": !s.HostNetwork, "ipc": !s.HostIPC}
	for _, name := range slices.Sorted(maps.Keys(s.Sysctls)) {
		if path := runtime.SysctlPath(name); !own[runtime.NamespaceOf(name)] || path != filepath.Clean(path) {
			return fmt.Errorf("set sysctl %s: the pod has none of its own", name)
		}
		if err := setSysctl(name, s.Sysctls[name]); err != nil {
			return err
		}
	}
	return nil
}

// setSysctl writes a file that shows the namespaces of the thread that opens it.
func setSysctl(name, value string) error {
	if err := os.WriteFile(filepath.Join("/proc/sys", runtime.SysctlPath(name)), []byte(value), 0o644); err != nil {
		return fmt.Errorf("set sysctl %s to %q: %w", name, value, err)
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
		if err := setSysctl(name, value); err != nil {
			return err
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

// unpin gives back all that is mounted in the folder of a pod, however much of it was made: what pods have by name, and
// what containers have.
func unpin(dir string) error {
	var errs []error
	for _, name := range []string{"net", "ipc", "uts", "pid", "shm"} {
		errs = append(errs, unmount(filepath.Join(dir, name)))
	}
	targets, err := filepath.Glob(filepath.Join(dir, "*"+targetSuffix))
	for _, file := range targets {
		errs = append(errs, unmount(file))
	}
	return errors.Join(append(errs, err)...)
}
