package apply

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/reconcile/admit"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Execute writes a plan in tx: all of it. ErrConflict: what it was made on has changed; Prepare again, with this plan as
// Before, and execute that. Any error must end the transaction without a write.
func (a *Applier) Execute(tx *store.Tx, p *Plan, now time.Time, rng *rand.Rand) error {
	for _, i := range p.Items {
		if live, _ := tx.Get(i.Key); live != i.live {
			return fmt.Errorf("apply %s: %w", i.Key, store.ErrConflict)
		}
	}
	for _, i := range inOrder(p.Items) {
		if err := a.write(tx, i, now); err != nil {
			if status := apierrors.APIStatus(nil); errors.As(err, &status) {
				return i.refusal(p, err)
			}
			return fmt.Errorf("apply %s: %w", i.Key, err)
		}
	}
	return a.record(tx, p, now, rng)
}

func (a *Applier) write(tx *store.Tx, i Item, now time.Time) error {
	switch i.Op {
	case Create, Update:
		// The plan may be executed again after a transaction that did not come to be.
		next := i.next.DeepCopyObject().(store.Object)
		op := admit.Create
		if i.live != nil {
			op = admit.Update
		}
		if err := a.chain.Commit(tx, admit.For(a.scheme.Of(next), op, i.live, next)); err != nil {
			return err
		}
		if err := a.assign(tx, i.live, next); err != nil {
			return err
		}
		if i.Op == Create {
			return tx.Create(next)
		}
		return tx.Update(next)
	case Prune, Replace:
		return control.Remove(tx, a.scheme.Of(i.live), i.live, "", now)
	}
	return nil
}

// inOrder has quotas and the like that go away go first: they have no say in the rest.
func inOrder(items []Item) []Item {
	items = slices.Clone(items)
	slices.SortStableFunc(items, func(a, b Item) int {
		first := func(i Item) int {
			if i.Op == Prune && i.Key.Namespace != "" && admit.Ground(i.Key.Kind) {
				return 0
			}
			return 1
		}
		return first(a) - first(b)
	})
	return items
}

// refusal is what is said of a plan that was admitted when it was made, and is not any more.
func (i Item) refusal(p *Plan, err error) error {
	e := decode.Error{Path: i.Origin.Path, Line: i.Origin.Line, Message: fmt.Sprintf("%s: %s", i.Key, err)}
	return &Refusal{decode.Errors{e}, p.Manifests}
}

// record brings the inventories up to date. They are nobody else's to write, so there is nothing to be checked.
func (a *Applier) record(tx *store.Tx, p *Plan, now time.Time, rng *rand.Rand) error {
	for _, inv := range p.emptied {
		if err := tx.Delete(tx.Key(inv)); err != nil {
			return err
		}
	}
	for _, inv := range p.inventories {
		live, ok := store.Get[*v1alpha1.Inventory](tx.Snapshot, inv.Namespace, inv.Name)
		next := inv.DeepCopy()
		if !ok {
			a.scheme.Of(next).PrepareCreate(next, control.UID(rng), now)
			if err := tx.Create(next); err != nil {
				return err
			}
			continue
		}
		next.ObjectMeta = *live.ObjectMeta.DeepCopy()
		a.scheme.Of(next).PrepareInside(next, live)
		if err := tx.Update(next); err != nil {
			return err
		}
	}
	return nil
}
