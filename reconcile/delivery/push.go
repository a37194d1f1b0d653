package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/gitsource"
	"github.com/mainstay-gitops/mainstay/gitsource/receive"
	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Options of git push -o.
const (
	optionNoWait = "no-wait" // end the push when it is applied
	optionDryRun = "dry-run" // print the plan, accept nothing
	optionPrune  = "prune"   // delete as much as it takes
)

// Pushes answers the push server: a push is checked before it is accepted, applied when it is, and its rollout is shown.
type Pushes struct{ *Delivery }

var _ receive.Hooks = Pushes{}

// pushed is an update that a source follows.
type pushed struct {
	key    store.Key
	source *v1alpha1.GitSource
	update repo.Update
}

// followers are the sources that follow what p updates.
func (d Pushes) followers(p *receive.Push) []pushed {
	var out []pushed
	for g := range store.List[*v1alpha1.GitSource](d.Store.Snapshot()) {
		if g.Spec.URL != "builtin:"+p.Repository || g.DeletionTimestamp != nil {
			continue
		}
		ref := repo.Rev{Branch: g.Spec.Ref.Branch, Tag: g.Spec.Ref.Tag, Commit: g.Spec.Ref.Commit}.RefName()
		for _, u := range p.Updates {
			if u.Name == ref && !u.New.IsZero() {
				out = append(out, pushed{d.Store.Snapshot().Key(g), g, u})
			}
		}
	}
	return out
}

// Check plans what the push would change, and refuses it if that cannot be applied.
func (d Pushes) Check(ctx context.Context, p *receive.Push, progress io.Writer) error {
	if err := knownOptions(p.Options); err != nil {
		return err
	}
	all := d.followers(p)
	if len(all) == 0 {
		fmt.Fprintln(progress, "no source follows what was pushed: it is kept, and nothing is applied")
	}
	for _, u := range all {
		if err := d.check(ctx, p, u, progress); err != nil {
			return err
		}
	}
	if slices.Contains(p.Options, optionDryRun) {
		return receive.ErrDryRun
	}
	return nil
}

func knownOptions(options []string) error {
	for _, o := range options {
		if !slices.Contains([]string{optionNoWait, optionDryRun, optionPrune}, o) {
			return fmt.Errorf("unknown push option %q: there are %s, %s and %s", o, optionNoWait, optionDryRun, optionPrune)
		}
	}
	return nil
}

func (d Pushes) check(ctx context.Context, p *receive.Push, u pushed, progress io.Writer) error {
	if u.source.Spec.Suspend {
		fmt.Fprintf(progress, "source %s is suspended: the push is kept, and applied when the source is resumed\n", u.source.Name)
		return nil
	}
	f, err := d.open(ctx, u.key, u.source)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	commit, err := p.Commit(u.update)
	if err != nil {
		return err
	}
	open := func() (gitsource.Reader, error) { return p.Reader() }
	from := d.applied(f, u.source)
	d.seed(f, u.source, from)
	change, err := f.source.LoadFrom(ctx, open, from, commit)
	if err != nil {
		return d.allThatIsWrong(open, u.source, err)
	}
	plan, err := d.Applier.Prepare(d.Store.Snapshot(), d.request(open, u.source, change, nil, slices.Contains(p.Options, optionPrune)))
	if err != nil {
		if errors.Is(err, apply.ErrPrune) {
			err = fmt.Errorf("%w; to do so: git push -o %s", err, optionPrune)
		}
		return err
	}
	f.prepared = &prepared{change: change, from: from, plan: plan}
	plan.Print(progress)
	return nil
}

// Accepted applies what was accepted, and shows its rollout unless the user does not want to wait.
func (d Pushes) Accepted(ctx context.Context, p *receive.Push, progress io.Writer) {
	for _, u := range d.followers(p) {
		if u.source.Spec.Suspend {
			continue
		}
		plan, err := d.accept(ctx, p, u)
		switch {
		case err != nil:
			fmt.Fprintf(progress, "accepted, but not applied yet: %s\n", strings.ReplaceAll(err.Error(), "\n", "\n  "))
		case plan != nil:
			fmt.Fprintf(progress, "applied in %s\n", d.Now().Sub(p.Received).Round(time.Millisecond))
			if !slices.Contains(p.Options, optionNoWait) {
				d.show(ctx, u.key, plan, p.Received, progress)
			}
		}
	}
}

// accept applies an update. The client may go away: what was accepted is applied all the same.
func (d Pushes) accept(ctx context.Context, p *receive.Push, u pushed) (*apply.Plan, error) {
	ctx = context.WithoutCancel(ctx)
	defer d.sources.Wake(u.key)
	f, err := d.open(ctx, u.key, u.source)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	commit, err := f.source.Fetch(ctx)
	if err != nil {
		return nil, err
	}
	return d.deliver(ctx, u.key, f, commit, slices.Contains(p.Options, optionPrune))
}
