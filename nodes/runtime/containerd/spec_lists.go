package containerd

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// maskedPaths and readonlyPaths are what container runtimes hide of /proc and /sys by common agreement: it tells of the
// host, or changes it.
func maskedPaths() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// usualCapabilities are those of a container that asks for nothing else.
func usualCapabilities() []string {
	return []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
		"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
}

// capabilities that a container has, as far as this process has them to give. A user other than root has them only in its
// bounding set: what it runs gets them by file capabilities or not at all.
func (p plan) capabilities() *specs.LinuxCapabilities {
	set := wanted(p.container.Security, p.host.capabilities)
	return &specs.LinuxCapabilities{Bounding: set, Permitted: set, Effective: set}
}

// wanted is the usual set with what is added and without what is dropped. Dropping ALL leaves what is added; adding ALL,
// or being privileged, is having all that there are.
func wanted(s runtime.Security, have []string) []string {
	set := usualCapabilities()
	add, drop := capNames(s.AddCaps), capNames(s.DropCaps)
	if slices.Contains(drop, "CAP_ALL") {
		set = nil
	}
	if s.Privileged || slices.Contains(add, "CAP_ALL") {
		set = have
	}
	var out []string
	for _, c := range have {
		asked := slices.Contains(set, c) && !slices.Contains(drop, c) || slices.Contains(add, c)
		if asked || s.Privileged {
			out = append(out, c)
		}
	}
	slices.Sort(out)
	return out
}

func capNames(short []string) []string {
	out := make([]string, 0, len(short))
	for _, s := range short {
		out = append(out, "CAP_"+strings.TrimPrefix(strings.ToUpper(s), "CAP_"))
	}
	return out
}

// mounts are the file systems that every container has, and then its own.
func (p plan) mounts() []specs.Mount {
	access := "ro"
	if p.container.Security.Privileged {
		access = "rw"
	}
	shm := path.Join(p.dir, "shm")
	if p.pod.HostIPC {
		shm = "/dev/shm"
	}
	out := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev/shm", Type: "bind", Source: shm, Options: []string{"rbind", "nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
	}
	for _, m := range sorted(p.container.Mounts) {
		out = append(out, bind(m))
	}
	return out
}

// sorted puts what is mounted in another mount behind it.
func sorted(mounts []runtime.Mount) []runtime.Mount {
	return slices.SortedStableFunc(slices.Values(mounts), func(a, b runtime.Mount) int {
		return strings.Count(path.Clean(a.Target), "/") - strings.Count(path.Clean(b.Target), "/")
	})
}
