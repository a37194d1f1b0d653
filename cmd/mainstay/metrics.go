package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/disk"
)

// timed measures how long a store waits for the disk.
type timed struct {
	*disk.Backend
	appends prometheus.Histogram
	failed  prometheus.Counter
}

var _ store.Backend = timed{}

func newTimed(b *disk.Backend) timed {
	return timed{b,
		prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mainstay_store_append_duration_seconds", Help: "How long the disk took for a group of transactions.",
			Buckets: []float64{0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 4, 16},
		}),
		prometheus.NewCounter(prometheus.CounterOpts{Name: "mainstay_store_append_errors_total", Help: "Groups of transactions that were not written."}),
	}
}

// Append implements store.Backend.
func (t timed) Append(ctx context.Context, after store.Revision, ds []store.Delta) error {
	began := time.Now()
	err := t.Backend.Append(ctx, after, ds)
	t.appends.Observe(time.Since(began).Seconds())
	if err != nil {
		t.failed.Inc()
	}
	return err
}

// metrics are those of t, and which Mainstay this is.
func (t timed) metrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "mainstay_build_info", Help: "Always 1.", ConstLabels: prometheus.Labels{"version": version}})
	info.Set(1)
	r.MustRegister(t.appends, t.failed, info)
	return r
}
