package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// pull has an image here, in the background. What became of it comes by mail.
func (a *Agent) pull(w *worker, want *corev1.Pod, s *store.Snapshot, step pod.Step) {
	if w.seen.Images == nil {
		w.seen.Images = map[string]pod.Image{}
	}
	w.seen.Images[step.Container] = pod.Image{Attempt: step.Attempt, Pulling: true}
	ctx, end := context.WithCancel(a.life)
	if w.pulls == nil {
		w.pulls = map[string]context.CancelFunc{}
	}
	w.pulls[step.Container] = end
	c := pod.ContainerNamed(want, step.Container)
	r := a.request(want, c, s)
	a.spawn(func() {
		defer end()
		begun := a.cfg.Now()
		got, err := a.cfg.Images.Get(ctx, r)
		if ctx.Err() != nil {
			a.post(w, func(w *worker) { delete(w.seen.Images, step.Container) })
			return
		}
		a.pulled(want, c, got, a.cfg.Now().Sub(begun), err)
		a.post(w, func(w *worker) {
			if err != nil {
				delete(w.seen.Images, step.Container)
				w.fail(step, a.cfg.Now(), pullReason(err), pullMessage(c, err))
				return
			}
			delete(w.seen.Failed, step.Move())
			w.seen.Images[step.Container] = pod.Image{Attempt: step.Attempt, Name: got.Ref}
		})
	})
}

// request is what a container's image is asked for with.
func (a *Agent) request(want *corev1.Pod, c *corev1.Container, s *store.Snapshot) image.Request {
	auths, missing := credentials(want, c.Image, s)
	return image.Request{
		Ref: c.Image, Policy: image.Policy(c.ImagePullPolicy), Auths: auths,
		Pulling: func() {
			if len(missing) > 0 {
				a.podEvent(want, warning("FailedToRetrieveImagePullSecret", "", fmt.Sprintf(
					"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", "))))
			}
			a.podEvent(want, normal("Pulling", c.Name, fmt.Sprintf("Pulling image %q", c.Image)))
		},
		Progress: func(done, total int64) {
			a.report.progress(want, normal("Pulling", c.Name, fmt.Sprintf("Pulling image %q: %d of %d MiB", c.Image, mebibytes(done), mebibytes(total))))
		},
	}
}

// mebibytes are rounded up.
func mebibytes(n int64) int64 { return (n + 1<<20 - 1) >> 20 }

// pulled tells people what became of an image, waited for since it was asked for.
func (a *Agent) pulled(want *corev1.Pod, c *corev1.Container, got image.Result, waited time.Duration, err error) {
	reason, message := pullReason(err), pullMessage(c, err)
	switch {
	case err == nil && got.Pulled:
		a.podEvent(want, normal("Pulled", c.Name, fmt.Sprintf("Successfully pulled image %q in %s (%s including waiting). Image size: %d bytes.",
			c.Image, got.Took.Truncate(time.Millisecond), waited.Truncate(time.Millisecond), got.Size)))
		return
	case err == nil:
		a.podEvent(want, normal("Pulled", c.Name, fmt.Sprintf("Container image %q already present on machine", c.Image)))
		return
	case reason == invalidName:
		a.podEvent(want, warning("InspectFailed", c.Name, message))
	case reason == neverPull:
		a.podEvent(want, warning(neverPull, c.Name, message))
	default:
		a.podEvent(want, warning("Failed", c.Name, fmt.Sprintf("Failed to pull image %q: %s", c.Image, message)))
	}
	a.podEvent(want, warning("Failed", c.Name, "Error: "+reason))
}

const (
	invalidName = "InvalidImageName"
	neverPull   = "ErrImageNeverPull"
)

// pullReason is what a failure is called in the pod's status.
func pullReason(err error) string {
	e, ok := errors.AsType[*image.Error](err)
	switch {
	case ok && e.Reason == image.InvalidName:
		return invalidName
	case ok && e.Reason == image.NeverPull:
		return neverPull
	}
	return "ErrImagePull"
}

// pullMessage is the text of a failure.
func pullMessage(c *corev1.Container, err error) string {
	switch {
	case err == nil:
		return ""
	case pullReason(err) == invalidName:
		return fmt.Sprintf("Failed to apply default image tag %q: %v", c.Image, err)
	}
	return err.Error()
}
