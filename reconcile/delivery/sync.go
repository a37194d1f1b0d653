package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/mainstay-gitops/mainstay/gitsource"
	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// ConfirmAnnotation on a GitSource names the commit (its whole hash) that may delete much of what is there.
const ConfirmAnnotation = "mainstay.dev/confirm-prune"

const (
	defaultInterval = time.Minute
	defaultTimeout  = 5 * time.Minute
	maxAttempts     = 50
)

// whyPrefix begins the Why of what is written for Git: so nobody takes it for drift.
const whyPrefix = "git "

// sync brings one source up to date.
func (d *Delivery) sync(ctx context.Context, key store.Key) (time.Duration, error) {
	g, ok := store.Get[*v1alpha1.GitSource](d.Store.Snapshot(), key.Namespace, key.Name)
	if !ok || g.DeletionTimestamp != nil {
		d.drop(key)
		return 0, d.forgetGone(ctx)
	}
	if g.Spec.Suspend {
		return 0, d.write(ctx, key, func(g *v1alpha1.GitSource) { suspended(g, d.Now()) })
	}
	interval := defaultInterval
	if g.Spec.Interval != nil {
		interval = g.Spec.Interval.Duration
	}
	f, err := d.open(ctx, key, g)
	if err != nil {
		return interval, d.write(ctx, key, func(g *v1alpha1.GitSource) { notFetched(g, err, d.Now()) })
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	commit, err := f.source.Fetch(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return 0, nil
		}
		if !errors.Is(err, repo.ErrEmpty) {
			interval = min(interval, f.retry())
		}
		return interval, d.write(ctx, key, func(g *v1alpha1.GitSource) { notFetched(g, err, d.Now()) })
	}
	f.failures = 0
	if _, err = d.deliver(ctx, key, f, commit, false); err == nil {
		err = d.trim(ctx, g)
	}
	if apply.IsRefusal(err) || errors.Is(err, gitsource.ErrPath) {
		return interval, nil // the source says so; the next commit may mend it
	}
	return interval, err
}

// deliver applies a commit of a source, unless that is what is applied. f.mu is held. A nil plan: there was nothing to do.
// confirmed: it may delete much.
func (d *Delivery) deliver(ctx context.Context, key store.Key, f *followed, commit gitsource.Commit, confirmed bool) (*apply.Plan, error) {
	g, ok := store.Get[*v1alpha1.GitSource](d.Store.Snapshot(), key.Namespace, key.Name)
	if !ok {
		return nil, nil
	}
	if a := g.Status.Applied; a != nil && a.Hash == commit.Hash.String() && g.Status.AppliedGeneration == g.Generation {
		return nil, d.write(ctx, key, func(g *v1alpha1.GitSource) { fetched(g, commit, d.Now()) })
	}
	p, err := d.load(ctx, f, g, commit)
	if err != nil {
		return nil, d.refuse(ctx, key, commit, nil, err)
	}
	plan, err := d.execute(ctx, key, f, p, confirmed || g.Annotations[ConfirmAnnotation] == commit.Hash.String())
	if err != nil {
		return nil, d.refuse(ctx, key, commit, &p.change, err)
	}
	d.settled(key, plan)
	return plan, nil
}

// load is the change from what is applied to commit: what a push has loaded already, or what is read now.
func (d *Delivery) load(ctx context.Context, f *followed, g *v1alpha1.GitSource, commit gitsource.Commit) (*prepared, error) {
	from := d.applied(f, g)
	if p := f.prepared; p != nil {
		f.prepared = nil
		if p.change.Commit.Hash == commit.Hash && p.from.Hash == from.Hash {
			return p, nil
		}
	}
	d.seed(f, g, from)
	change, err := f.source.Load(ctx, from, commit)
	if err != nil {
		return nil, d.allThatIsWrong(f.source.Reader, g, err)
	}
	return &prepared{change: change, from: from}, nil
}

// allThatIsWrong adds to an error about documents that cannot be decoded what is wrong with the others, so that all is said
// at once.
func (d *Delivery) allThatIsWrong(open gitsource.Opener, g *v1alpha1.GitSource, err error) error {
	invalid, ok := errors.AsType[*gitsource.Invalid](err)
	if !ok {
		return err
	}
	_, more := d.Applier.Prepare(d.Store.Snapshot(), d.request(open, g, invalid.Decoded, nil, true))
	refusal, ok := errors.AsType[*apply.Refusal](more)
	if !ok {
		return err
	}
	errs := append(slices.Clone(invalid.Errors), refusal.Errors...)
	return &gitsource.Invalid{Errors: errs.Sort(), Manifests: invalid.Manifests, Decoded: invalid.Decoded}
}

// seed tells a source that was just opened what its applied commit has brought: so it need not be read again.
func (d *Delivery) seed(f *followed, g *v1alpha1.GitSource, applied gitsource.Commit) {
	if f.seeded || applied.IsZero() {
		return
	}
	f.seeded = true
	objects := func(yield func(decode.ID, decode.Origin) bool) {
		for inv := range apply.Inventories(d.Store.Snapshot(), apply.SourceOf(g)) {
			for i, e := range inv.Spec.Objects {
				id := decode.ID{Group: e.Group, Kind: e.Kind, Namespace: e.Namespace, Name: e.Name}
				if !yield(id, decode.Origin{Path: inv.Spec.Path, Line: int(e.Line), Index: i}) {
					return
				}
			}
		}
	}
	if err := f.source.Seed(applied, objects); err != nil {
		d.Log.Debug("cannot seed a source, reading it instead", "source", g.Name, "err", err)
	}
}

