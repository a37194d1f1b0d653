package agent

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/pressure"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// A Node is how this machine presents itself. Name and Address are needed.
type Node struct {
	Name     string
	Hostname string // empty: Name
	Address  netip.Addr
	Labels   map[string]string   // beside those that Kubernetes documents
	PodRange string              // of the pods' addresses
	Reserved corev1.ResourceList // what is not for pods
	MaxPods  int64               // 0: 110
	PodPids  int64               // processes and threads that one pod may have; 0: any number
	Version  string              // of Mainstay
	Runtime  string              // as "containerd://1.6.20"
	DataDir  string              // whose disk counts
	DNS      []netip.Addr        // name servers of the cluster, as pods reach them
	Domain   string              // empty: cluster.local
	Resolv   string              // path of the machine's resolv.conf; empty: /etc/resolv.conf

	Features      runtime.Features // what its runtime can do
	UnsafeSysctls []string         // that pods may set, beside the safe ones
}

const (
	heartbeat   = 10 * time.Second // between renewals of the lease
	leaseHolds  = 40 * time.Second
	description = 5 * time.Minute // between descriptions of a node of which nothing changed
)

// place is what pods may learn of this machine.
func (n *Node) place(thresholds []pressure.Threshold) (pod.Place, error) {
	capacity, err := n.capacity()
	if err != nil {
		return pod.Place{}, err
	}
	path := n.Resolv
	if path == "" {
		path = "/etc/resolv.conf"
	}
	resolv, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return pod.Place{}, err
	}
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil && !os.IsNotExist(err) {
		return pod.Place{}, err
	}
	domain := n.Domain
	if domain == "" {
		domain = "cluster.local"
	}
	return pod.Place{
		Node: n.Name, Host: n.Address, Capacity: capacity, Allocatable: less(n.forPods(capacity), pressure.Kept(thresholds, capacity)),
		Pids: n.PodPids, DNS: n.DNS, Domain: domain, Resolv: string(resolv), Hosts: string(hosts),
		Features: n.Features, UnsafeSysctls: n.UnsafeSysctls,
	}, nil
}

// capacity is what this machine has.
func (n *Node) capacity() (corev1.ResourceList, error) {
	memory, err := memoryTotal()
	if err != nil {
		return nil, err
	}
	pods := n.MaxPods
	if pods <= 0 {
		pods = 110
	}
	list := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(int64(goruntime.NumCPU()), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(memory, resource.BinarySI),
		corev1.ResourcePods:   *resource.NewQuantity(pods, resource.DecimalSI),
	}
	if n.DataDir != "" {
		var fs unix.Statfs_t
		if err := unix.Statfs(n.DataDir, &fs); err != nil {
			return nil, fmt.Errorf("measure the disk of %s: %w", n.DataDir, err)
		}
		list[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(int64(fs.Blocks)*fs.Bsize, resource.BinarySI)
	}
	maps.Copy(list, hugePages("/sys/kernel/mm/hugepages"))
	return list, nil
}

// ForPods is what pods may use together: what this machine has less what is reserved.
func (n *Node) ForPods() (corev1.ResourceList, error) {
	capacity, err := n.capacity()
	if err != nil {
		return nil, err
	}
	return n.forPods(capacity), nil
}

// forPods: huge pages are memory that nobody can have otherwise.
func (n *Node) forPods(capacity corev1.ResourceList) corev1.ResourceList {
	huge := resource.Quantity{}
	for name, q := range capacity {
		if strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			huge.Add(q)
		}
	}
	return less(less(capacity, corev1.ResourceList{corev1.ResourceMemory: huge}), n.Reserved)
}

// less is have without what is taken, nothing at the least.
func less(have, taken corev1.ResourceList) corev1.ResourceList {
	list := have.DeepCopy()
	for name, q := range taken {
		if left, ok := list[name]; ok {
			left.Sub(q)
			if left.Sign() < 0 {
				left = resource.Quantity{Format: q.Format}
			}
			list[name] = left
		}
	}
	return list
}

// memoryTotal is this machine's memory in bytes.
func memoryTotal() (int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) >= 2 && f[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/meminfo does not say how much memory there is")
}

// object is the node as it is stored.
func (n *Node) object(place pod.Place, conditions []corev1.NodeCondition) *corev1.Node {
	hostname := n.Hostname
	if hostname == "" {
		hostname = n.Name
	}
	labels := map[string]string{
		corev1.LabelHostname: hostname, corev1.LabelOSStable: goruntime.GOOS, corev1.LabelArchStable: goruntime.GOARCH,
	}
	for k, v := range n.Labels {
		labels[k] = v
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: labels},
		Status: corev1.NodeStatus{
			Capacity: place.Capacity, Allocatable: place.Allocatable,
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: n.Address.String()},
				{Type: corev1.NodeHostName, Address: hostname},
			},
			Conditions: conditions,
			NodeInfo:   n.info(),

			Features:        &corev1.NodeFeatures{SupplementalGroupsPolicy: new(true)},
			RuntimeHandlers: n.handlers(),
		},
	}
	if n.PodRange != "" {
		node.Spec.PodCIDR, node.Spec.PodCIDRs = n.PodRange, []string{n.PodRange}
	}
	return node
}

// handlers are what RuntimeClasses may name, and what those who run with the usual one may ask for.
func (n *Node) handlers() []corev1.NodeRuntimeHandler {
	features := &corev1.NodeRuntimeHandlerFeatures{RecursiveReadOnlyMounts: new(n.Features.RecursiveReadOnly), UserNamespaces: new(false)}
	return []corev1.NodeRuntimeHandler{{Name: "", Features: features}, {Name: "runc", Features: features}}
}

func (n *Node) info() corev1.NodeSystemInfo {
	var u unix.Utsname
	kernel := ""
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	return corev1.NodeSystemInfo{
		MachineID: line("/etc/machine-id"), SystemUUID: line("/sys/class/dmi/id/product_uuid"), BootID: line("/proc/sys/kernel/random/boot_id"),
		KernelVersion: kernel, OSImage: osName(), ContainerRuntimeVersion: n.Runtime,
		KubeletVersion: n.Version, OperatingSystem: goruntime.GOOS, Architecture: goruntime.GOARCH,
	}
}

// line is the content of a file that may not be there.
func line(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func osName() string {
	for l := range strings.Lines(line("/etc/os-release")) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(l), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return ""
}

// beat says that this node is alive: its lease, and its object when it is not stored as it is, and every five minutes.
func (a *Agent) beat(context.Context, struct{}) (time.Duration, error) {
	now := a.cfg.Now()
	var node *corev1.Node
	if s := a.cfg.Reader.Snapshot(); now.Sub(a.described) >= description || !a.known(s) || !offered(s, a.cfg.Node.Name) {
		a.described = now
		node = a.cfg.Node.object(a.place, a.conditions(metav1.NewTime(now.Truncate(time.Second))))
	}
	a.report.set(node, lease(a.cfg.Node.Name, now))
	return heartbeat, nil
}

func lease(node string, now time.Time) *coordinationv1.Lease {
	seconds := int32(leaseHolds.Seconds())
	at := metav1.NewMicroTime(now)
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: node},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &node, LeaseDurationSeconds: &seconds, RenewTime: &at},
	}
}
