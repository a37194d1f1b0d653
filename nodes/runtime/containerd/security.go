package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/containerd/containerd/contrib/apparmor"
	hostarmor "github.com/containerd/containerd/pkg/apparmor"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/selinux/go-selinux"
	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

const (
	appArmorProfile = "mainstay-default"
	longestProfile  = 1 << 20 // bytes
)

// features finds out what this machine can do.
func features() runtime.Features {
	// Without a file the call says that it knows no such flags, no such file, or, before Linux 5.12, no such call.
	err := unix.MountSetattr(-1, "", unix.AT_RECURSIVE, &unix.MountAttr{})
	return runtime.Features{AppArmor: hostarmor.HostSupports(), SELinux: selinux.GetEnabled(), RecursiveReadOnly: !errors.Is(err, unix.ENOSYS)}
}

// Features are what containers may ask for on this machine.
func (r *Runtime) Features() runtime.Features { return r.host.features }

// ownSeccomp reads a seccomp profile from the node's folder; nil if none is asked for. Links that lead out of the folder are
// not followed.
func (r *Runtime) ownSeccomp(s runtime.Security) (*specs.LinuxSeccomp, error) {
	if s.Seccomp == "" || s.Unconfined {
		return nil, nil
	}
	data, err := readProfile(r.cfg.Seccomp, s.Seccomp)
	if err != nil {
		return nil, &runtime.ConfigError{Reason: fmt.Sprintf("cannot load seccomp profile %q from %s: %v", s.Seccomp, r.cfg.Seccomp, err)}
	}
	profile := &specs.LinuxSeccomp{}
	if err := json.Unmarshal(data, profile); err != nil {
		return nil, &runtime.ConfigError{Reason: fmt.Sprintf("seccomp profile %q in %s is no JSON of a profile: %v", s.Seccomp, r.cfg.Seccomp, err)}
	}
	if profile.DefaultAction == "" {
		return nil, &runtime.ConfigError{Reason: fmt.Sprintf("seccomp profile %q in %s names no defaultAction", s.Seccomp, r.cfg.Seccomp)}
	}
	return profile, nil
}

func readProfile(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("there is no such folder")
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may be a FIFO
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, longestProfile))
}

// confine sets the AppArmor profile that a container asks for, and loads the usual one if need be.
func confine(ctx context.Context, name string, s *specs.Spec) error {
	switch name {
	case "":
		return nil
	case runtime.AppArmorDefault:
		return apparmor.WithDefaultProfile(appArmorProfile)(ctx, nil, nil, s)
	}
	return apparmor.WithProfile(name)(ctx, nil, nil, s)
}
