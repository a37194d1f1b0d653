package main

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/capabilities"
	"k8s.io/kubernetes/pkg/printers"
	"k8s.io/kubernetes/pkg/printers/internalversion"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A strategy is how Kubernetes creates and changes objects of a kind.
type strategy interface {
	rest.RESTCreateStrategy
	rest.RESTUpdateStrategy
}

// An oracle is Kubernetes.
type oracle struct {
	strategies map[schema.GroupVersionKind]strategy
	printer    *printers.HumanReadableGenerator
}

func newOracle() *oracle {
	capabilities.Initialize(capabilities.Capabilities{AllowPrivileged: true}) // as all distributions start it
	return &oracle{strategies: strategies(), printer: printers.NewTableGenerator().With(internalversion.AddHandlers)}
}

// filled is what a reader gets of a versioned object that was written: with defaults, and what the way through the
// internal form does to it.
func (a *oracle) filled(k *scheme.Kind, o store.Object) (runtime.Object, error) {
	in, err := a.internal(k, o)
	if err != nil {
		return nil, err
	}
	return legacyscheme.Scheme.ConvertToVersion(in, k.GroupVersion())
}

// internal is a defaulted object in the form that Kubernetes works on.
func (*oracle) internal(k *scheme.Kind, o store.Object) (runtime.Object, error) {
	legacyscheme.Scheme.Default(o)
	in, err := legacyscheme.Scheme.UnsafeConvertToVersion(o, schema.GroupVersion{Group: k.Group, Version: runtime.APIVersionInternal})
	if err != nil {
		return nil, fmt.Errorf("convert a %s: %w", k.Kind, err)
	}
	return in, nil
}

// in is a context as a request for o has it.
func in(k *scheme.Kind, o store.Object, verb string) context.Context {
	prefix := "apis"
	if k.Group == "" {
		prefix = "api"
	}
	ctx := request.WithRequestInfo(context.Background(), &request.RequestInfo{
		IsResourceRequest: true, Verb: verb, APIPrefix: prefix, APIGroup: k.Group, APIVersion: k.Version, Resource: k.Plural,
		Namespace: o.GetNamespace(), Name: o.GetName(),
	})
	return request.WithNamespace(ctx, o.GetNamespace())
}

// create tells what is wrong with a new object.
func (a *oracle) create(k *scheme.Kind, o store.Object) (wrong []string, err error) {
	defer caught(k, &err)
	object, err := a.internal(k, o)
	if err != nil {
		return nil, err
	}
	meta, err := meta.Accessor(object)
	if err != nil {
		return nil, err
	}
	rest.FillObjectMetaSystemFields(meta)
	return reasons(rest.BeforeCreate(a.strategies[k.GroupVersionKind], in(k, o, "create"), object)), nil
}

// update tells what is wrong with a changed object.
func (a *oracle) update(k *scheme.Kind, new, old store.Object) (wrong []string, err error) {
	defer caught(k, &err)
	now, err := a.internal(k, new)
	if err != nil {
		return nil, err
	}
	before, err := a.internal(k, old)
	if err != nil {
		return nil, err
	}
	return reasons(rest.BeforeUpdate(a.strategies[k.GroupVersionKind], in(k, new, "update"), now, before)), nil
}

// caught makes an error of a panic: strategies may want what only a whole server has.
func caught(k *scheme.Kind, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("Kubernetes panics at a %s: %v", k.Kind, r)
	}
}

func reasons(err error) []string {
	if err == nil {
		return nil
	}
	if s, ok := err.(apierrors.APIStatus); ok && s.Status().Details != nil && len(s.Status().Details.Causes) > 0 {
		var all []string
		for _, c := range s.Status().Details.Causes {
			all = append(all, c.Field+": "+strings.TrimSpace(c.Message))
		}
		return all
	}
	return []string{err.Error()}
}

// table is the heading and the row of an object.
func (a *oracle) table(k *scheme.Kind, o store.Object) (header []string, cells []any, err error) {
	defer caught(k, &err)
	object, err := a.internal(k, o)
	if err != nil {
		return nil, nil, err
	}
	t, err := a.printer.GenerateTable(object, printers.GenerateOptions{Wide: true})
	if err != nil {
		return byName(object)
	}
	for _, c := range t.ColumnDefinitions {
		header = append(header, fmt.Sprint(c.Name, " ", c.Type, " ", c.Priority))
	}
	if len(t.Rows) != 1 {
		return nil, nil, fmt.Errorf("%d rows for a %s", len(t.Rows), k.Kind)
	}
	return header, t.Rows[0].Cells, nil
}

// byName is the table of kinds without one of their own.
func byName(o runtime.Object) ([]string, []any, error) {
	t, err := rest.NewDefaultTableConvertor(schema.GroupResource{}).ConvertToTable(context.Background(), o, &metav1.TableOptions{})
	if err != nil {
		return nil, nil, err
	}
	var header []string
	for _, c := range t.ColumnDefinitions {
		header = append(header, fmt.Sprint(c.Name, " ", c.Type, " ", c.Priority))
	}
	return header, t.Rows[0].Cells, nil
}
