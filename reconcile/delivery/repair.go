package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/gitsource"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// repair puts one object back to what Git has, if it is otherwise or gone.
func (d *Delivery) repair(ctx context.Context, key store.Key) (time.Duration, error) {
	for inv := range apply.Listing(d.Store.Snapshot(), key) {
		if err := d.putBack(ctx, sourceOf(inv), inv.Spec.Path, key); err != nil {
			return 0, fmt.Errorf("put back %s: %w", key, err)
		}
	}
	return 0, nil
}

func (d *Delivery) putBack(ctx context.Context, source store.Key, path string, key store.Key) error {
	g, ok := store.Get[*v1alpha1.GitSource](d.Store.Snapshot(), source.Namespace, source.Name)
	if !ok || g.Spec.Suspend || g.Spec.DriftPolicy == v1alpha1.DriftKeep || g.DeletionTimestamp != nil || g.Status.Applied == nil {
		return nil
	}
	f, err := d.open(ctx, source, g)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	change, ok, err := d.fileOf(ctx, f, source, path, key)
	if err != nil || !ok {
		return err
	}
	for range maxAttempts {
		s := d.Store.Snapshot()
		g, ok := store.Get[*v1alpha1.GitSource](s, source.Namespace, source.Name)
		if !ok {
			return nil
		}
		plan, err := d.Applier.Prepare(s, d.request(f.source.Reader, g, change, nil, true))
		if err != nil || plan.Empty() {
			return err
		}
		w := control.World{Snapshot: s, Now: d.Now(), Rand: d.chance()}
		_, err = d.Store.Update(ctx, whyPrefix+"drift of "+key.String(), func(tx *store.Tx) error {
			if err := d.Applier.Execute(tx, plan, w.Now, w.Rand); err != nil {
				return err
			}
			return d.Carrier.Carry(tx, w, "mainstay", driftEvents(g, plan))
		})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return store.ErrConflict
}

// fileOf reads the file of the applied commit that has the object. False: the source has moved on, and it has it no more.
func (d *Delivery) fileOf(ctx context.Context, f *followed, source store.Key, path string, key store.Key) (gitsource.Change, bool, error) {
	s := d.Store.Snapshot()
	g, ok := store.Get[*v1alpha1.GitSource](s, source.Namespace, source.Name)
	if !ok {
		return gitsource.Change{}, false, nil
	}
	for inv := range apply.Listing(s, key) {
		if sourceOf(inv) != source || inv.Spec.Path != path {
			continue
		}
		commit := d.applied(f, g)
		docs, err := f.source.Read(ctx, commit, path)
		if err != nil {
			return gitsource.Change{}, false, err
		}
		blob, err := tree.ParseHash(inv.Spec.Blob)
		if err != nil {
			return gitsource.Change{}, false, err
		}
		return gitsource.Change{Commit: commit, Files: []gitsource.File{{Path: path, Blob: blob, Documents: docs}}}, true, nil
	}
	return gitsource.Change{}, false, nil
}

// driftEvents tells what was put back.
func driftEvents(g *v1alpha1.GitSource, plan *apply.Plan) control.Plan {
	var p control.Plan
	for _, i := range plan.Items {
		var what string
		switch i.Op {
		case apply.Create:
			what = "it was gone"
		case apply.Update, apply.Replace:
			var fields []string
			for _, d := range i.Diff {
				fields = append(fields, d.String())
			}
			what = strings.Join(fields, "; ")
		default:
			continue
		}
		about := i.Live()
		if about == nil {
			about = g
		}
		p.Events = append(p.Events, control.Event{About: about, Type: corev1.EventTypeNormal, Reason: "DriftCorrected",
			Message: fmt.Sprintf("Put %s back as %s has it: %s", i.Key, i.Origin, what)})
	}
	return p
}
