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

// named is an image as a pod names it.
type named struct {
	ref       string
	policy    corev1.PullPolicy
	container string // that is made from it; empty: it is a volume's
}

// imageOf is the image that a step is about.
func imageOf(want *corev1.Pod, step pod.Step) named {
	if step.Volume != "" {
		source := pod.VolumeNamed(want, step.Volume).Image
		return named{ref: source.Reference, policy: source.PullPolicy}
	}
	c := pod.ContainerNamed(want, step.Container)
	return named{c.Image, c.ImagePullPolicy, c.Name}
}

// setImage keeps account of the image that a step is about; nil: nothing is known of it.
func (w *worker) setImage(step pod.Step, i *pod.Image) {
	of, name := &w.seen.Images, step.Container
	if step.Volume != "" {
		of, name = &w.seen.VolumeImages, step.Volume
	}
	if i == nil {
		delete(*of, name)
		return
	}
	if *of == nil {
		*of = map[string]pod.Image{}
	}
	(*of)[name] = *i
}

// pull has an image here, in the background. What became of it comes by mail.
func (a *Agent) pull(w *worker, want *corev1.Pod, s *store.Snapshot, step pod.Step) {
	w.setImage(step, &pod.Image{Attempt: step.Attempt, Pulling: true})
	ctx, end := context.WithCancel(a.life)
	if w.pulls == nil {
		w.pulls = map[pod.Move]context.CancelFunc{}
	}
	w.pulls[step.Move()] = end
	c := imageOf(want, step)
	r := a.request(want, c, s)
	a.spawn(func() {
		defer end()
		begun := a.cfg.Now()
		got, err := a.cfg.Images.Get(ctx, r)
		if ctx.Err() != nil {
			a.post(w, func(w *worker) { w.setImage(step, nil) })
			return
		}
		a.pulled(want, c, got, a.cfg.Now().Sub(begun), err)
		a.post(w, func(w *worker) {
			if err != nil {
				w.setImage(step, nil)
				w.fail(step, a.cfg.Now(), pullReason(err), pullMessage(c, err))
				return
			}
			delete(w.seen.Failed, step.Move())
			w.setImage(step, &pod.Image{Attempt: step.Attempt, Name: got.Ref})
		})
	})
}

// request is what an image is asked for with.
func (a *Agent) request(want *corev1.Pod, c named, s *store.Snapshot) image.Request {
	auths, missing := credentials(want, c.ref, s)
	return image.Request{
		Ref: c.ref, Policy: image.Policy(c.policy), Auths: auths,
		Pulling: func() {
			if len(missing) > 0 {
				a.podEvent(want, warning("FailedToRetrieveImagePullSecret", "", fmt.Sprintf(
					"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", "))))
			}
			a.podEvent(want, normal("Pulling", c.container, fmt.Sprintf("Pulling image %q", c.ref)))
		},
		Progress: func(done, total int64) {
			a.report.progress(want, normal("Pulling", c.container, fmt.Sprintf("Pulling image %q: %d of %d MiB", c.ref, mebibytes(done), mebibytes(total))))
		},
	}
}

// mebibytes are rounded up.
func mebibytes(n int64) int64 { return (n + 1<<20 - 1) >> 20 }

// pulled tells people what became of an image, waited for since it was asked for.
func (a *Agent) pulled(want *corev1.Pod, c named, got image.Result, waited time.Duration, err error) {
	reason, message := pullReason(err), pullMessage(c, err)
	switch {
	case err == nil && got.Pulled:
		a.podEvent(want, normal("Pulled", c.container, fmt.Sprintf("Successfully pulled image %q in %s (%s including waiting). Image size: %d bytes.",
			c.ref, got.Took.Truncate(time.Millisecond), waited.Truncate(time.Millisecond), got.Size)))
		return
	case err == nil:
		a.podEvent(want, normal("Pulled", c.container, fmt.Sprintf("Container image %q already present on machine", c.ref)))
		return
	case reason == invalidName:
		a.podEvent(want, warning("InspectFailed", c.container, message))
	case reason == neverPull:
		a.podEvent(want, warning(neverPull, c.container, message))
	default:
		a.podEvent(want, warning("Failed", c.container, fmt.Sprintf("Failed to pull image %q: %s", c.ref, message)))
	}
	a.podEvent(want, warning("Failed", c.container, "Error: "+reason))
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
func pullMessage(c named, err error) string {
	switch {
	case err == nil:
		return ""
	case pullReason(err) == invalidName:
		return fmt.Sprintf("Failed to apply default image tag %q: %v", c.ref, err)
	}
	return err.Error()
}
