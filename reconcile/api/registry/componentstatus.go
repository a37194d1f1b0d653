package registry

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
)

// ComponentStatuses tell how the parts of the control plane are. All are parts of one process, which answers: so they are
// well, but for the store, which may take no writes: Check tells why.
type ComponentStatuses struct{ Check func(context.Context) error }

var (
	_ rest.Lister               = ComponentStatuses{}
	_ rest.Getter               = ComponentStatuses{}
	_ rest.Scoper               = ComponentStatuses{}
	_ rest.SingularNameProvider = ComponentStatuses{}
	_ rest.ShortNamesProvider   = ComponentStatuses{}
)

// New implements rest.Storage.
func (ComponentStatuses) New() runtime.Object { return &corev1.ComponentStatus{} }

// NewList implements rest.Lister.
func (ComponentStatuses) NewList() runtime.Object { return &corev1.ComponentStatusList{} }

// Destroy implements rest.Storage.
func (ComponentStatuses) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (ComponentStatuses) NamespaceScoped() bool { return false }

// GetSingularName implements rest.SingularNameProvider.
func (ComponentStatuses) GetSingularName() string { return "componentstatus" }

// ShortNames implements rest.ShortNamesProvider.
func (ComponentStatuses) ShortNames() []string { return []string{"cs"} }

func (c ComponentStatuses) all(ctx context.Context) []corev1.ComponentStatus {
	var all []corev1.ComponentStatus
	for _, name := range []string{"controller-manager", "etcd-0", "scheduler"} {
		well := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}
		if name == "etcd-0" { // what clients take for the store
			if err := c.Check(ctx); err != nil {
				well.Status, well.Message, well.Error = corev1.ConditionFalse, err.Error(), err.Error()
			}
		}
		all = append(all, corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: name}, Conditions: []corev1.ComponentCondition{well}})
	}
	return all
}

// Get implements rest.Getter.
func (c ComponentStatuses) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	for _, s := range c.all(ctx) {
		if s.Name == name {
			return &s, nil
		}
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "componentstatuses"}, name)
}

// List implements rest.Lister. None has labels.
func (c ComponentStatuses) List(ctx context.Context, opts *metainternal.ListOptions) (runtime.Object, error) {
	list := &corev1.ComponentStatusList{Items: []corev1.ComponentStatus{}}
	if opts != nil && opts.LabelSelector != nil && !opts.LabelSelector.Matches(labels.Set{}) {
		return list, nil
	}
	list.Items = c.all(ctx)
	return list, nil
}

// ConvertToTable implements rest.TableConvertor.
func (ComponentStatuses) ConvertToTable(_ context.Context, o, _ runtime.Object) (*metav1.Table, error) {
	t := &metav1.Table{ColumnDefinitions: []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name"}, {Name: "Status", Type: "string"}, {Name: "Message", Type: "string"}, {Name: "Error", Type: "string"},
	}}
	add := func(o runtime.Object) error {
		s := o.(*corev1.ComponentStatus)
		status := "Healthy"
		if s.Conditions[0].Status != corev1.ConditionTrue {
			status = "Unhealthy"
		}
		t.Rows = append(t.Rows, metav1.TableRow{Cells: []any{s.Name, status, s.Conditions[0].Message, s.Conditions[0].Error}, Object: runtime.RawExtension{Object: o}})
		return nil
	}
	if meta.IsListType(o) {
		return t, meta.EachListItem(o, add)
	}
	return t, add(o)
}
