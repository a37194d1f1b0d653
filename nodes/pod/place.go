package pod

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// A Place is what containers may learn of the machine on which they run.
type Place struct {
	Node        string
	Host        netip.Addr          // its address
	Capacity    corev1.ResourceList // what it has
	Allocatable corev1.ResourceList // what pods may have of it
	Pids        int64               // processes and threads that one pod may have; 0: any number
	DNS         []netip.Addr        // the cluster's name servers, as pods reach them
	Domain      string              // the cluster's domain: cluster.local
	Resolv      string              // the machine's own resolv.conf
	Hosts       string              // the machine's own hosts file; empty: it has none

	Features      runtime.Features // what its runtime can do
	UnsafeSysctls []string         // that pods may set, beside the safe ones
}
