package runtime

import "strings"

// NamespaceOf is the namespace of a pod, "net" or "ipc", that has a kernel parameter of its own; empty for one that is the
// whole machine's.
func NamespaceOf(sysctl string) string {
	name := strings.ReplaceAll(SysctlPath(sysctl), "/", ".")
	switch {
	case strings.HasPrefix(name, "net."):
		return "net"
	case strings.HasPrefix(name, "fs.mqueue."), strings.HasPrefix(name, "kernel.shm"), strings.HasPrefix(name, "kernel.msg"), name == "kernel.sem":
		return "ipc"
	}
	return ""
}

// SysctlPath is the file of a kernel parameter, below /proc/sys. Names are written with dots or with slashes; whichever
// comes first separates, and the other is part of a name, as in net/ipv4/conf/eth0.1/forwarding.
func SysctlPath(name string) string {
	if i := strings.IndexAny(name, "./"); i < 0 || name[i] == '/' {
		return name
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, name)
}