// applied is the commit that is applied; the zero commit if there is none, if it was applied by another spec, or if it is
// not known any more, or not to the history: then everything is compared.
func (d *Delivery) applied(f *followed, g *v1alpha1.GitSource) gitsource.Commit {
	a := g.Status.Applied
	if a == nil || g.Status.AppliedGeneration != g.Generation || !d.known(g) {
		return gitsource.Commit{}
	}
	h, err := tree.ParseHash(a.Hash)
	if err != nil {
		return gitsource.Commit{}
	}
	c, err := f.source.Commit(h)
	if err != nil {
		return gitsource.Commit{}
	}
	return c
}

// execute plans and writes until a plan meets the ground that it was made on.
func (d *Delivery) execute(ctx context.Context, key store.Key, f *followed, p *prepared, confirmed bool) (*apply.Plan, error) {
	plan := p.plan
	for range maxAttempts {
		s := d.Store.Snapshot()
		g, ok := store.Get[*v1alpha1.GitSource](s, key.Namespace, key.Name)
		if !ok {
			return nil, fmt.Errorf("apply: %s is gone", key)
		}
		plan, err := d.Applier.Prepare(s, d.request(f.source.Reader, g, p.change, plan, confirmed))
		if err != nil {
			return nil, err
		}
		now, rng := d.Now(), d.chance()
		remembered := d.remember(plan, p.change.All, now)
		_, err = d.Store.Update(ctx, whyPrefix+plan.Source.String()+" "+plan.Commit.Hash.Short(), func(tx *store.Tx) error {
			if live, ok := store.Get[*v1alpha1.GitSource](tx.Snapshot, key.Namespace, key.Name); ok && !sameApplied(live, g) {
				return store.ErrConflict
			}
			tx.Keep(remembered...)
			grown := plan.Growth(tx.Snapshot)
			if err := d.Applier.Execute(tx, plan, now, rng); err != nil {
				return err
			}
			return d.edit(tx, key, func(g *v1alpha1.GitSource) { applied(g, plan.Commit, grown, now) })
		})
		if !errors.Is(err, store.ErrConflict) {
			return plan, err
		}
	}
	return nil, fmt.Errorf("apply %s: %w, %d times in a row", key, store.ErrConflict, maxAttempts)
}

// request asks for a plan.
func (d *Delivery) request(open gitsource.Opener, g *v1alpha1.GitSource, c gitsource.Change, before *apply.Plan, confirmed bool) apply.Request {
	source := apply.SourceOf(g)
	return apply.Request{
		Source: source, Change: c, Before: before, Confirmed: confirmed, Now: d.Now(), Rand: d.chance(),
		Locate: func(o decode.Origin, path string) int { return locate(open, c, o, path) },
		Claimed: func(k store.Key) bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			by, ok := d.claims[k]
			return ok && (by.Namespace != source.Namespace || by.Name != source.Name)
		},
	}
}

// locate finds the line of a field by reading the file again: only what is wrong is looked for.
func locate(open gitsource.Opener, c gitsource.Change, o decode.Origin, path string) int {
	for _, f := range c.Files {
		if f.Path != o.Path {
			continue
		}
		rd, err := open()
		if err != nil {
			break
		}
		defer rd.Close()
		if data, err := rd.Blob(f.Blob); err == nil {
			return decode.Locate(data, o.Index, path)
		}
	}
	return o.Line
}

// refuse writes down why a commit is not applied, and returns err. What it wanted and others have is remembered.
func (d *Delivery) refuse(ctx context.Context, key store.Key, commit gitsource.Commit, c *gitsource.Change, err error) error {
	if c != nil && apply.IsRefusal(err) {
		d.claim(key, *c)
	}
	if ctx.Err() != nil || errors.Is(err, store.ErrNoRoom) || errors.Is(err, store.ErrStopped) {
		return err
	}
	return errors.Join(err, d.write(ctx, key, func(g *v1alpha1.GitSource) { notApplied(g, commit, err, d.Now()) }))
}

// claim remembers what a refused source wants that others have: they leave it, when they give it up, rather than delete it.
func (d *Delivery) claim(key store.Key, c gitsource.Change) {
	s := d.Store.Snapshot()
	g, ok := store.Get[*v1alpha1.GitSource](s, key.Namespace, key.Name)
	if !ok {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for k := range apply.Wanted(d.Scheme.In(s), apply.SourceOf(g), c) {
		for inv := range apply.Listing(s, k) {
			if sourceOf(inv) != key {
				d.claims[k] = key
			}
		}
	}
}

// settled drops the claims of a source that has what it wants, and wakes those that wait for what it has left.
func (d *Delivery) settled(key store.Key, plan *apply.Plan) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.claims, func(_, by store.Key) bool { return by == key })
	for _, i := range plan.Items {
		if by, ok := d.claims[i.Key]; ok && i.Op == apply.Keep {
			d.sources.Wake(by)
		}
	}
}

// chance is a source of chance for one use.
func (d *Delivery) chance() *rand.Rand {
	d.mu.Lock()
	defer d.mu.Unlock()
	return rand.New(rand.NewPCG(d.Rand.Uint64(), d.Rand.Uint64()))
}

// write edits the status of a source, if that changes anything.
func (d *Delivery) write(ctx context.Context, key store.Key, fn func(*v1alpha1.GitSource)) error {
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	_, err := d.Store.Update(ctx, whyPrefix+"status", func(tx *store.Tx) error { return d.edit(tx, key, fn) })
	return err
}
