package pod

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// Labels that a sandbox carries, so that it can be taken down properly when its pod is gone.
const (
	graceLabel   = "mainstay.dev/grace" // in seconds
	networkLabel = "mainstay.dev/host-network"
)

func sandboxLabels(p *corev1.Pod) map[string]string {
	return map[string]string{
		graceLabel:   strconv.FormatInt(int64(graceOf(p).Seconds()), 10),
		networkLabel: strconv.FormatBool(p.Spec.HostNetwork),
	}
}

// shortest grace period of a pod that is gone already: whoever removed it did not want to wait.
const orphanGrace = 2

// Orphan stands for a pod that is gone from the store while its sandbox, or other parts of it, are still here: it is to
// be deleted.
func Orphan(sb runtime.Sandbox, now time.Time) *corev1.Pod {
	grace, err := strconv.ParseInt(sb.Labels[graceLabel], 10, 64)
	if err != nil || grace > orphanGrace {
		grace = orphanGrace
	}
	host, _ := strconv.ParseBool(sb.Labels[networkLabel])
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: sb.Namespace, Name: sb.Name, UID: sb.Pod,
			DeletionTimestamp: &metav1.Time{Time: now}, DeletionGracePeriodSeconds: &grace,
		},
		Spec: corev1.PodSpec{HostNetwork: host, RestartPolicy: corev1.RestartPolicyNever},
	}
	for _, c := range sb.Containers {
		if ContainerNamed(p, c.ID.Name) == nil {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c.ID.Name, Image: c.Labels[imageLabel]})
		}
	}
	return p
}
