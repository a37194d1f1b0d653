package main

import (
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"

	"github.com/mainstay-gitops/mainstay/nodes/kubelet"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// machineLogs is where a machine keeps its own.
const machineLogs = "/var/log"

// answering is what answers for a node: this one, and nobody else.
func (n *node) answering(st store.Reader) func(name string) http.Handler {
	h := kubelet.New(kubelet.Config{
		Node: n.o.node,
		Pods: func() []*corev1.Pod {
			return slices.Collect(store.List[*corev1.Pod](st.Snapshot(), store.OnNode(n.o.node)))
		},
		Usage: n.meter.Measure, Settings: n.settings, Machine: machineLogs,
	})
	return func(name string) http.Handler {
		if name != n.o.node {
			return nil
		}
		return h
	}
}

// settings are this node's, in the words of a kubelet: those that it has.
func (n *node) settings() kubeletconfig.KubeletConfiguration {
	s, keep := &n.o.share, n.o.images
	high, low, yes := int32(keep.High), int32(keep.Low), true
	c := kubeletconfig.KubeletConfiguration{
		TypeMeta:      metav1.TypeMeta{APIVersion: kubeletconfig.SchemeGroupVersion.String(), Kind: "KubeletConfiguration"},
		ClusterDomain: clusterDomain, ClusterDNS: []string{n.gateway().String()}, MaxPods: int32(s.maxPods),
		ImageGCHighThresholdPercent: &high, ImageGCLowThresholdPercent: &low,
		ImageMinimumGCAge: metav1.Duration{Duration: keep.MinAge}, ImageMaximumGCAge: metav1.Duration{Duration: keep.MaxAge},
		EvictionHard: map[string]string{}, EvictionSoft: map[string]string{}, SystemReserved: map[string]string{},
		EvictionPressureTransitionPeriod: metav1.Duration{Duration: s.eviction.Transition},
		AllowedUnsafeSysctls:             n.o.unsafeSysctls, EnableSystemLogHandler: &yes,
	}
	for _, t := range s.thresholds {
		into := c.EvictionSoft
		if t.Hard {
			into = c.EvictionHard
		}
		into[string(t.Signal)] = t.Value.String()
	}
	for name, q := range s.reserved {
		c.SystemReserved[string(name)] = q.String()
	}
	return c
}
