package api

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	apimetrics "k8s.io/apiserver/pkg/endpoints/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/mainstay-gitops/mainstay/reconcile/api/kubestore"
)

// installMetrics serves what Prometheus reads: of requests what Kubernetes' API server tells of them, of the process, of the
// store, and what Config.Metrics adds. Nothing of the store is counted before somebody asks.
func (s *Server) installMetrics() {
	apimetrics.Register()
	own := prometheus.NewRegistry()
	own.MustRegister(stored{s.Store})
	all := prometheus.Gatherers{legacyregistry.DefaultGatherer, own}
	if s.Metrics != nil {
		all = append(all, s.Metrics)
	}
	s.generic.Handler.NonGoRestfulMux.Handle("/metrics", promhttp.HandlerFor(all, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
}

// stored counts what is in the store, when it is asked.
type stored struct{ store kubestore.Store }

var _ prometheus.Collector = stored{}

func revisionDesc() *prometheus.Desc {
	return prometheus.NewDesc("mainstay_store_revision", "Last revision of the store.", nil, nil)
}

func objectsDesc() *prometheus.Desc {
	return prometheus.NewDesc("mainstay_store_objects", "Number of stored objects, by group and kind.", []string{"group", "kind"}, nil)
}

// Describe implements prometheus.Collector.
func (stored) Describe(to chan<- *prometheus.Desc) {
	to <- revisionDesc()
	to <- objectsDesc()
}

// Collect implements prometheus.Collector.
func (c stored) Collect(to chan<- prometheus.Metric) {
	s := c.store.Snapshot()
	to <- prometheus.MustNewConstMetric(revisionDesc(), prometheus.CounterValue, float64(s.Revision()))
	for _, k := range s.Stored() {
		to <- prometheus.MustNewConstMetric(objectsDesc(), prometheus.GaugeValue, float64(s.Len(k)), k.Group, k.Kind)
	}
}
