package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/static"
	"github.com/mainstay-gitops/mainstay/nodes/usage"
	"github.com/mainstay-gitops/mainstay/reconcile/api/registry"
	"github.com/mainstay-gitops/mainstay/reconcile/autoscale"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// measured is what the meter of a node says, as the API sees it.
type measured struct {
	meter *usage.Meter
	node  string
	store store.Reader
}

var _ registry.Usage = measured{}

func (m measured) Nodes(ctx context.Context) (map[string]registry.Used, error) {
	got, err := m.meter.Measure(ctx)
	return map[string]registry.Used{m.node: usedAt(got, got.Node)}, err
}

func (m measured) Containers(ctx context.Context) (map[types.UID]map[string]registry.Used, error) {
	got, err := m.meter.Measure(ctx)
	out := map[types.UID]map[string]registry.Used{}
	for id, u := range got.Containers {
		if out[id.Pod] == nil {
			out[id.Pod] = map[string]registry.Used{}
		}
		out[id.Pod][id.Name] = usedAt(got, u)
	}
	for p := range store.List[*corev1.Pod](m.store.Snapshot(), store.OnNode(m.node)) {
		if own, ok := static.Mirrored(p); ok && out[own] != nil { // the API knows a pod of the node's own by another UID
			out[p.UID] = out[own]
			delete(out, own)
		}
	}
	return out, err
}

func usedAt(m usage.Measurement, u usage.Used) registry.Used {
	return registry.Used{Cores: u.Cores, Memory: u.Memory, At: m.At, Window: u.Window}
}

// A sampler measures for the autoscalers while there are any, and keeps what it measured last.
type sampler struct {
	measured
	log  *slog.Logger
	last atomic.Pointer[map[types.UID]map[string]autoscale.Used]
}

var _ autoscale.Usage = (*sampler)(nil)

func (s *sampler) Latest() map[types.UID]map[string]autoscale.Used {
	if last := s.last.Load(); last != nil {
		return *last
	}
	return nil
}

// Run measures until ctx ends.
func (s *sampler) Run(ctx context.Context) error {
	t := time.NewTicker(autoscale.Period)
	defer t.Stop()
	for {
		if s.store.Snapshot().Len(autoscale.Kind) > 0 {
			s.sample(ctx)
		} else {
			s.last.Store(nil)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

func (s *sampler) sample(ctx context.Context) {
	got, err := s.Containers(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("measure what containers use, for autoscalers", "err", err)
		}
		return
	}
	all := make(map[types.UID]map[string]autoscale.Used, len(got))
	for uid, containers := range got {
		all[uid] = make(map[string]autoscale.Used, len(containers))
		for name, u := range containers {
			all[uid][name] = autoscale.Used(u)
		}
	}
	s.last.Store(&all)
}
