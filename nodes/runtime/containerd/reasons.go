package containerd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/content"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/images"
	"github.com/containerd/containerd/remotes/docker"
	remoteerrors "github.com/containerd/containerd/remotes/errors"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mainstay-gitops/mainstay/nodes/image"
)

// pullError gives a failed pull a reason that a program can tell, and a text that is short enough for a status.
func pullError(ref string, err error) error {
	out := &image.Error{Reason: image.Failed, Ref: ref, Host: image.Host(ref), Err: err}
	lacking, _ := errors.AsType[*platformsError](err)
	wrong, _ := errors.AsType[*configError](err)
	status, answered := errors.AsType[remoteerrors.ErrUnexpectedStatus](err)
	switch {
	case wrong != nil:
		out.Err = wrong
	case errors.Is(err, docker.ErrInvalidAuthorization),
		answered && (status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden):
		out.Reason = image.Unauthorized
	case answered && status.StatusCode == http.StatusNotFound:
		out.Reason = image.NotFound
	case answered:
		out.Err = fmt.Errorf("%s answers: %s", out.Host, status.Status)
	case blobStatus(err) != 0:
		out.Err = fmt.Errorf("%s answers: %d %s", out.Host, blobStatus(err), http.StatusText(blobStatus(err)))
	case unreachable(err) != nil:
		out.Reason, out.Err = image.Unreachable, unreachable(err)
	case lacking != nil:
		out.Err = lacking
	case otherPlatform(err):
		out.Err = errPlatform
	case errdefs.IsNotFound(err):
		out.Reason = image.NotFound
	}
	return out
}

// interrupted tells whether a pull ended for want of a connection, or was ended, so that what came of it is good.
func interrupted(ctx context.Context, err error) bool {
	if err == nil {
		return false
	}
	return ctx.Err() != nil || unreachable(err) != nil || errors.Is(err, io.ErrUnexpectedEOF) || blobStatus(err) >= http.StatusInternalServerError
}

// refusesParts tells whether a registry does not send a blob from the middle.
func refusesParts(err error) bool {
	return blobStatus(err) == http.StatusRequestedRangeNotSatisfiable
}

// blobStatus is what a registry answered in place of a blob; 0 if it is something else. containerd's client says it only in
// words.
func blobStatus(err error) int {
	if err == nil {
		return 0
	}
	m := regexp.MustCompile(`unexpected status code \S+: (\d{3})`).FindStringSubmatch(err.Error())
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// unreachable is the cause for which a registry does not answer, without the addresses and verbs around it; nil if it is
// something else.
func unreachable(err error) error {
	if errors.Is(err, errStalled) {
		return errStalled
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return errors.New(e.Err)
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return nil
}

// platformError says for which platforms an image is, if the one of this machine is not among them.
func (s *Images) platformError(ctx context.Context, desc ocispec.Descriptor, err error) error {
	if !otherPlatform(err) || !images.IsIndexType(desc.MediaType) {
		return err
	}
	blob, readErr := content.ReadBlob(ctx, s.client.ContentStore(), desc)
	if readErr != nil {
		return err
	}
	var index ocispec.Index
	if json.Unmarshal(blob, &index) != nil {
		return err
	}
	var has []string
	for _, m := range index.Manifests {
		if p := m.Platform; p != nil && p.OS != "unknown" { // attestations are listed as of an unknown platform
			has = append(has, platforms.Format(*p))
		}
	}
	slices.Sort(has)
	return &platformsError{want: platforms.DefaultString(), has: slices.Compact(has)}
}

// A platformsError is why an image for several platforms cannot run here.
type platformsError struct {
	want string
	has  []string
}

func (e *platformsError) Error() string {
	if len(e.has) == 0 {
		return fmt.Sprintf("it has no variant for %s, and names no other", e.want)
	}
	return fmt.Sprintf("it has no variant for %s, only for %s", e.want, strings.Join(e.has[:min(len(e.has), 10)], ", "))
}
