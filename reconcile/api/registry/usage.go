package registry

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Used is what something uses, measured over a window that ends at a time.
type Used struct {
	Cores  float64
	Memory int64 // bytes
	At     time.Time
	Window time.Duration
}

// Usage measures what nodes and containers use.
type Usage interface {
	// Nodes are those that are measured, by name.
	Nodes(ctx context.Context) (map[string]Used, error)
	// Containers are those that run, by the uid of their pod and their name.
	Containers(ctx context.Context) (map[types.UID]map[string]Used, error)
}

// Metrics serve metrics.k8s.io from what is measured when somebody asks: objects that nobody stores.
func (r *Registry) Metrics() map[string]rest.Storage {
	return map[string]rest.Storage{
		"nodes": &measured{
			TableConvertor: rest.NewDefaultTableConvertor(metrics.Resource("nodes")), singular: "node",
			empty: func() runtime.Object { return &metrics.NodeMetrics{} }, emptyList: func() runtime.Object { return &metrics.NodeMetricsList{} },
			list: r.nodeMetrics,
		},
		"pods": &measured{
			TableConvertor: rest.NewDefaultTableConvertor(metrics.Resource("pods")), singular: "pod", namespaced: true,
			empty: func() runtime.Object { return &metrics.PodMetrics{} }, emptyList: func() runtime.Object { return &metrics.PodMetricsList{} },
			list: r.podMetrics,
		},
	}
}

// wanted tells whether an object is asked for.
type wanted func(o metav1.Object) bool

// measured is a resource that can only be read.
type measured struct {
	rest.TableConvertor
	singular         string
	namespaced       bool
	empty, emptyList func() runtime.Object
	list             func(ctx context.Context, want wanted) (list runtime.Object, items []runtime.Object, err error)
}

var (
	_ rest.Lister               = (*measured)(nil)
	_ rest.Getter               = (*measured)(nil)
	_ rest.Scoper               = (*measured)(nil)
	_ rest.SingularNameProvider = (*measured)(nil)
)

// New implements rest.Storage.
func (m *measured) New() runtime.Object { return m.empty() }

// NewList implements rest.Lister.
func (m *measured) NewList() runtime.Object { return m.emptyList() }

// Destroy implements rest.Storage.
func (*measured) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (m *measured) NamespaceScoped() bool { return m.namespaced }

// GetSingularName implements rest.SingularNameProvider.
func (m *measured) GetSingularName() string { return m.singular }

// List implements rest.Lister.
func (m *measured) List(ctx context.Context, o *metainternal.ListOptions) (runtime.Object, error) {
	byLabel, byField := labels.Everything(), fields.Everything()
	if o != nil && o.LabelSelector != nil {
		byLabel = o.LabelSelector
	}
	if o != nil && o.FieldSelector != nil {
		byField = o.FieldSelector
	}
	namespace := genericapirequest.NamespaceValue(ctx)
	list, _, err := m.list(ctx, func(o metav1.Object) bool {
		set := fields.Set{"metadata.name": o.GetName(), "metadata.namespace": o.GetNamespace()}
		return (namespace == "" || o.GetNamespace() == namespace) && byLabel.Matches(labels.Set(o.GetLabels())) && byField.Matches(set)
	})
	return list, err
}

// Get implements rest.Getter.
func (m *measured) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	namespace := genericapirequest.NamespaceValue(ctx)
	_, items, err := m.list(ctx, func(o metav1.Object) bool { return o.GetName() == name && o.GetNamespace() == namespace })
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: metrics.GroupName, Resource: m.singular + "s"}, name)
	}
	return items[0], nil
}

func (r *Registry) nodeMetrics(ctx context.Context, want wanted) (runtime.Object, []runtime.Object, error) {
	used, err := r.Usage.Nodes(ctx)
	if err != nil {
		return nil, nil, apierrors.NewInternalError(err)
	}
	list := &metrics.NodeMetricsList{Items: []metrics.NodeMetrics{}}
	var items []runtime.Object
	for n := range store.List[*corev1.Node](r.Store.Snapshot()) {
		u, ok := used[n.Name]
		if !ok || !want(n) {
			continue
		}
		m := metrics.NodeMetrics{
			ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.Labels, CreationTimestamp: metav1.NewTime(u.At)},
			Timestamp:  metav1.NewTime(u.At), Window: metav1.Duration{Duration: u.Window}, Usage: u.resources(),
		}
		list.Items = append(list.Items, m)
		items = append(items, &m)
	}
	return list, items, nil
}

func (r *Registry) podMetrics(ctx context.Context, want wanted) (runtime.Object, []runtime.Object, error) {
	used, err := r.Usage.Containers(ctx)
	if err != nil {
		return nil, nil, apierrors.NewInternalError(err)
	}
	list := &metrics.PodMetricsList{Items: []metrics.PodMetrics{}}
	var items []runtime.Object
	for p := range store.List[*corev1.Pod](r.Store.Snapshot()) {
		containers := used[p.UID]
		if len(containers) == 0 || !want(p) {
			continue
		}
		m := metrics.PodMetrics{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, Labels: p.Labels}}
		for _, name := range slices.Sorted(maps.Keys(containers)) {
			u := containers[name]
			m.CreationTimestamp, m.Timestamp, m.Window.Duration = metav1.NewTime(u.At), metav1.NewTime(u.At), max(m.Window.Duration, u.Window)
			m.Containers = append(m.Containers, metrics.ContainerMetrics{Name: name, Usage: u.resources()})
		}
		list.Items = append(list.Items, m)
		items = append(items, &m)
	}
	return list, items, nil
}

// resources are what is used, in the units of Kubernetes.
func (u Used) resources() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *quantity.NewScaledQuantity(int64(u.Cores*1e9), quantity.Nano),
		corev1.ResourceMemory: *quantity.NewQuantity(u.Memory, quantity.BinarySI),
	}
}
