package agent

import (
	"context"
	"net/netip"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Network connects pods. All calls are idempotent.
type Network interface {
	// Attach gives a pod an address in its network namespace, the same one as before if it had one.
	Attach(ctx context.Context, pod types.UID, netns string) (netip.Addr, error)
	// Detach takes it back.
	Detach(ctx context.Context, pod types.UID) error
	// Attached are the pods that have one, also from earlier processes.
	Attached(ctx context.Context) ([]types.UID, error)
	// Withdrawn returns when no service leads to the address any more.
	Withdrawn(ctx context.Context, addr netip.Addr) error
}

// A Writer writes what this node reports.
type Writer interface {
	// Write makes all of r visible in one transaction, or nothing of it. What is about a pod that is gone, or is another
	// one by now, is left out. It is called from one goroutine at a time.
	Write(ctx context.Context, r Report) error
}

// A Report is what this node has to say at one moment. What it holds is shared: DeepCopy before you edit.
type Report struct {
	Pods    []PodReport
	Mirror  []*corev1.Pod         // made if there is no pod of that name, and its namespace is there
	Events  []*corev1.Event       // new ones; one that is there already is counted up by Count
	Node    *corev1.Node          // nil: nothing new
	Lease   *coordinationv1.Lease // nil: nothing new
	Images  *NodeImages           // nil: nothing new
	Folders []FolderReport        // those of volumes that are removed
}

// NodeImages is which images a node has, for its status.
type NodeImages struct {
	Node   string
	Images []corev1.ContainerImage
}

// A PodReport is the status of a pod. Conditions that are not pod.Owned are somebody else's: see pod.Merge.
type PodReport struct {
	Key    store.Key
	UID    types.UID
	Status corev1.PodStatus
	Gone   bool // nothing is left of it on this node: the object may go, unless finalizers hold it
}
