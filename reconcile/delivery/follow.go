package delivery

import (
	"context"
	"errors"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// follow watches the store: it wakes sources that were changed, objects that drifted, and those who wait for health.
func (d *Delivery) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		from := d.begin()
		for delta, err := range store.Watch(ctx, d.Store, from, store.Query{}) {
			if errors.Is(err, store.ErrCompacted) {
				break // too far behind: look at everything again
			}
			if err != nil {
				return err
			}
			d.changed(delta)
		}
	}
	return ctx.Err()
}

// begin looks at everything, and returns from where to go on.
func (d *Delivery) begin() store.Revision {
	s := d.Store.Snapshot()
	d.mu.Lock()
	d.tracker, d.seen = newTracker(s), s.Revision()
	d.mu.Unlock()
	for g := range store.List[*v1alpha1.GitSource](s) {
		d.sources.Wake(s.Key(g))
		d.reports.Wake(s.Key(g))
	}
	return s.Revision()
}

func (d *Delivery) changed(delta store.Delta) {
	s := d.Store.Snapshot()
	d.mu.Lock()
	for _, source := range d.tracker.follow(s, delta) {
		d.reports.Wake(source)
		d.notify(source)
	}
	d.seen = delta.Revision
	for _, c := range delta.Changes { // who waits for what was just applied waits no longer if all of it is well
		if g, ok := c.Object().(*v1alpha1.GitSource); ok {
			d.notify(s.Key(g))
		}
	}
	d.mu.Unlock()
	for _, c := range delta.Changes {
		switch o := c.Object().(type) {
		case *v1alpha1.GitSource:
			if sourceChanged(c) {
				d.sources.Wake(s.Key(o))
			}
			if c.New != nil {
				d.reports.Wake(s.Key(o))
			}
		case *corev1.Secret:
			d.secretChanged(s, o)
		}
		if drifted(delta, c) {
			for range apply.Listing(s, s.Key(c.Object())) {
				d.repairs.Wake(s.Key(c.Object()))
			}
		}
	}
}

// sourceChanged tells whether a source is to be looked at: not when only its status was written.
func sourceChanged(c store.Change) bool {
	if c.Old == nil || c.New == nil {
		return true
	}
	return c.Old.GetGeneration() != c.New.GetGeneration() || c.New.GetDeletionTimestamp() != nil ||
		c.Old.GetAnnotations()[ConfirmAnnotation] != c.New.GetAnnotations()[ConfirmAnnotation]
}

func (d *Delivery) secretChanged(s *store.Snapshot, secret *corev1.Secret) {
	for g := range store.List[*v1alpha1.GitSource](s, store.InNamespace(secret.Namespace)) {
		if g.Spec.Auth != nil && g.Spec.Auth.SecretRef.Name == secret.Name {
			d.sources.Wake(s.Key(g))
		}
	}
}

// inside are the writers that write only what they own: no drift comes from them, unless they delete.
var inside = map[string]bool{"controllers": true, "scheduler": true}

// drifted tells whether a change may have made an object other than Git has it. What is written for Git is as Git has it,
// also what it deletes; a status is nobody's manifest.
func drifted(delta store.Delta, c store.Change) bool {
	switch {
	case c.Old == nil || strings.HasPrefix(delta.Why, whyPrefix):
		return false
	case c.New == nil:
		return true
	}
	return !inside[delta.Why]
}

// notify wakes those who wait for news of a source. d.mu is held.
func (d *Delivery) notify(source store.Key) {
	for _, c := range d.waiting[source] {
		close(c)
	}
	delete(d.waiting, source)
}

// news returns what is not well of a source, as of the given revision at least, and a channel that is closed when that may
// have changed.
func (d *Delivery) news(source store.Key, at store.Revision) (ill []Ailment, current bool, more <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := make(chan struct{})
	d.waiting[source] = append(d.waiting[source], c)
	if d.tracker == nil || d.seen < at {
		return nil, false, c
	}
	return d.tracker.of(source), true, c
}

// report writes the health of a source into its status.
func (d *Delivery) report(ctx context.Context, key store.Key) (time.Duration, error) {
	d.mu.Lock()
	g, ok := store.Get[*v1alpha1.GitSource](d.Store.Snapshot(), key.Namespace, key.Name)
	ill, seen := d.tracker.of(key), d.seen
	d.mu.Unlock()
	if !ok || g.Status.Applied == nil || store.RevisionOf(g) > seen {
		return 0, nil // it is looked at again when that is seen
	}
	now := d.Now()
	remembered := d.judge(g, ill, now)
	_, err := d.Store.Update(ctx, whyPrefix+"status", func(tx *store.Tx) error {
		if live, ok := store.Get[*v1alpha1.GitSource](tx.Snapshot, key.Namespace, key.Name); !ok || !sameApplied(live, g) {
			return nil
		}
		tx.Keep(remembered...)
		return d.edit(tx, key, func(g *v1alpha1.GitSource) { judged(g, ill, now) })
	})
	return 0, err
}
