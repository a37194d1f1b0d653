// Package runtime says what this node needs of a container runtime: sandboxes (what the containers of a pod share) and
// containers. Implementations: runtime/containerd, and a fake for tests; both pass the suite in runtime/runtimetest.
//
// Every call is idempotent where it can be: making what is there and removing what is gone are no errors, so that a caller
// that crashed anywhere may simply look and go on.
package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

var (
	ErrNotFound = errors.New("not found")
	// ErrNoImage: the image is not on this machine. Pull it first.
	ErrNoImage = errors.New("image is not present")
	// ErrNotRunning: a command cannot be run in a container that is not started yet, or has ended.
	ErrNotRunning = errors.New("container is not running")
	// ErrNoInput: the container reads nothing, or its input was ended.
	ErrNoInput = errors.New("container has no input")
)

// A Runtime makes sandboxes and containers of pods on this machine. It is safe for concurrent use; calls for one pod come
// one at a time.
type Runtime interface {
	// Sandboxes is all that is here, also what an earlier process of this node made.
	Sandboxes(ctx context.Context) ([]Sandbox, error)
	// Sandbox is that of one pod, with its containers. ErrNotFound if there is none.
	Sandbox(ctx context.Context, pod types.UID) (Sandbox, error)

	// MakeSandbox makes namespaces, cgroup and shared memory, and returns what Sandbox would. One that is there but not
	// Ready is made anew: the containers that were in it are removed first.
	MakeSandbox(ctx context.Context, s SandboxSpec) (Sandbox, error)
	// RemoveSandbox removes it, and the containers that are still in it, and returns when nothing is left: no process,
	// mount, namespace, cgroup or file.
	RemoveSandbox(ctx context.Context, pod types.UID) error

	// MountImage shows the files of an image, read-only, in a folder of this machine, for a volume of a pod, until the sandbox
	// goes. One that is shown already stays what it is, whichever image is named. ErrNoImage if the image is not here,
	// ErrNotFound if the sandbox is not.
	MountImage(ctx context.Context, pod types.UID, volume, image string) (ImageMount, error)

	// Create makes a container in its pod's sandbox, ready to start. ErrNoImage if the image is not here, ErrNotFound if
	// the sandbox is not; what cannot be run with this image wraps *ConfigError.
	Create(ctx context.Context, c ContainerSpec) error
	// Start runs what Create made. An error that is the container's own fault (no such file, permission denied) wraps
	// *StartError; the container has then ended, with exit code 128 and the reason in Container.StartError.
	Start(ctx context.Context, id ID) error
	// Signal sends a signal to the container's first process. Nothing happens if it is not running.
	Signal(ctx context.Context, id ID, sig syscall.Signal) error
	// Remove removes a container, killing it if it runs.
	Remove(ctx context.Context, id ID) error
	// Exec runs a command in a running container, waits for its end and returns its exit code. When ctx ends the command is
	// killed, and the error is that of ctx. A command that cannot be run (no such file) wraps *StartError.
	Exec(ctx context.Context, id ID, x Exec) (int, error)
	// Output opens what a container writes. What was written while nobody read is there, as far as the pipe holds it. A
	// reader ends (io.EOF) when the container has ended and all is read. Only one reader at a time.
	Output(ctx context.Context, id ID) (stdout, stderr io.ReadCloser, err error)
	// Input opens what a running container reads. Closing it is no end that the container would see: others may write after
	// it. ErrNoInput if it was made without Stdin, or its input was ended.
	Input(ctx context.Context, id ID) (io.WriteCloser, error)
	// EndInput lets a container see the end of its input, once Input is closed. A terminal has none.
	EndInput(ctx context.Context, id ID) error
	// Resize sets the size of a container's terminal, if it has one.
	Resize(ctx context.Context, id ID, size Size) error

	// Written is how many bytes of disk a container has written to its own file system. ErrNotFound if it is not there.
	Written(ctx context.Context, id ID) (int64, error)

	// Events yields each pod that is here, and from then on those of which a container started or ended. It may name a pod
	// too often, and drops none while it runs. It ends with ctx, with its error.
	Events(ctx context.Context) iter.Seq2[types.UID, error]
}

// An ID names one run of one container of a pod: attempts count from 0.
type ID struct {
	Pod     types.UID
	Name    string
	Attempt int
}

func (id ID) String() string { return fmt.Sprintf("%s.%s.%d", id.Pod, id.Name, id.Attempt) }

// ParseID is the inverse of ID.String.
func ParseID(s string) (ID, error) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return ID{}, fmt.Errorf("parse container id %q: want pod.name.attempt", s)
	}
	n, err := strconv.Atoi(parts[2])
	if err != nil {
		return ID{}, fmt.Errorf("parse container id %q: %w", s, err)
	}
	return ID{Pod: types.UID(parts[0]), Name: parts[1], Attempt: n}, nil
}

// A SandboxSpec is what the containers of a pod will share.
type SandboxSpec struct {
	Pod             types.UID
	Namespace, Name string // of the pod, for people who look
	Hostname        string // of its UTS namespace; on the host's network it has the host's
	Handler         string // what runs its containers, as a RuntimeClass names it; empty: the usual one
	HostNetwork     bool
	HostIPC         bool              // shared memory and queues are the host's
	HostPID         bool              // its containers see the processes of the host
	SharePIDs       bool              // its containers see each other's processes, and nobody else's
	Sysctls         map[string]string // of its own namespaces; NamespaceOf says which there are
	QoS             string            // Guaranteed, Burstable, BestEffort: where the pod's cgroup stands
	Resources       Resources
	Labels          map[string]string // returned as they are
}

