package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/nodes/agent"
	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var nodeKind = schema.GroupKind{Kind: "Node"}

// A nodeWriter writes what a node reports into the store of the same process.
type nodeWriter struct {
	store  store.Store
	scheme *scheme.Scheme
	now    func() time.Time
	rng    *rand.Rand // used by one goroutine at a time, as Write is called
}

func newNodeWriter(c *controlPlane) *nodeWriter {
	return &nodeWriter{store: c.store, scheme: c.scheme, now: time.Now, rng: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
}

var _ agent.Writer = (*nodeWriter)(nil)

// Write implements agent.Writer.
func (w *nodeWriter) Write(ctx context.Context, r agent.Report) error {
	_, err := w.store.Update(ctx, "node", func(tx *store.Tx) error {
		var errs []error
		for _, p := range r.Pods {
			errs = append(errs, w.pod(tx, p))
		}
		for _, e := range r.Events {
			errs = append(errs, w.event(tx, e))
		}
		if r.Node != nil {
			errs = append(errs, w.node(tx, r.Node))
		}
		if r.Lease != nil {
			errs = append(errs, w.put(tx, r.Lease.DeepCopy()))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("write what the node reports: %w", err)
	}
	return nil
}

func (w *nodeWriter) pod(tx *store.Tx, r agent.PodReport) error {
	live, ok := store.Get[*corev1.Pod](tx.Snapshot, r.Key.Namespace, r.Key.Name)
	if !ok || live.UID != r.UID {
		return nil
	}
	kind := w.scheme.Of(live)
	next := live.DeepCopy()
	next.Status = pod.Merge(r.Status, live.Status)
	if !r.Gone {
		if equality.Semantic.DeepEqual(next.Status, live.Status) {
			return nil
		}
		kind.PrepareInside(next, live)
		return tx.Update(next)
	}
	now := int64(0)
	last, gone, err := kind.Delete(next, metav1.DeleteOptions{GracePeriodSeconds: &now}, w.now())
	switch {
	case err != nil:
		return err
	case gone:
		return tx.Delete(tx.Key(live))
	}
	kind.PrepareInside(last, live)
	return tx.Update(last)
}

// event records an event, or counts one that is there.
func (w *nodeWriter) event(tx *store.Tx, e *corev1.Event) error {
	live, ok := store.Get[*corev1.Event](tx.Snapshot, e.Namespace, e.Name)
	if ok {
		next := live.DeepCopy()
		next.Count += max(e.Count, 1)
		next.LastTimestamp = e.LastTimestamp
		return tx.Update(next)
	}
	if ns, ok := store.Get[*corev1.Namespace](tx.Snapshot, "", e.Namespace); !ok || ns.DeletionTimestamp != nil {
		return nil
	}
	return w.put(tx, e.DeepCopy())
}

// node writes what the machine says of itself. Taints, cordons, and labels and annotations that others gave it stay.
func (w *nodeWriter) node(tx *store.Tx, n *corev1.Node) error {
	live, ok := store.Get[*corev1.Node](tx.Snapshot, "", n.Name)
	if !ok {
		return w.put(tx, n.DeepCopy())
	}
	next := live.DeepCopy()
	next.Status = *n.Status.DeepCopy()
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	maps.Copy(next.Labels, n.Labels)
	next.Spec.PodCIDR, next.Spec.PodCIDRs = n.Spec.PodCIDR, n.Spec.PodCIDRs
	if equality.Semantic.DeepEqual(live, next) {
		return nil
	}
	w.scheme.Of(next).PrepareInside(next, live)
	return tx.Update(next)
}

// put creates o, or replaces all of it but its identity.
func (w *nodeWriter) put(tx *store.Tx, o store.Object) error {
	live, ok := tx.Get(tx.Key(o))
	if !ok {
		if ns := o.GetNamespace(); ns != "" {
			if _, ok := store.Get[*corev1.Namespace](tx.Snapshot, "", ns); !ok {
				return nil // the first moments: it is made soon, and this said again
			}
		}
		w.scheme.Of(o).PrepareCreate(o, control.UID(w.rng), w.now())
		return tx.Create(o)
	}
	o.SetUID(live.GetUID())
	o.SetCreationTimestamp(live.GetCreationTimestamp())
	o.SetManagedFields(live.GetManagedFields())
	o.SetResourceVersion("")
	w.scheme.Of(o).PrepareInside(o, live)
	return tx.Update(o)
}

// nodeReady tells whether a node says that it is ready.
func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
