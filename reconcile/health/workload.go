package health

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// deployment is healthy when all of its replicas are of the newest template, and available.
func deployment(s *store.Snapshot, d *appsv1.Deployment) Status {
	want := replicas(d.Spec.Replicas)
	st := Status{State: Progressing, Want: want}
	if d.Status.ObservedGeneration < d.Generation {
		return st
	}
	newest := newestOf(s, d)
	if newest != nil {
		st.Ready = min(newest.Status.ReadyReplicas, want)
	}
	if d.Spec.Paused {
		st.State, st.Cause = Degraded, "its rollout is paused"
		return st
	}
	if d.Status.UpdatedReplicas == want && d.Status.Replicas == want && d.Status.AvailableReplicas == want {
		st.State = Healthy
		return st
	}
	if newest != nil {
		st.cause(s, newest)
		st.refused(newest)
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse {
			st.State, st.Stuck = Degraded, true
			st.Cause = cmp.Or(st.Cause, c.Message)
		}
	}
	return st
}

// newestOf is the ReplicaSet with the Deployment's revision.
func newestOf(s *store.Snapshot, d *appsv1.Deployment) *appsv1.ReplicaSet {
	const revision = "deployment.kubernetes.io/revision"
	for rs := range store.List[*appsv1.ReplicaSet](s, store.InNamespace(d.Namespace), store.OwnedBy(d.UID)) {
		if metav1.IsControlledBy(rs, d) && rs.Annotations[revision] == d.Annotations[revision] && rs.Annotations[revision] != "" {
			return rs
		}
	}
	return nil
}

func replicaSet(s *store.Snapshot, rs *appsv1.ReplicaSet) Status {
	want := replicas(rs.Spec.Replicas)
	st := Status{State: Progressing, Want: want, Ready: rs.Status.ReadyReplicas}
	if rs.Status.ObservedGeneration >= rs.Generation && rs.Status.Replicas == want && rs.Status.AvailableReplicas == want {
		st.State = Healthy
		return st
	}
	st.cause(s, rs)
	st.refused(rs)
	return st
}

// refused tells that pods of rs are not admitted, unless there is worse to tell.
func (st *Status) refused(rs *appsv1.ReplicaSet) {
	for _, c := range rs.Status.Conditions {
		if st.Cause == "" && c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
			st.State, st.Cause = Degraded, "a pod is not admitted: "+c.Message
		}
	}
}

// cause finds what is wrong with the pods of owner: the worst of them speaks for all.
func (st *Status) cause(s *store.Snapshot, owner store.Object) {
	var worst Status
	for p := range store.List[*corev1.Pod](s, store.InNamespace(owner.GetNamespace()), store.OwnedBy(owner.GetUID()), store.Active) {
		one := pod(p)
		if one.State != Healthy && one.Cause != "" && (worst.Cause == "" || one.rank() > worst.rank()) {
			worst = one
			worst.Cause = "pod " + p.Name + ": " + one.Cause
		}
	}
	if worst.Cause == "" {
		return
	}
	st.Cause, st.Stuck = worst.Cause, worst.Stuck
	if worst.State == Degraded {
		st.State = Degraded
	}
}

func (st Status) rank() int {
	n := 0
	if st.Stuck {
		n += 2
	}
	if st.State == Degraded {
		n++
	}
	return n
}

// pod is healthy when it is ready, or has done what it was for.
func pod(p *corev1.Pod) Status {
	switch p.Status.Phase {
	case corev1.PodSucceeded:
		return Status{State: Healthy}
	case corev1.PodFailed:
		return Status{State: Degraded, Cause: cmp.Or(p.Status.Message, p.Status.Reason, ended(p), "it failed"), Stuck: true}
	}
	ready := false
	for _, c := range p.Status.Conditions {
		switch {
		case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse:
			return Status{State: Degraded, Cause: "no node for it: " + c.Message, Stuck: !soon(c.Message)}
		case c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue:
			ready = true
		}
	}
	if ready {
		return Status{State: Healthy}
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if st, ok := container(c); ok {
			return st
		}
	}
	return Status{State: Progressing}
}

// soon tells whether a pod has no node because claims of its own are just being made or bound.
func soon(message string) bool {
	return strings.Contains(message, "unbound immediate PersistentVolumeClaims") || strings.Contains(message, "waiting for ephemeral volume controller")
}

// waiting are the reasons of a container that waits which something is wrong with; true: waiting will not help.
var waiting = map[string]bool{
	"ErrImagePull": false, "ImagePullBackOff": false, "RegistryUnavailable": false,
	"InvalidImageName": true, "ErrImageNeverPull": true, "ImageInspectError": true,
	"CreateContainerConfigError": true, "CreateContainerError": true, "RunContainerError": true, "CrashLoopBackOff": true,
}

// container tells what is wrong with one container; false: nothing that is known.
func container(c corev1.ContainerStatus) (Status, bool) {
	w := c.State.Waiting
	if w == nil {
		if t := c.LastTerminationState.Terminated; t != nil && !c.Ready && t.ExitCode != 0 {
			return Status{State: Degraded, Cause: "container " + c.Name + ": " + exit(t) + ", restarted"}, true
		}
		if t := c.State.Terminated; t != nil && t.ExitCode != 0 {
			return Status{State: Degraded, Cause: "container " + c.Name + ": " + exit(t)}, true
		}
		return Status{}, false
	}
	stuck, bad := waiting[w.Reason]
	if !bad {
		return Status{}, false
	}
	why := cmp.Or(w.Message, w.Reason)
	if w.Reason == "CrashLoopBackOff" && c.LastTerminationState.Terminated != nil {
		why = "keeps ending: " + exit(c.LastTerminationState.Terminated)
	}
	return Status{State: Degraded, Cause: "container " + c.Name + ": " + why, Stuck: stuck}, true
}

// ended is how the first container that failed ended.
func ended(p *corev1.Pod) string {
	for _, c := range p.Status.ContainerStatuses {
		if t := c.State.Terminated; t != nil && t.ExitCode != 0 {
			return "container " + c.Name + ": " + exit(t)
		}
	}
	return ""
}

func exit(t *corev1.ContainerStateTerminated) string {
	text := fmt.Sprintf("exit code %d", t.ExitCode)
	if t.Reason == "OOMKilled" {
		text = "out of memory (" + text + ")"
	}
	if t.Message != "" {
		text += ": " + t.Message
	}
	return text
}
