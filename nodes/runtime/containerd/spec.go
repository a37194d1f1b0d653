package containerd

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/contrib/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// plan is all that the OCI spec of a container follows from.
type plan struct {
	container runtime.ContainerSpec
	pod       runtime.SandboxSpec
	image     image.Config
	user      user
	dir       string // of the pod: its pinned namespaces and shared memory
	cgroup    string // of the container
	group     string // containers of one group share a shim
	host      host
	devices   []specs.LinuxDevice // of the host, for a privileged container
	seccomp   *specs.LinuxSeccomp // in place of the usual one; nil: none
	target    string              // file of the PID namespace of another container; empty: none
}

// host is what this machine lets containers have.
type host struct {
	capabilities []string // that this process has itself
	leastOOM     int      // lowest oom_score_adj that it may set
	v2           bool     // cgroups are v2
	swap         bool     // can be limited
	hugePages    bool     // can be limited
	features     runtime.Features
}

// shimGroup is the annotation by which containers share a shim.
const shimGroup = "io.containerd.runc.v2.group"

// spec is what runc is given.
func (p plan) spec() *specs.Spec {
	c := p.container
	s := &specs.Spec{
		Version:     "1.0.2", // which runc 1.1 understands, and later ones too
		Root:        &specs.Root{Path: "rootfs", Readonly: c.Security.ReadOnlyRoot},
		Annotations: map[string]string{shimGroup: p.group},
		Process: &specs.Process{
			Terminal:        c.TTY,
			Args:            c.Argv(p.image.Entrypoint, p.image.Cmd),
			Env:             p.env(),
			Cwd:             orElse(c.WorkingDir, orElse(p.image.WorkingDir, "/")),
			User:            specs.User{UID: p.user.uid, GID: p.user.gid, AdditionalGids: p.user.groups},
			Capabilities:    p.capabilities(),
			NoNewPrivileges: c.Security.NoNewPrivs,
			OOMScoreAdj:     new(max(c.OOMScore, p.host.leastOOM)),
		},
		Mounts: p.mounts(),
		Linux: &specs.Linux{
			Namespaces:  p.namespaces(),
			CgroupsPath: p.cgroup,
			Resources:   p.resources(),

			RootfsPropagation: rootPropagation(c.Mounts),
		},
	}
	if c.Security.Privileged {
		s.Linux.Devices = p.devices
		return s
	}
	if !c.Security.UnmaskedProc {
		s.Linux.MaskedPaths = maskedPaths()
		s.Linux.ReadonlyPaths = readonlyPaths()
	}
	switch {
	case c.Security.Unconfined:
	case p.seccomp != nil:
		s.Linux.Seccomp = p.seccomp
	default:
		s.Linux.Seccomp = seccompProfile(s)
	}
	return s
}

// seccompProfile is the usual one, made for the capabilities that s has. It leaves out the x32 ABI, which hardly a kernel
// still has on: a third of what the filter costs at each start, and that is a sixth of the whole start.
func seccompProfile(s *specs.Spec) *specs.LinuxSeccomp {
	p := seccomp.DefaultProfile(s)
	p.Architectures = slices.DeleteFunc(p.Architectures, func(a specs.Arch) bool { return a == specs.ArchX32 })
	return p
}

func orElse(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// terminal is the variable that programs with a terminal want.
const terminal = "TERM=xterm"

// env is a PATH and the host's name, which the image may change, and the container after it.
func (p plan) env() []string {
	var out []string
	index := map[string]int{}
	defaults := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if !p.pod.HostNetwork {
		defaults = append(defaults, "HOSTNAME="+p.pod.Hostname)
	}
	if p.container.TTY {
		defaults = append(defaults, terminal)
	}
	for _, e := range slices.Concat(defaults, p.image.Env, p.container.Env) {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := index[name]; ok {
			out[i] = e
			continue
		}
		index[name] = len(out)
		out = append(out, e)
	}
	return out
}

// namespaces are the pod's, by their pinned files, and the container's own. What it has none of is the host's: on the host's
// network its name too.
func (p plan) namespaces() []specs.LinuxNamespace {
	var out []specs.LinuxNamespace
	switch {
	case p.pod.HostPID:
	case p.pod.SharePIDs:
		out = append(out, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: path.Join(p.dir, "pid")})
	default:
		out = append(out, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: p.target})
	}
	out = append(out, specs.LinuxNamespace{Type: specs.MountNamespace})
	if !p.pod.HostIPC {
		out = append(out, specs.LinuxNamespace{Type: specs.IPCNamespace, Path: path.Join(p.dir, "ipc")})
	}
	if !p.pod.HostNetwork {
		out = append(out,
			specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: path.Join(p.dir, "net")},
			specs.LinuxNamespace{Type: specs.UTSNamespace, Path: path.Join(p.dir, "uts")})
	}
	if p.host.v2 && !p.container.Security.Privileged {
		out = append(out, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return out
}

func (p plan) resources() *specs.LinuxResources {
	r := p.container.Resources
	out := &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: p.container.Security.Privileged, Access: "rwm"}},
		CPU:     &specs.LinuxCPU{},
	}
	if r.CPUShares > 0 {
		out.CPU.Shares = new(uint64(r.CPUShares))
	}
	if r.CPUQuota > 0 {
		out.CPU.Quota = new(r.CPUQuota)
		out.CPU.Period = new(uint64(100_000))
		if r.CPUPeriod > 0 {
			out.CPU.Period = new(uint64(r.CPUPeriod))
		}
	}
	if r.MemoryLimit > 0 {
		out.Memory = &specs.LinuxMemory{Limit: new(r.MemoryLimit)}
		if p.host.swap {
			out.Memory.Swap = new(r.MemoryLimit) // memory and swap together: no swap
		}
	}
	if r.Pids > 0 {
		out.Pids = &specs.LinuxPids{Limit: r.Pids}
	}
	if p.host.hugePages {
		for _, size := range slices.Sorted(maps.Keys(r.HugePages)) {
			out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: size, Limit: uint64(r.HugePages[size])})
		}
	}
	if p.host.v2 {
		out.Unified = map[string]string{"memory.oom.group": "1"} // a container dies as a whole
	}
	return out
}
