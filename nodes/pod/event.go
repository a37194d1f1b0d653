package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// events tells of containers that began to wait until they may be tried again, and of a pod whose time was up.
func (v *view) events() {
	v.backOffs(v.init, v.prev.InitContainerStatuses, v.next.Status.InitContainerStatuses)
	v.backOffs(v.main, v.prev.ContainerStatuses, v.next.Status.ContainerStatuses)
	v.backOffs(v.extra, v.prev.EphemeralContainerStatuses, v.next.Status.EphemeralContainerStatuses)
	if s := &v.next.Status; s.Reason == deadlineExceeded && !finished(v.prev.Phase) {
		v.next.Events = append(v.next.Events, Event{Type: corev1.EventTypeNormal, Reason: s.Reason, Message: s.Message})
	}
}

func (v *view) backOffs(cs []container, old, new []corev1.ContainerStatus) {
	for i := range cs {
		c := &cs[i]
		is, was := statusOf(new, c.spec.Name), statusOf(old, c.spec.Name)
		if is == nil || is.State.Waiting == nil {
			continue
		}
		reason := is.State.Waiting.Reason
		again := was != nil && was.State.Waiting != nil && was.State.Waiting.Reason == reason && was.RestartCount == is.RestartCount
		switch {
		case again:
		case reason == crashLoop:
			v.warn(c, "BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)",
				c.spec.Name, v.want.Name, v.want.Namespace, v.want.UID))
		case reason == pullBackOff:
			_, image, _ := v.hindrance(c)
			v.next.Events = append(v.next.Events, Event{corev1.EventTypeNormal, "BackOff", c.spec.Name, fmt.Sprintf("Back-off pulling image %q", image)})
		}
	}
}

func (v *view) warn(c *container, reason, message string) {
	v.next.Events = append(v.next.Events, Event{corev1.EventTypeWarning, reason, c.spec.Name, message})
}
