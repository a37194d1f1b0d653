package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/mainstay-gitops/mainstay/nodes/agent"
	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/pressure"
	"github.com/mainstay-gitops/mainstay/nodes/pressure/gauge"
	"github.com/mainstay-gitops/mainstay/nodes/volume"
)

// share is how much of this machine pods may have, and when they have to go.
type share struct {
	systemReserved string
	maxPods        int64
	podPids        int64
	eviction       pressure.Settings

	reserved   corev1.ResourceList
	thresholds []pressure.Threshold
}

func (s *share) flags(c *cobra.Command) {
	s.eviction = pressure.Defaults()
	f := c.Flags()
	f.StringVar(&s.systemReserved, "system-reserved", "", "what is not for pods, as in cpu=500m,memory=1Gi,ephemeral-storage=10Gi,pid=1000")
	f.Int64Var(&s.maxPods, "max-pods", 110, "how many pods may run on this node")
	f.Int64Var(&s.podPids, "pod-pids-limit", 4096, "how many processes and threads one pod may have (-1: any number)")
	f.StringVar(&s.eviction.Hard, "eviction-hard", s.eviction.Hard, "when pods have to go at once (empty: never)")
	f.StringVar(&s.eviction.Soft, "eviction-soft", "", "when pods have to go with notice, as in memory.available<500Mi")
	f.StringVar(&s.eviction.SoftGrace, "eviction-soft-grace-period", "", "for how long it must be so, as in memory.available=1m30s")
	f.DurationVar(&s.eviction.MaxGrace, "eviction-max-pod-grace-period", 0, "the longest notice that a pod gets then")
	f.StringVar(&s.eviction.MinReclaim, "eviction-minimum-reclaim", "", "how much more is to be gained, as in nodefs.available=1Gi")
	f.DurationVar(&s.eviction.Transition, "eviction-pressure-transition-period", s.eviction.Transition, "how long the node says that it is under pressure after it was")
}

// complete checks what was said.
func (s *share) complete() (err error) {
	if s.reserved, err = parseReserved(s.systemReserved); err != nil {
		return err
	}
	if s.maxPods < 1 {
		return fmt.Errorf("--max-pods %d: want at least 1", s.maxPods)
	}
	if s.podPids == 0 || s.podPids < -1 {
		return fmt.Errorf("--pod-pids-limit %d: want a number of processes, or -1", s.podPids)
	}
	s.thresholds, err = s.eviction.Thresholds()
	return err
}

func parseReserved(text string) (corev1.ResourceList, error) {
	list := corev1.ResourceList{}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		name, value, _ := strings.Cut(item, "=")
		switch corev1.ResourceName(name) {
		case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, reservedPids:
		default:
			return nil, fmt.Errorf("--system-reserved %q: there is no resource %q; there are cpu, memory, ephemeral-storage and pid", item, name)
		}
		q, err := resource.ParseQuantity(value)
		if err != nil || q.Sign() < 0 {
			return nil, fmt.Errorf("--system-reserved %q: want a quantity, as in memory=1Gi", item)
		}
		list[corev1.ResourceName(name)] = q
	}
	return list, nil
}

const reservedPids corev1.ResourceName = "pid"

// guard sees to it that pods together keep to their share, and makes what watches over it.
func (n *node) guard(d *agent.Node, volumes *volume.Volumes) (*agent.Guard, error) {
	s := &n.o.share
	d.Reserved, d.MaxPods, d.PodPids = s.reserved, s.maxPods, max(0, s.podPids)
	forPods, err := d.ForPods()
	if err != nil {
		return nil, err
	}
	g := &gauge.Gauge{
		Tree: n.tree, Pods: n.pods, PodsMemory: forPods.Memory().Value(), NodeDir: n.o.data, ImageDir: n.o.under("containerd"), Folder: volumes.Dir,
	}
	g.Collect = func(ctx context.Context) error { return n.agent.Reclaim(ctx) }
	if n.containerd == nil {
		g.ImageDir = n.o.data // nobody knows where somebody else's containerd keeps them
	}
	levels, err := g.Levels()
	if err != nil {
		return nil, err
	}
	limits := cgroup.Limits{CPUShares: max(2, forPods.Cpu().MilliValue()*1024/1000), MemoryLimit: forPods.Memory().Value()}
	if q, ok := s.reserved[reservedPids]; ok {
		limits.Pids = max(1, levels[pressure.PIDs].Capacity-q.Value())
	}
	if err := n.pods.LimitAll(limits); err != nil {
		return nil, fmt.Errorf("limit what pods may have together: %w", err)
	}
	return &agent.Guard{Gauge: g, Thresholds: s.thresholds, Transition: s.eviction.Transition, MaxGrace: s.eviction.MaxGrace}, nil
}
