package delivery

import (
	"context"
	"fmt"
	"time"

	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/history"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// remember returns the records that make a plan part of the history of its source. all: it is about all files there are. A
// history that cannot be read keeps nothing from being applied: the commit is then not part of it, and the next one is read as
// a whole.
func (d *Delivery) remember(plan *apply.Plan, all bool, now time.Time) []store.Record {
	c := history.Commit{Hash: plan.Commit.Hash.String(), Author: plan.Commit.Author, Subject: plan.Commit.Subject, Applied: now}
	files, err := plan.Files()
	var rs []store.Record
	if err == nil {
		rs, err = history.Apply(d.Store, plan.Source.UID, c, files, all, d.Limits)
	}
	if err != nil {
		d.Log.Warn("a commit is applied, but not remembered", "source", plan.Source, "commit", c.Hash, "error", err)
		return nil
	}
	return rs
}

// judge returns the records that note what has come of what is applied of a source.
func (d *Delivery) judge(g *v1alpha1.GitSource, ill []Ailment, now time.Time) []store.Record {
	rs, err := history.Judge(d.Store, g.UID, g.Status.Applied.Hash, resultOf(ill), now)
	if err != nil {
		d.Log.Warn("what has come of a commit is not remembered", "source", g.Name, "commit", g.Status.Applied.Hash, "error", err)
	}
	return rs
}

// known tells whether the history of a source has what is applied. What was applied before there was a history has to be
// read again as a whole.
func (d *Delivery) known(g *v1alpha1.GitSource) bool {
	last, ok, err := history.Last(d.Store, g.UID)
	return err == nil && ok && last.Hash == g.Status.Applied.Hash
}

// sameApplied tells whether two states of a source have the same commit applied.
func sameApplied(a, b *v1alpha1.GitSource) bool {
	hash := func(c *v1alpha1.GitCommit) string {
		if c == nil {
			return ""
		}
		return c.Hash
	}
	return hash(a.Status.Applied) == hash(b.Status.Applied) && a.Status.AppliedGeneration == b.Status.AppliedGeneration
}

// trim forgets commits of a source that have become too old.
func (d *Delivery) trim(ctx context.Context, g *v1alpha1.GitSource) error {
	rs, err := history.Trim(d.Store, g.UID, d.Limits, d.Now())
	if err != nil || len(rs) == 0 {
		return err
	}
	_, err = d.Store.Update(ctx, whyPrefix+"history", func(tx *store.Tx) error { tx.Keep(rs...); return nil })
	return err
}

// forgetGone removes the histories of sources that are gone.
func (d *Delivery) forgetGone(ctx context.Context) error {
	sources, err := history.Sources(d.Store)
	if err != nil {
		return err
	}
	live := map[string]bool{}
	for g := range store.List[*v1alpha1.GitSource](d.Store.Snapshot()) {
		live[string(g.UID)] = true
	}
	for _, source := range sources {
		for !live[string(source)] && ctx.Err() == nil {
			rs, err := history.Forget(d.Store, source)
			if err != nil {
				return err
			}
			if len(rs) == 0 {
				break
			}
			if _, err := d.Store.Update(ctx, whyPrefix+"history", func(tx *store.Tx) error { tx.Keep(rs...); return nil }); err != nil {
				return err
			}
		}
	}
	return nil
}

// resultOf is what has come of a commit of which this is not well.
func resultOf(ill []Ailment) history.Result {
	switch {
	case len(ill) == 0:
		return history.Healthy
	case badness(ill[0].Status) >= 2:
		return history.Failed
	}
	return history.Progressing
}

// History are the commits of a source that were applied, the newest first.
func (d *Delivery) History(namespace, name string) ([]history.Commit, error) {
	g, ok := store.Get[*v1alpha1.GitSource](d.Store.Snapshot(), namespace, name)
	if !ok {
		return nil, fmt.Errorf("source %s/%s: %w", namespace, name, store.ErrNotFound)
	}
	return history.List(d.Store, g.UID)
}
