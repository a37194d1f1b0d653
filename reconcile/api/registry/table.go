package registry

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// table shows objects as kubectl get does.
type table struct {
	kind *scheme.Kind
	now  func() time.Time
}

var _ rest.TableConvertor = table{}

// ConvertToTable implements rest.TableConvertor.
func (t table) ConvertToTable(_ context.Context, o, opts runtime.Object) (*metav1.Table, error) {
	result := &metav1.Table{}
	now := t.now()
	add := func(o runtime.Object) error {
		object, ok := o.(store.Object)
		if !ok {
			return fmt.Errorf("show a %T: it has no metadata", o)
		}
		result.Rows = append(result.Rows, metav1.TableRow{Cells: t.kind.Cells(object, now), Object: runtime.RawExtension{Object: o}})
		return nil
	}
	if list, err := meta.ListAccessor(o); err == nil && meta.IsListType(o) {
		result.ResourceVersion, result.Continue, result.RemainingItemCount = list.GetResourceVersion(), list.GetContinue(), list.GetRemainingItemCount()
		if err := meta.EachListItem(o, add); err != nil {
			return nil, err
		}
	} else {
		if err := add(o); err != nil {
			return nil, err
		}
		result.ResourceVersion = o.(store.Object).GetResourceVersion()
	}
	if asked, ok := opts.(*metav1.TableOptions); !ok || !asked.NoHeaders {
		result.ColumnDefinitions = t.kind.Columns()
	}
	return result, nil
}