// Resources limit a cgroup. 0 is no limit.
type Resources struct {
	CPUShares   int64 // relative weight, cgroup v1 scale: 1024 is one core requested
	CPUQuota    int64 // microseconds of CPU in each CPUPeriod
	CPUPeriod   int64 // microseconds
	MemoryLimit int64 // bytes
	Pids        int64
	HugePages   map[string]int64 // bytes, by the size of a page as cgroups name it: 2MB, 1GB; here 0 is none
}

// A Sandbox is what is there.
type Sandbox struct {
	Pod             types.UID
	Namespace, Name string
	NetNS           string // path of its network namespace; empty with HostNetwork
	Created         time.Time
	Ready           bool // false: a crash or a reboot broke it; MakeSandbox makes it anew
	Labels          map[string]string
	Images          []ImageMount
	Containers      []Container // in the order of their creation
}

// An ImageMount is an image whose files are shown for a volume of a pod.
type ImageMount struct {
	Volume  string // its name in the pod
	Image   string // as MountImage was given it
	ImageID string // digest
	Path    string // of the folder that shows them
}

// A ContainerSpec is one run of a container.
type ContainerSpec struct {
	ID         ID
	Image      string   // as the image store names it: a reference, or a digest
	Command    []string // in place of the image's entrypoint
	Args       []string // in place of the image's arguments; without Command, after its entrypoint
	Env        []string // name=value, after the image's
	WorkingDir string   // in place of the image's
	Mounts     []Mount
	Resources  Resources
	TargetPIDs string // a running container of the pod whose processes it sees; empty: its own, or what the pod shares
	OOMScore   int    // as far as this machine lets it be set
	Security   Security
	StopSignal syscall.Signal // 0: the image's, else SIGTERM
	Stdin      bool           // it reads what Input is given; otherwise nothing
	TTY        bool           // it has a terminal: one output, stdout
	Labels     map[string]string
}

// Argv is the container's command line, for an image with this entrypoint and these arguments. It may be empty.
func (c ContainerSpec) Argv(entrypoint, args []string) []string {
	switch {
	case len(c.Command) > 0:
		return slices.Concat(c.Command, c.Args)
	case len(c.Args) > 0:
		return slices.Concat(entrypoint, c.Args)
	default:
		return slices.Concat(entrypoint, args)
	}
}

// A Mount shows a file or folder of this machine in a container.
type Mount struct {
	Source, Target string
	ReadOnly       bool
	Recursive      bool // what is mounted below Source is read-only too; with ReadOnly
	Propagation    Propagation
}

// Propagation says whether what is mounted below a mount later on one side is seen on the other.
type Propagation string

const (
	Private         Propagation = ""
	HostToContainer Propagation = "HostToContainer"
	Bidirectional   Propagation = "Bidirectional"
)

// Security is what a container may do. Its zero value is the usual set of capabilities under the usual seccomp profile.
type Security struct {
	UID, GID     *int64 // in place of the image's user
	Groups       []int64
	Privileged   bool
	ReadOnlyRoot bool
	NoNewPrivs   bool
	AddCaps      []string // without CAP_; "ALL"
	DropCaps     []string
	Unconfined   bool   // no seccomp profile
	Seccomp      string // in place of the usual profile: a file in the node's folder of profiles
	AppArmor     string // a profile that the kernel knows; AppArmorDefault: the usual one; empty: none
	RunAsNonRoot bool   // refuse to start as user 0
	StrictGroups bool   // not the groups in which the image has its user
	UnmaskedProc bool   // /proc as it is
}

// Features are what a Runtime can do on this machine, and not on every one.
type Features struct {
	AppArmor          bool
	SELinux           bool
	RecursiveReadOnly bool // Mount.Recursive
}

// AppArmorDefault names the usual AppArmor profile.
const AppArmorDefault = "runtime/default"

// State of a container.
type State string

const (
	Created State = "created"
	Running State = "running"
	Exited  State = "exited"
	Unknown State = "unknown" // its shim was killed, or it does not answer
)

// A Container is one that is there.
type Container struct {
	ID                ID
	State             State
	Image             string // as Create was given it
	ImageID           string // digest
	Created           time.Time
	Started, Finished time.Time // zero before that
	ExitCode          int
	OOMKilled         bool
	StartError        string         // why its program could not be run; then it is Exited
	StopSignal        syscall.Signal // to end it with
	Stdin, TTY        bool           // as Create was given them
	Cgroup            string         // its path; empty: it has none of its own
	Labels            map[string]string
}

// An Exec is a command to run in a container.
type Exec struct {
	Command        []string
	Stdin          io.Reader // may be nil, as the others; read until it ends, so the caller ends it
	Stdout, Stderr io.Writer // written at the same time
	TTY            bool
	Resize         <-chan Size
}

// Size of a terminal.
type Size struct{ Width, Height uint16 }

// A ConfigError is why a container cannot be made as it was asked for: it names a user that its image does not know, say.
type ConfigError struct{ Reason string }

func (e *ConfigError) Error() string { return e.Reason }

// A StartError is why a container's program could not be run.
type StartError struct{ Reason string }

func (e *StartError) Error() string { return e.Reason }
