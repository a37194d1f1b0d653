// Package image sees to it that images are on this machine: by a pull from a registry, as the pull policy has it, or by
// the import of an archive.
package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/distribution/reference"
)

// Local is the registry that is none: its images are imported, and never pulled.
const Local = "mainstay.local"

// A Store is what this package needs of a container runtime. References are normalised. It is safe for concurrent use.
type Store interface {
	// Get is an image that is here, ready to run. ErrNotFound.
	Get(ctx context.Context, ref string) (Image, error)
	// Pull brings an image from its registry, which is asked also if the image is here. What is known of a failure is an
	// *Error. What came of a pull that was interrupted is kept for a while, and the next one goes on from there.
	Pull(ctx context.Context, ref string, auth Auth, f Follow) (Image, error)
	// Import takes an archive, of "docker save" or of the OCI layout, and returns the images that were in it. They are
	// kept until Remove, whatever room is needed: the archive may exist nowhere else.
	Import(ctx context.Context, archive io.Reader) ([]Image, error)
	// List is what is here.
	List(ctx context.Context) ([]Image, error)
	// Remove removes a reference, and what nothing else refers to. One that is not there is no error.
	Remove(ctx context.Context, ref string) error
	// Disk is the one that they are kept on.
	Disk(ctx context.Context) (Disk, error)
}

// Follow is what the caller of a pull wants to hear of it. Either may be nil.
type Follow struct {
	// Turn is called at most once, when the registry has said what the image is and before the bytes of it are fetched
	// that are not here. It returns when they may be, or with an error, which ends the pull.
	Turn func(context.Context) error
	// Progress is called a few times a second with the bytes that came and those that are to come, as far as known.
	Progress func(done, total int64)
}

// An Image is one that is here.
type Image struct {
	Ref    string    // normalised, as Runtime.Create takes it
	ID     string    // digest of its manifest, or of its list of manifests: changes if the reference moves
	Size   int64     // bytes, as a registry keeps it
	Since  time.Time // when this reference came to mean this image
	Loaded bool      // it came by Import
	Config Config
}

// Config is what an image says of how to run it.
type Config struct {
	Entrypoint, Cmd []string
	Env             []string // name=value
	User            string   // name or number, or both of user and group
	WorkingDir      string
	StopSignal      string // as "SIGTERM"; empty: it does not say
}

// Auth is what a registry is shown. Its zero value is nobody.
type Auth struct {
	Username, Password string // without a name, the password is an identity token
}

// Normalize completes a reference as docker does: "web:v1" is docker.io/library/web:v1, no tag is :latest, and of a tag
// with a digest the digest counts. An error is an *Error with reason InvalidName.
func Normalize(ref string) (string, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", &Error{Reason: InvalidName, Ref: ref, Err: err}
	}
	return named.String(), nil
}

// Host is the registry of a normalised reference, as "docker.io".
func Host(ref string) string {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return ""
	}
	return reference.Domain(named)
}

// A Policy says when to pull; its values are those of Kubernetes.
type Policy string

const (
	Always       Policy = "Always"
	IfNotPresent Policy = "IfNotPresent"
	Never        Policy = "Never"
)

// DefaultPolicy is that of a container which names none: Always for the tag latest and for no tag, else IfNotPresent.
func DefaultPolicy(ref string) Policy {
	named, err := reference.ParseDockerRef(ref)
	if tagged, ok := named.(reference.Tagged); err == nil && ok && tagged.Tag() == "latest" {
		return Always
	}
	return IfNotPresent
}

// ErrNotFound: the image is not on this machine.
var ErrNotFound = errors.New("not found")

// A Reason is why an image cannot be had, in terms that a program can tell apart.
type Reason string

const (
	InvalidName  Reason = "InvalidName"  // the reference is none
	NeverPull    Reason = "NeverPull"    // it is not here, and the policy is Never
	NotFound     Reason = "NotFound"     // neither here nor in the registry
	Unauthorized Reason = "Unauthorized" // the registry does not let these credentials have it
	Unreachable  Reason = "Unreachable"  // the registry does not answer
	Failed       Reason = "Failed"       // anything else
)

// An Error is why an image cannot be had. Its text is short enough for a status.
type Error struct {
	Reason Reason
	Ref    string
	Host   string // of the registry that was asked
	Err    error  // more of it; may be nil
}

func (e *Error) Error() string {
	switch e.Reason {
	case InvalidName:
		return fmt.Sprintf("couldn't parse image name %q: %v", e.Ref, e.Err)
	case NeverPull:
		return fmt.Sprintf("Container image %q is not present with pull policy of Never", e.Ref)
	case NotFound:
		if Host(e.Ref) == Local {
			return fmt.Sprintf("image %s not found (images of %s are imported on the node, never pulled)", e.Ref, Local)
		}
		return fmt.Sprintf("image %s not found", e.Ref)
	case Unauthorized:
		return fmt.Sprintf("image %s: %s refuses access; check the pull secret, and that the image exists", e.Ref, e.Host)
	case Unreachable:
		return fmt.Sprintf("image %s: cannot reach %s: %v", e.Ref, e.Host, e.Err)
	default:
		return fmt.Sprintf("image %s: %v", e.Ref, e.Err)
	}
}

func (e *Error) Unwrap() error { return e.Err }
