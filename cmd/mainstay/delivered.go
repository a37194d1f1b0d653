package main

import (
	"context"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var (
	sourceKind    = v1alpha1.GroupVersion.WithKind("GitSource").GroupKind()
	inventoryKind = v1alpha1.GroupVersion.WithKind("Inventory").GroupKind()
)

// delivered reads what sources have brought, and what their health is judged by beside it; and more kinds.
func (c *client) delivered(ctx context.Context, more ...schema.GroupKind) (*store.Snapshot, error) {
	s, err := c.snapshot(ctx, inventoryKind, definitionKind)
	if err != nil {
		return nil, err
	}
	built := map[schema.GroupKind]bool{sourceKind: true, inventoryKind: true, definitionKind: true}
	for _, k := range []schema.GroupVersionKind{ // pods tell how what they are made for is
		corev1.SchemeGroupVersion.WithKind("Pod"), corev1.SchemeGroupVersion.WithKind("ReplicationController"),
		appsv1.SchemeGroupVersion.WithKind("DaemonSet"), appsv1.SchemeGroupVersion.WithKind("Deployment"),
		appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), appsv1.SchemeGroupVersion.WithKind("StatefulSet"),
		batchv1.SchemeGroupVersion.WithKind("CronJob"), batchv1.SchemeGroupVersion.WithKind("Job"),
	} {
		built[k.GroupKind()] = true
	}
	for _, k := range more {
		built[k] = true
	}
	defined := map[schema.GroupKind]bool{}
	for inv := range store.List[*v1alpha1.Inventory](s) {
		for _, o := range inv.Spec.Objects {
			k := schema.GroupKind{Group: o.Group, Kind: o.Kind}
			if c.scheme.Kind(k) != nil {
				built[k] = true
			} else {
				defined[k] = true
			}
		}
	}
	all, err := c.snapshot(ctx, slices.Collect(maps.Keys(built))...)
	if err != nil {
		return nil, err
	}
	for d := range store.List[*apiextensionsv1.CustomResourceDefinition](s) {
		if !defined[schema.GroupKind{Group: d.Spec.Group, Kind: d.Spec.Names.Kind}] {
			continue
		}
		k, err := c.defined(s, d)
		if err != nil {
			return nil, err
		}
		custom, err := c.custom(ctx, k)
		if err != nil {
			return nil, err
		}
		all = all.With(custom...)
	}
	return all, nil
}
