package agent

import (
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// hugePages are those that the machine has set aside, of each size that it has, below a folder of the kernel's.
func hugePages(dir string) corev1.ResourceList {
	list := corev1.ResourceList{}
	folders, _ := filepath.Glob(filepath.Join(dir, "hugepages-*kB")) // none on a machine that has none
	for _, folder := range folders {
		size, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(folder), "hugepages-"), "kB"), 10, 64)
		count, wrong := strconv.ParseInt(line(filepath.Join(folder, "nr_hugepages")), 10, 64)
		if err != nil || wrong != nil {
			continue
		}
		each := resource.NewQuantity(size<<10, resource.BinarySI)
		list[corev1.ResourceName(corev1.ResourceHugePagesPrefix+each.String())] = *resource.NewQuantity(count*size<<10, resource.BinarySI)
	}
	return list
}

// extended tells whether a resource is one that somebody else counts: its name has a domain.
func extended(name corev1.ResourceName) bool {
	domain, _, ok := strings.Cut(string(name), "/")
	return ok && domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io")
}

// offered tells whether all extended resources that somebody gave a node the capacity of may be had by pods.
func offered(s *store.Snapshot, node string) bool {
	n, ok := store.Get[*corev1.Node](s, "", node)
	if !ok {
		return true
	}
	for name, have := range n.Status.Capacity {
		if may, ok := n.Status.Allocatable[name]; extended(name) && (!ok || may.Cmp(have) != 0) {
			return false
		}
	}
	return true
}

// offer keeps the extended resources that were set in a node's status, and lets pods have them.
func offer(status *corev1.NodeStatus, was corev1.ResourceList) {
	for name, have := range was {
		if extended(name) {
			status.Capacity[name], status.Allocatable[name] = have, have
		}
	}
}
