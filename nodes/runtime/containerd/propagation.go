package containerd

import (
	"fmt"
	"strings"

	"github.com/containerd/containerd/mount"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// bind is a mount as runc is told of it.
func bind(m runtime.Mount) specs.Mount {
	options := []string{"rbind", "rprivate", "rw"}
	switch m.Propagation {
	case runtime.HostToContainer:
		options[1] = "rslave"
	case runtime.Bidirectional:
		options[1] = "rshared"
	}
	if m.ReadOnly {
		options[2] = "ro"
		if m.Recursive {
			options = append(options, "rro")
		}
	}
	return specs.Mount{Destination: m.Target, Type: "bind", Source: m.Source, Options: options}
}

// rootPropagation is what the container's root must have for the propagation of its mounts; empty: runc's own choice.
func rootPropagation(mounts []runtime.Mount) string {
	out := ""
	for _, m := range mounts {
		switch {
		case m.Propagation == runtime.Bidirectional:
			return "rshared"
		case m.Propagation == runtime.HostToContainer:
			out = "rslave"
		}
	}
	return out
}

// checkPropagation tells what of this machine's mounts lets no mount through.
func checkPropagation(mounts []runtime.Mount) error {
	for _, m := range mounts {
		if m.Propagation == runtime.Private {
			continue
		}
		on, err := mount.Lookup(m.Source)
		if err != nil {
			return fmt.Errorf("mount %s: %w", m.Source, err)
		}
		shared, slave := strings.Contains(on.Optional, "shared:"), strings.Contains(on.Optional, "master:")
		if !shared && (m.Propagation == runtime.Bidirectional || !slave) {
			return &runtime.ConfigError{Reason: fmt.Sprintf(
				"mount %s: mountPropagation is %s, and on this node %s is not a shared mount; run: mount --make-rshared %s",
				m.Target, m.Propagation, on.Mountpoint, on.Mountpoint)}
		}
	}
	return nil
}
