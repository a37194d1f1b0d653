// Package health tells whether an object is well, and if not, the one cause that matters. It is pure: one function per kind,
// from a snapshot.
package health

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// State of an object.
type State string

const (
	Healthy     State = "Healthy"
	Progressing State = "Progressing" // on its way
	Degraded    State = "Degraded"    // something is wrong; Stuck tells whether time may mend it
	Gone        State = "Gone"        // it is not there
)

// Status is how an object is.
type Status struct {
	State State
	// Ready of Want replicas are ready, for what has replicas; Want is 0 for the rest.
	Ready, Want int32
	// Cause is what keeps it from being healthy, from the outside to the inside: "pod web-x: container web: image
	// mainstay.local/hello:v9 not found". Empty if it is healthy, or nothing more is known than that it is on its way.
	Cause string
	// Stuck: it takes a change of the manifests or of the cluster to mend it; waiting will not.
	Stuck bool
}

func (s Status) String() string {
	text := string(s.State)
	if s.Want > 0 {
		text = fmt.Sprintf("%d/%d ready", s.Ready, s.Want)
	}
	if s.Cause != "" {
		text += ": " + s.Cause
	}
	return text
}

// Of is the health of o, which is what s holds.
func Of(s *store.Snapshot, o store.Object) Status {
	if o.GetDeletionTimestamp() != nil {
		return Status{State: Progressing, Cause: "it is being deleted"}
	}
	switch o := o.(type) {
	case *appsv1.Deployment:
		return deployment(s, o)
	case *appsv1.ReplicaSet:
		return replicaSet(s, o)
	case *appsv1.DaemonSet:
		return daemonSet(s, o)
	case *appsv1.StatefulSet:
		return statefulSet(s, o)
	case *corev1.ReplicationController:
		return replicationController(s, o)
	case *corev1.PersistentVolumeClaim:
		return claim(s, o)
	case *corev1.PersistentVolume:
		return volume(o)
	case *corev1.Pod:
		return pod(o)
	case *batchv1.Job:
		return job(s, o)
	case *v1alpha1.GitSource:
		return gitSource(o)
	case *apiextensionsv1.CustomResourceDefinition:
		return definition(o)
	case *apiregistrationv1.APIService:
		return apiService(o)
	case *unstructured.Unstructured:
		return custom(o)
	}
	return Status{State: Healthy}
}

// At is the health of the object at k.
func At(s *store.Snapshot, k store.Key) Status {
	o, ok := s.Get(k)
	if !ok {
		return Status{State: Gone, Cause: "it is not there", Stuck: true}
	}
	return Of(s, o)
}

func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

func gitSource(g *v1alpha1.GitSource) Status {
	for _, c := range g.Status.Conditions {
		if c.Type != "Ready" {
			continue
		}
		switch {
		case c.Status == "True":
			return Status{State: Healthy}
		case c.Status == "False":
			return Status{State: Degraded, Cause: c.Message}
		}
	}
	return Status{State: Progressing}
}
