package delivery

import (
	"context"
	"errors"
	"fmt"

	"github.com/mainstay-gitops/mainstay/gitsource"
	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// PlanFolder is the plan for the manifests of a folder of this machine, as they are on disk, if they were what a source
// brings. The source may be one that is not there yet. Nothing is touched. A plan that deletes much is no error here.
func (d *Delivery) PlanFolder(ctx context.Context, namespace, name, dir string) (*apply.Plan, error) {
	g, ok := store.Get[*v1alpha1.GitSource](d.Store.Snapshot(), namespace, name)
	if !ok {
		g = &v1alpha1.GitSource{}
		g.Namespace, g.Name = namespace, name
	}
	source, err := gitsource.Open(gitsource.Spec{
		URL: "file://" + dir, Folder: true, Path: g.Spec.Path, Namespace: apply.SourceOf(g).Default, Kinds: d.Scheme, Cache: d.cache,
	})
	if err != nil {
		return nil, err
	}
	defer source.Close()
	commit, err := source.Fetch(ctx)
	if err != nil {
		return nil, err
	}
	change, err := source.Load(ctx, gitsource.Commit{}, commit)
	if err != nil {
		return nil, err
	}
	plan, err := d.Applier.Prepare(d.Store.Snapshot(), d.request(source.Reader, g, change, nil, true))
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("plan %s: %w", dir, err)
	}
	return plan, err
}
